//! Runs the work on containers: one job at a time for each, and no container waits for one that hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::config::settings::InjectPolicy;
use crate::daemon::reconcile::job::Job;
use crate::daemon::reconcile::{Left, reconcile};
use crate::daemon::retry::{Next, Work};
use crate::daemon::shared::Shared;
use crate::engine::Engine;
use crate::model::inventory::ContainerId;
use crate::model::problem::Problem;
use crate::sys::turns::Turns;

/// In how many containers commands are executed at once. Each exec keeps the engine, its shim and a
/// runtime busy, and more of them make each one slower.
const BY_COMMAND: usize = 8;

/// How long one of them may keep the others waiting.
const COMMAND_TURN: Duration = Duration::from_secs(1);

/// In how many containers nodes are made from outside at once. More are no faster, and each needs memory.
const FROM_OUTSIDE: usize = 64;

/// How long one of them may keep the others waiting. The work takes a small part of it.
const OUTSIDE_TURN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Scheduler {
    work: BTreeMap<ContainerId, Work>,
    /// Those that are due or wait for a time. A turn of the loop looks at no others: there is one after
    /// the work on each container.
    pending: BTreeSet<ContainerId>,
    running: JoinSet<(ContainerId, Left)>,
    by_command: Rc<Turns>,
    from_outside: Rc<Turns>,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            work: BTreeMap::new(),
            pending: BTreeSet::new(),
            running: JoinSet::new(),
            by_command: Rc::new(Turns::new(BY_COMMAND, COMMAND_TURN)),
            from_outside: Rc::new(Turns::new(FROM_OUTSIDE, OUTSIDE_TURN)),
        }
    }
}

impl Scheduler {
    /// Something has changed for a container.
    pub fn changed(&mut self, id: &ContainerId) {
        self.change(id, |work, now| work.changed(now));
    }

    /// Everything is looked at again, and this container with it.
    pub fn revisit(&mut self, id: &ContainerId) {
        self.change(id, |work, now| work.revisit(now));
    }

    fn change(&mut self, id: &ContainerId, change: impl FnOnce(&mut Work, std::time::Instant)) {
        let work = self.work.entry(id.clone()).or_default();
        change(work, Instant::now().into_std());
        if work.is_pending() {
            self.pending.insert(id.clone());
        }
    }

    /// Forgets all containers but these. Running work ends first: there are never two jobs at a time
    /// on one container.
    pub fn retain(&mut self, containers: &BTreeSet<ContainerId>) {
        self.work
            .retain(|id, work| work.is_running() || containers.contains(id));
        self.pending.retain(|id| containers.contains(id));
    }

    /// Starts the work that is due, even without the engine and in paused containers: much of it needs
    /// no command.
    pub fn start(&mut self, shared: &Rc<Shared>, now: Instant) {
        let state = shared.state.borrow();
        let (work, running) = (&mut self.work, &mut self.running);
        let (by_command, from_outside) = (&self.by_command, &self.from_outside);
        self.pending.retain(|id| {
            let Some(work) = work.get_mut(id) else {
                return false;
            };
            let (Some(since), Some(container)) =
                (work.due(now.into_std()), state.inventory.get_alive(id))
            else {
                return true;
            };
            work.begin();
            // A container whose ports are all unplugged is worked on too: it is known then when they
            // are plugged in.
            if !state.assigned.by_container.contains_key(id) && !state.store.records.has(id) {
                work.end(now.into_std(), Next::Nothing);
                return false;
            }
            let turns = match state.settings.inject {
                InjectPolicy::Namespace => from_outside,
                InjectPolicy::Auto | InjectPolicy::Exec => by_command,
            };
            running.spawn_local(run(
                shared.clone(),
                state.engines.get(state.engine_of(id)).cloned(),
                id.clone(),
                container.name.clone(),
                since,
                turns.clone(),
            ));
            false
        });
    }

    /// Waits for the end of a job, and returns the containers and problems of all jobs that have
    /// ended. `None` if no job is running.
    pub async fn next(&mut self) -> Option<anyhow::Result<Vec<(ContainerId, Vec<Problem>)>>> {
        let mut ended = vec![self.running.join_next().await?];
        ended.extend(std::iter::from_fn(|| self.running.try_join_next()));
        let ended = ended.into_iter().map(|job| {
            let (id, left) = job.context("the work on a container panicked")?;
            self.change(&id, |work, now| work.end(now, left.next()));
            Ok((id, left.problems))
        });
        Some(ended.collect())
    }

    /// When the next retry is due.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let pending = self.pending.iter().filter_map(|id| self.work.get(id));
        let retries = pending.filter_map(|work| work.wake(now.into_std()));
        retries.map(Instant::from_std).min()
    }

    /// Waits for the running work, and begins none that waits to execute a command. Returns whether all
    /// of it has ended in time.
    pub async fn drain(&mut self, limit: Duration) -> bool {
        self.by_command.close();
        let drain = async { while self.running.join_next().await.is_some() {} };
        timeout(limit, drain).await.is_ok()
    }
}

/// Works on one container in its turn.
async fn run(
    shared: Rc<Shared>,
    engine: Option<Rc<Engine>>,
    id: ContainerId,
    name: String,
    since: std::time::Instant,
    turns: Rc<Turns>,
) -> (ContainerId, Left) {
    let job = Job::new(&shared, engine.as_deref(), &id, &name, since);
    let left = turns.take(|| reconcile(job)).await.unwrap_or_default();
    (id, left)
}
