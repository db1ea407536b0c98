//! The work on containers: who has some, who has a turn, and what has come of it.
//!
//! Each container is worked on by one job at a time, and nobody waits for a container that hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::config::settings::InjectPolicy;
use crate::daemon::reconcile::{Job, reconcile};
use crate::daemon::retry::Work;
use crate::daemon::shared::Shared;
use crate::engine::Engine;
use crate::model::inventory::ContainerId;
use crate::model::problem::Problem;

/// How many containers are worked on at once where commands are executed in them. Each exec keeps
/// the engine, its shim and a runtime busy; more of them at a time make each one slower and none of
/// them sooner. What is done from outside keeps nobody busy but us.
const AT_ONCE: usize = 8;

/// How long one container may keep its place among them.
const LONGEST_TURN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Scheduler {
    work: BTreeMap<ContainerId, Work>,
    running: JoinSet<(ContainerId, Vec<Problem>)>,
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
        self.of(id).changed(Instant::now().into_std());
    }

    /// Everything is looked at again, and this container with it.
    pub fn revisit(&mut self, id: &ContainerId) {
        self.of(id).revisit(Instant::now().into_std());
    }

    fn of(&mut self, id: &ContainerId) -> &mut Work {
        self.work.entry(id.clone()).or_default()
    }

    /// There is nothing to do in any other container. Work that has begun comes to its own end
    /// first, so that there are never two at a time on one container.
    pub fn keep(&mut self, containers: &BTreeSet<ContainerId>) {
        self.work
            .retain(|id, work| work.is_running() || containers.contains(id));
    }

    /// Starts the work that is due in containers that run. Much of it needs no engine.
    pub fn start(&mut self, shared: &Rc<Shared>, now: Instant) {
        let state = shared.state.borrow();
        let serves_paused = state.settings.inject.serves_paused();
        for (id, container) in state.inventory.running(serves_paused) {
            let Some(work) = self.work.get_mut(id) else {
                continue;
            };
            let Some(since) = work.begin(now.into_std()) else {
                continue;
            };
            // One whose ports are all unplugged is looked up, to be known when they come.
            if !state.assigned.by_container.contains_key(id) && !state.store.has_record(id) {
                work.end(now.into_std(), false);
                continue;
            }
            let from_outside = state.settings.inject == InjectPolicy::Namespace;
            let slots = (!from_outside).then(|| self.slots.clone());
            let job = run(
                shared.clone(),
                state.engine.connection().cloned(),
                id.clone(),
                container.name.clone(),
                since,
                slots,
            );
            self.running.spawn_local(job);
        }
    }

    /// Waits for the end of a job, and returns all that have ended: whose they were, and what is in
    /// the way there. `None` if there is none to wait for.
    pub async fn next(&mut self) -> Option<anyhow::Result<Vec<(ContainerId, Vec<Problem>)>>> {
        let mut ended = vec![self.running.join_next().await?];
        ended.extend(std::iter::from_fn(|| self.running.try_join_next()));
        let ended = ended.into_iter().map(|job| {
            let (id, problems) = job.context("a container's work has panicked")?;
            let retry = problems.iter().any(|problem| problem.retry);
            self.of(&id).end(Instant::now().into_std(), retry);
            Ok((id, problems))
        });
        Some(ended.collect())
    }

    /// When the next try is due.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let retries = self
            .work
            .values()
            .filter_map(|work| work.wake(now.into_std()));
        retries.map(Instant::from_std).min()
    }

    /// Lets the work that has begun come to its end, and begins no more. Returns whether all of it
    /// has ended in time.
    pub async fn drain(&mut self, limit: Duration) -> bool {
        self.slots.close();
        let drain = async { while self.running.join_next().await.is_some() {} };
        timeout(limit, drain).await.is_ok()
    }
}

/// Works on one container; with `slots` when one is free.
async fn run(
    shared: Rc<Shared>,
    engine: Option<Rc<Engine>>,
    id: ContainerId,
    name: String,
    since: std::time::Instant,
    slots: Option<Rc<Semaphore>>,
) -> (ContainerId, Vec<Problem>) {
    let work = reconcile(Job {
        engine: engine.as_deref(),
        state: &shared.state,
        notifier: &shared.notifier,
        blocking: &shared.blocking,
        id: &id,
        name: &name,
        since,
    });
    let problems = match slots {
        Some(slots) => in_turn(&slots, work).await.unwrap_or_default(),
        None => work.await,
    };
    (id, problems)
}

/// Does work when it has its turn. A turn is over after a while, even if the work is not: who
/// takes longer is waiting for something that hangs, and must not keep the others waiting.
///
/// Returns `None` if there are no more turns, because the daemon is about to stop.
async fn in_turn<T>(turns: &Semaphore, work: impl Future<Output = T>) -> Option<T> {
    let turn = turns.acquire().await.ok()?;
    let mut work = pin!(work);
    if let Ok(result) = timeout(LONGEST_TURN, work.as_mut()).await {
        return Some(result);
    }
    drop(turn);
    Some(work.await)
}
