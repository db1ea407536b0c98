//! One container from what it has to what it should have: grant, look, make, look again, revoke.
//!
//! What has been achieved is read from the container, never believed from what a command in it said.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use crate::daemon::blocking::Blocking;
use crate::daemon::notifier::Notifier;
use crate::daemon::reconcile::handle::{Ended, Handle, engine_problem};
use crate::daemon::reconcile::look::Seen;
use crate::daemon::start::{Entrance, Start};
use crate::daemon::state::State;
use crate::engine::Engine;
use crate::engine::container::Running;
use crate::model::DevNum;
use crate::model::inventory::ContainerId;
use crate::model::problem::{Failure, Problem};
use crate::plan::assign::WantedPort;

mod announce;
mod apply;
mod grant;
pub mod handle;
mod log;
pub mod look;

/// The work on one container.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// `None` while it is away.
    pub engine: Option<&'a Engine>,
    pub state: &'a RefCell<State>,
    pub notifier: &'a Notifier,
    pub blocking: &'a Blocking,
    pub id: &'a ContainerId,
    pub name: &'a str,
    /// When the reason for it was heard of.
    pub since: Instant,
}

/// Brings a container to what it should have. Returns the problems that are left.
pub async fn reconcile(job: Job<'_>) -> Vec<Problem> {
    let mut handle = match job.handle().await {
        Ok(Some(handle)) => handle,
        Ok(None) => return job.forget().err().into_iter().collect(),
        Err(problem) => return vec![problem],
    };
    match handle.reconcile(job.engine).await {
        Ok(problems) if !handle.start.has_ended() => problems,
        // What fails in a container that ends meanwhile is no problem. If it was started again, the
        // event of that brings it here again.
        Ok(_) | Err(Ended) => Vec::new(),
    }
}

/// A container as it is, and what would be done in it.
#[derive(Debug)]
pub struct Preview {
    pub running: Rc<Running>,
    pub wants: Vec<WantedPort>,
    pub seen: Seen,
}

/// Computes what is to be done in a container, and does nothing. `None` where the container does not
/// run or has no ports.
///
/// # Errors
/// The one problem for which the container cannot be served at all.
pub async fn preview(
    engine: &Engine,
    state: &RefCell<State>,
    id: &ContainerId,
) -> Result<Option<Preview>, Problem> {
    let job = Job {
        engine: Some(engine),
        state,
        notifier: &Notifier::default(),
        blocking: &Blocking::default(),
        id,
        name: "",
        since: Instant::now(),
    };
    let Some(handle) = job.handle().await? else {
        return Ok(None);
    };
    Ok(Some(Preview {
        seen: handle.look(&handle.record()).await?,
        running: handle.running,
        wants: handle.wants,
    }))
}

impl<'a> Job<'a> {
    /// Finds the start in which the container runs. `None` where it does not run, or has nothing to
    /// do with us.
    async fn handle(self) -> Result<Option<Handle<'a>>, Problem> {
        let start = match self.engine {
            Some(engine) => self.described(engine).await?,
            None => self.remembered(),
        };
        let state = self.state.borrow();
        let wants = state.assigned.wants(self.id).to_vec();
        let has_work = !wants.is_empty() || state.store.has_record(self.id);
        Ok(start.filter(|_| has_work).map(|start| Handle {
            state: self.state,
            notifier: self.notifier,
            blocking: self.blocking,
            id: self.id,
            name: self.name,
            since: self.since,
            running: start.running(),
            start,
            wants,
            denied: BTreeSet::new(),
        }))
    }

    /// The start that the engine describes.
    async fn described(self, engine: &Engine) -> Result<Option<Rc<Start>>, Problem> {
        let running = engine.last_known(self.id).await;
        let Some(running) = running.map_err(|error| engine_problem(&error))? else {
            self.state.borrow_mut().lives.end(self.id);
            return Ok(None);
        };
        if let Some(start) = self.state.borrow().known_start(self.id, &running) {
            return Ok(Some(start));
        }
        let (described, id) = (running.clone(), self.id.clone());
        let open = move || Entrance::open(&described, &id);
        let entrance = self.blocking.in_root(self.id, open).await?;
        let entrance = entrance.map_err(|error| {
            Problem::passing(Failure::Look, format!("{error:#}"), "wait for the next try")
        })?;
        // A wrapper may have been asked to create it anew meanwhile, and that counts.
        if entrance.has_ended() {
            return Ok(None);
        }
        let mut state = self.state.borrow_mut();
        Ok(Some(state.begin(self.id, running, entrance)))
    }

    /// While the engine is away, what it said last holds as long as the container's first process
    /// lives.
    fn remembered(self) -> Option<Rc<Start>> {
        let state = self.state.borrow();
        let start = state.lives.start(self.id)?;
        (!start.has_ended()).then(|| start.clone())
    }

    /// What is on record of a container that does not run went with its /dev.
    fn forget(self) -> Result<(), Problem> {
        // What an engine that is away would say is not known.
        if self.engine.is_none() {
            return Ok(());
        }
        let forgotten = self.state.borrow_mut().store.forget(self.id);
        forgotten.map_err(|error| Problem::disk(&error))
    }
}

impl Handle<'_> {
    async fn reconcile(&mut self, engine: Option<&Engine>) -> Result<Vec<Problem>, Ended> {
        let mut problems = Vec::new();
        if let Err(stop) = self.grant().await {
            problems.push(stop.problem()?);
            self.denied = self.not_openable();
        }
        match self.apply(engine).await {
            Ok(more) => problems.extend(more),
            Err(stop) => problems.push(stop.problem()?),
        }
        if let Err(stop) = self.revoke().await {
            problems.push(stop.problem()?);
        }
        Ok(problems)
    }

    /// Devices that it may not open, where access could not be granted: all but those that its
    /// definition lets it open, and those that were granted before.
    fn not_openable(&self) -> BTreeSet<DevNum> {
        let wants = self.wants.iter().filter(|want| !self.start.is_ready(want));
        let numbers = wants.map(|want| want.devnum);
        numbers.filter(|n| !self.running.rights.allow(*n)).collect()
    }
}
