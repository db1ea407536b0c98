//! Reconciles one container with what it should have: revoke; grant, and look meanwhile; make; look again.
//!
//! The result is read from the container; the output of a command in it is never trusted.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use crate::config::settings::GrantPolicy;
use crate::daemon::blocking::{Blocking, Part};
use crate::daemon::notifier::Notifier;
use crate::daemon::reconcile::handle::{Ended, Handle, engine_problem};
use crate::daemon::reconcile::job::Job;
use crate::daemon::reconcile::look::Seen;
use crate::daemon::reconcile::placeholder::placeholders;
use crate::daemon::retry::Next;
use crate::daemon::shared::Shared;
use crate::daemon::start::{Entrance, Start};
use crate::daemon::state::State;
use crate::engine::Engine;
use crate::engine::container::Running;
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::model::inventory::ContainerId;
use crate::model::problem::{Failure, Problem};
use crate::plan::assign::WantedPort;

mod announce;
mod apply;
mod command;
mod grant;
pub mod handle;
pub mod job;
mod log;
pub mod look;
mod on_plug;
mod placeholder;

/// What is left after the work on a container.
#[derive(Debug, Default)]
pub struct Left {
    pub problems: Vec<Problem>,
    /// A command may still make something, which has to be looked for.
    command: bool,
}

impl Left {
    fn problems(problems: impl IntoIterator<Item = Problem>) -> Self {
        Self {
            problems: problems.into_iter().collect(),
            command: false,
        }
    }

    /// What follows, though nothing changes.
    pub fn next(&self) -> Next {
        match self.problems.iter().any(|problem| problem.retry) {
            true => Next::Retry,
            false if self.command => Next::LookAgain,
            false => Next::Nothing,
        }
    }
}

/// Reconciles a container.
pub async fn reconcile(job: Job<'_>) -> Left {
    let mut handle = match job.handle().await {
        Ok(Some(handle)) => handle,
        Ok(None) => return Left::problems(job.forget().err()),
        Err(problem) => return Left::problems([problem]),
    };
    match handle.reconcile(job.engine).await {
        Ok(problems) if !handle.start.has_ended() => Left {
            problems,
            command: handle.start.has_unfinished(),
        },
        // A failure in a container that has just ended is no problem. If it was started again, its
        // start event schedules it again.
        Ok(_) | Err(Ended) => Left::default(),
    }
}

/// Revokes what a container is not assigned any more, while the work on it may be waiting for
/// something in it. A failure is tried again, and reported, by the work that follows.
pub async fn revoke(shared: Rc<Shared>, id: ContainerId) {
    let name = |state: &State| Some(state.inventory.containers.get(&id)?.name.clone());
    let name = name(&shared.state.borrow()).unwrap_or_default();
    let job = Job::new(&shared, None, &id, &name, Instant::now());
    if let Some(start) = job.remembered() {
        let handle = Handle::new(job, start, Vec::new());
        if handle.record_created().is_ok() {
            let _ = handle.revoke().await;
        }
    }
}

/// A container as it is, and the plan for it.
#[derive(Debug)]
pub struct Preview {
    pub running: Rc<Running>,
    pub wants: Vec<WantedPort>,
    pub seen: Seen,
}

/// Computes the plan for a container without carrying it out. `None` if the container does not run or
/// has no ports.
///
/// # Errors
/// A problem because of which nothing can be done in the container.
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
    let mut seen = handle.look_with_accounts().await?;
    seen.problems.extend(handle.refused);
    Ok(Some(Preview {
        seen,
        running: handle.running,
        wants: handle.wants,
    }))
}

impl<'a> Job<'a> {
    /// Finds the start in which the container runs. `None` if it does not run, or has neither ports nor
    /// a record.
    async fn handle(self) -> Result<Option<Handle<'a>>, Problem> {
        let start = match self.engine {
            Some(engine) => self.described(engine).await?,
            None => self.remembered(),
        };
        let state = self.state.borrow();
        let wants = state.assigned.wants(self.id).to_vec();
        let (placeholders, refused) = placeholders(&state, self.id);
        let asks = !wants.is_empty() || !placeholders.is_empty() || !refused.is_empty();
        let start = start.filter(|_| asks || state.store.records.has(self.id));
        Ok(start.map(|start| {
            let mut handle = Handle::new(self, start, wants);
            (handle.placeholders, handle.refused) = (placeholders, refused);
            handle
        }))
    }

    /// The start that the engine describes.
    async fn described(self, engine: &Engine) -> Result<Option<Rc<Start>>, Problem> {
        let running = engine.last_known(self.id).await;
        let Some(running) = running.map_err(|error| engine_problem(&error, &self.id.engine))?
        else {
            self.state.borrow_mut().lives.end(self.id);
            return Ok(None);
        };
        if let Some(start) = self.state.borrow().known_start(self.id, &running) {
            return Ok(Some(start));
        }
        let (described, id) = (running.clone(), self.id.clone());
        let open = move || Entrance::open(&described, &id);
        // It reads /proc alone, so nothing in the container can make it hang.
        let entrance = self.blocking.run(self.id, Part::Group, open).await?;
        let entrance = entrance.map_err(|error| {
            let cause = format!("{error:#}");
            Problem::passing(Failure::Look, cause, "wait; ttyplugd tries again")
        })?;
        // A wrapper may be creating its next start already, which must not be undone here.
        if entrance.has_ended() {
            return Ok(None);
        }
        let mut state = self.state.borrow_mut();
        Ok(Some(state.begin(self.id, running, entrance)))
    }

    /// The last known start. While the engine does not answer, it is current as long as the
    /// container's first process lives.
    fn remembered(self) -> Option<Rc<Start>> {
        let state = self.state.borrow();
        let start = state.lives.start(self.id)?;
        (!start.has_ended()).then(|| start.clone())
    }

    /// Forgets the record of a container that does not run: its /dev is gone.
    fn forget(self) -> Result<(), Problem> {
        // Without the engine it is unknown whether it runs.
        if self.engine.is_none() {
            return Ok(());
        }
        let forgotten = self.state.borrow_mut().store.records.forget(self.id);
        forgotten.map_err(|error| Problem::disk(&error))
    }
}

impl Handle<'_> {
    async fn reconcile(&mut self, engine: Option<&Engine>) -> Result<Vec<Problem>, Ended> {
        let mut problems = self.refused.clone();
        self.record_created().map_err(|_| Ended)?;
        // Nothing is made before that has ended.
        let (granted, before) = tokio::join!(self.grant(), self.look_before());
        if let Err(stop) = granted {
            problems.push(stop.problem()?);
            self.denied = self.not_openable();
        }
        if self.grant_policy() == GrantPolicy::Off {
            problems.extend(self.deny_refused().await);
        }
        match self.apply(engine, before).await {
            Ok(more) => problems.extend(more),
            Err(stop) => problems.push(stop.problem()?),
        }
        if let Err(stop) = self.act_on_plugs(engine).await {
            problems.push(stop.problem()?);
        }
        Ok(problems)
    }

    /// Where nothing is granted, a port that the container's own rules refuse is not ready.
    async fn deny_refused(&mut self) -> Vec<Problem> {
        match self.refused().await {
            Ok(refused) => self.denied.extend(refused),
            Err(problem) => return vec![problem],
        }
        let denied = self.wants.iter().filter(|want| !self.may_open(want.devnum));
        denied.map(no_access).collect()
    }

    /// The devices that it may not open after granting access has failed: all but those that its
    /// definition allows, and those that were granted before.
    fn not_openable(&self) -> BTreeSet<DevNum> {
        let wants = self.wants.iter().filter(|want| !self.start.is_ready(want));
        let numbers = wants.map(|want| want.devnum);
        numbers.filter(|n| !self.running.rights.allow(*n)).collect()
    }
}

fn no_access(want: &WantedPort) -> Problem {
    let cause = "the container has no access to the device, and grant is \"off\"";
    let line = DeviceRules::compose_line(want.devnum);
    let fix = format!("add to its service: {line}; or set grant = \"auto\"");
    Problem::lasting(Failure::Right, cause, fix).of_port(&want.port)
}
