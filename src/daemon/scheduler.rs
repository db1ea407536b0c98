//! Runs the work on containers: one job at a time for each, and no container waits for one that hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Semaphore;
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

/// In how many containers commands are executed at once. Each exec keeps the engine, its shim and a
/// runtime busy, and more of them make each one slower. Namespace injection has no such limit: it
/// needs neither of them.
const AT_ONCE: usize = 8;

/// How long one container may keep its slot.
const LONGEST_TURN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Scheduler {
    work: BTreeMap<ContainerId, Work>,
    running: JoinSet<(ContainerId, Left)>,
    slots: Rc<Semaphore>,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            work: BTreeMap::new(),
            running: JoinSet::new(),
            slots: Rc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Scheduler {
    /// Something has changed for a container.
    pub fn changed(&mut self, id: &ContainerId) {
        self.work(id).changed(Instant::now().into_std());
    }

    /// Everything is looked at again, and this container with it.
    pub fn revisit(&mut self, id: &ContainerId) {
        self.work(id).revisit(Instant::now().into_std());
    }

    fn work(&mut self, id: &ContainerId) -> &mut Work {
        self.work.entry(id.clone()).or_default()
    }

    /// Forgets all containers but these. Running work ends first: there are never two jobs at a time
    /// on one container.
    pub fn retain(&mut self, containers: &BTreeSet<ContainerId>) {
        self.work
            .retain(|id, work| work.is_running() || containers.contains(id));
    }

    /// Starts the work that is due, even without the engine and in paused containers: much of it needs
    /// no command.
    pub fn start(&mut self, shared: &Rc<Shared>, now: Instant) {
        let state = shared.state.borrow();
        for (id, work) in &mut self.work {
            let Some(since) = work.due(now.into_std()) else {
                continue;
            };
            let Some(container) = state.inventory.get_alive(id) else {
                continue;
            };
            work.begin();
            // A container whose ports are all unplugged is worked on too: it is known then when they
            // are plugged in.
            if !state.assigned.by_container.contains_key(id) && !state.store.records.has(id) {
                work.end(now.into_std(), Next::Nothing);
                continue;
            }
            let from_outside = state.settings.inject == InjectPolicy::Namespace;
            let slots = (!from_outside).then(|| self.slots.clone());
            let job = run(
                shared.clone(),
                state.engines.get(state.engine_of(id)).cloned(),
                id.clone(),
                container.name.clone(),
                since,
                slots,
            );
            self.running.spawn_local(job);
        }
    }

    /// Waits for the end of a job, and returns the containers and problems of all jobs that have
    /// ended. `None` if no job is running.
    pub async fn next(&mut self) -> Option<anyhow::Result<Vec<(ContainerId, Vec<Problem>)>>> {
        let mut ended = vec![self.running.join_next().await?];
        ended.extend(std::iter::from_fn(|| self.running.try_join_next()));
        let ended = ended.into_iter().map(|job| {
            let (id, left) = job.context("the work on a container panicked")?;
            self.work(&id).end(Instant::now().into_std(), left.next());
            Ok((id, left.problems))
        });
        Some(ended.collect())
    }

    /// When the next retry is due.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let retries = self
            .work
            .values()
            .filter_map(|work| work.wake(now.into_std()));
        retries.map(Instant::from_std).min()
    }

    /// Waits for the running work, and begins none that waits for a slot. Returns whether all of it has
    /// ended in time.
    pub async fn drain(&mut self, limit: Duration) -> bool {
        self.slots.close();
        let drain = async { while self.running.join_next().await.is_some() {} };
        timeout(limit, drain).await.is_ok()
    }
}

/// Works on one container; with `slots`, once one is free.
async fn run(
    shared: Rc<Shared>,
    engine: Option<Rc<Engine>>,
    id: ContainerId,
    name: String,
    since: std::time::Instant,
    slots: Option<Rc<Semaphore>>,
) -> (ContainerId, Left) {
    // A future has a place for each that it is passed on to, and there may be one for every container.
    let work = Box::pin(reconcile(Job::new(
        &shared,
        engine.as_deref(),
        &id,
        &name,
        since,
    )));
    let left = match slots {
        Some(slots) => in_turn(&slots, work).await.unwrap_or_default(),
        None => work.await,
    };
    (id, left)
}

/// Does work in a slot. Work that takes longer than its turn goes on without the slot: it waits for
/// something that hangs, and must not delay the others.
///
/// Returns `None` if the daemon is stopping.
async fn in_turn<T>(slots: &Semaphore, work: impl Future<Output = T>) -> Option<T> {
    let slot = slots.acquire().await.ok()?;
    let mut work = pin!(work);
    if let Ok(result) = timeout(LONGEST_TURN, work.as_mut()).await {
        return Some(result);
    }
    drop(slot);
    Some(work.await)
}
