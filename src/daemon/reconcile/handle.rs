//! The work on one start of a container, and the only way from it to the daemon's state.
//!
//! Work may outlive its start. Then its next change of the state fails with [`Stop::Ended`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use tokio::task::yield_now;

use crate::config::settings::{GrantPolicy, InjectPolicy};
use crate::container::uevent::Announcement;
use crate::daemon::blocking::Part;
use crate::daemon::metrics::Metrics;
use crate::daemon::reconcile::job::Job;
use crate::daemon::start::{Entrance, Start};
use crate::daemon::state::State;
use crate::daemon::status::note;
use crate::engine::Engine;
use crate::engine::container::Running;
use crate::engine::error::EngineError;
use crate::model::device_access::{DeviceRules, Grant, Grants, Origin};
use crate::model::inventory::{ContainerId, ContainerState, EngineName};
use crate::model::problem::{Failure, Problem};
use crate::model::start::StartId;
use crate::model::{DevNum, NodePath};
use crate::plan::assign::WantedPort;
use crate::plan::{Note, Record};
use crate::store::LastPlug;

/// The start that was worked on has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// Why work on a start cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    Ended,
    Problem(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Stop {
    /// The problem, unless the start has ended.
    pub fn problem(self) -> Result<Problem, Ended> {
        match self {
            Self::Ended => Err(Ended),
            Self::Problem(problem) => Ok(problem),
        }
    }
}

/// The work on one start of a container.
#[derive(Debug)]
pub struct Handle<'a> {
    job: Job<'a>,
    pub start: Rc<Start>,
    pub running: Rc<Running>,
    pub wants: Vec<WantedPort>,
    /// How nodes are made, by the settings of when the work began.
    pub inject_policy: InjectPolicy,
    /// What stands for ports whose device is absent, and why others have no such placeholder.
    pub placeholders: Vec<WantedPort>,
    pub refused: Vec<Problem>,
    /// The devices that it may not open, since granting access has failed.
    pub denied: BTreeSet<DevNum>,
}

impl<'a> Handle<'a> {
    pub fn new(job: Job<'a>, start: Rc<Start>, wants: Vec<WantedPort>) -> Self {
        Self {
            job,
            running: start.running(),
            start,
            wants,
            inject_policy: inject_policy(&job),
            placeholders: Vec::new(),
            refused: Vec::new(),
            denied: BTreeSet::new(),
        }
    }

    /// All nodes that it is to have.
    pub fn nodes(&self) -> impl Iterator<Item = &WantedPort> {
        self.wants.iter().chain(&self.placeholders)
    }

    pub fn id(&self) -> &'a ContainerId {
        self.job.id
    }

    /// For the log, in which Docker is not named.
    pub fn engine_name(&self) -> Option<&'a str> {
        self.job.id.engine.unless_docker()
    }

    pub fn name(&self) -> &'a str {
        self.job.name
    }

    /// When the event came that caused the work.
    pub fn since(&self) -> Instant {
        self.job.since
    }

    pub fn grant_policy(&self) -> GrantPolicy {
        self.job.state.borrow().settings.grant
    }

    pub fn announces(&self) -> bool {
        self.job.state.borrow().settings.announce
    }

    /// The entries that ttyplugd has made in this start.
    pub fn record(&self) -> Record {
        let state = self.job.state.borrow();
        state
            .store
            .records
            .entries(self.job.id, &self.running.start)
    }

    /// Puts entries on the record of this start, and waits until it is written.
    ///
    /// # Errors
    /// The start has ended, or the record cannot be written: then the container must not be touched.
    pub async fn put_record(&self, record: Record) -> Result<(), Stop> {
        self.change(|state, start| {
            let records = &mut state.store.records;
            records.put_entries(self.job.id, start, record);
        })?;
        self.write().await
    }

    /// The access that was granted to this start.
    pub fn grants(&self) -> Grants {
        let state = self.job.state.borrow();
        state.store.records.grants(self.job.id, &self.running.start)
    }

    /// Whether the record of an earlier daemon could not be read.
    pub fn records_are_lost(&self) -> bool {
        self.job.state.borrow().store.records.are_lost()
    }

    /// Puts grants on the record of this start, which [`Self::write`] then writes.
    ///
    /// # Errors
    /// The start has ended.
    pub fn put_grants(&self, grants: Grants) -> Result<(), Stop> {
        self.change(|state, start| {
            let records = &mut state.store.records;
            records.put_grants(self.job.id, start, grants);
        })
    }

    /// Moves what the wrapper made and granted to the record of this start. It can belong to no
    /// other, since its first process lives and no other start was created meanwhile.
    /// [`Self::write`] writes it.
    ///
    /// # Errors
    /// The start has ended.
    pub fn record_created(&self) -> Result<(), Stop> {
        if self.start.has_ended() {
            return Err(Stop::Ended);
        }
        let grant = |devnum: &DevNum| Grant {
            defined: self.running.rights.access_at_start(*devnum),
            origin: Origin::Wrapper,
            // The engine has passed the rules to systemd when it made the group.
            known_to_systemd: true,
        };
        self.change(|state, start| state.store.records.begin(self.job.id, start, grant))
    }

    /// The last plug of a port, in this start or an earlier one.
    pub fn last_plug(&self, port: &str) -> Option<LastPlug> {
        let state = self.job.state.borrow();
        state.store.records.last_plug(self.job.id, port).cloned()
    }

    /// Puts the plug with which the container has a port on the record of this start, and when something
    /// was done for it. [`Self::write`] writes it.
    ///
    /// # Errors
    /// The start has ended.
    pub fn put_plug(&self, port: &str, plugged: u64, acted: Option<u64>) -> Result<(), Stop> {
        self.change(|state, start| {
            let plug = LastPlug {
                start: start.clone(),
                plugged,
                acted,
            };
            state.store.records.put_last_plug(self.job.id, port, plug);
        })
    }

    /// Whether the port is ready now.
    pub fn is_ready(&self, want: &WantedPort) -> bool {
        self.job.state.borrow().is_ready(self.job.id, want)
    }

    /// The counts of what the daemon does.
    pub fn metrics(&self) -> Rc<Metrics> {
        self.job.state.borrow().metrics.clone()
    }

    /// Waits until the record is written. One write serves all containers that are worked on at the same
    /// time.
    ///
    /// # Errors
    /// The start has ended, or the record cannot be written.
    pub async fn write(&self) -> Result<(), Stop> {
        if !self.is_written() {
            yield_now().await;
        }
        // By now others may have written it.
        if !self.is_written() {
            self.job.blocking.gather().await;
        }
        let written = self.change(|state, _| state.store.records.write(self.job.id))?;
        written.map_err(|error| Problem::disk(&error).into())
    }

    fn is_written(&self) -> bool {
        let state = self.job.state.borrow();
        state.store.records.is_written(self.job.id)
    }

    /// The device rules of the container's definition, and what was granted.
    pub fn rules(&self) -> DeviceRules {
        let mut rules = self.running.rights.clone();
        if self.grant_policy() == GrantPolicy::Auto {
            rules.add(&self.grants());
        }
        rules
    }

    /// The devices that the container is assigned now.
    pub fn wanted(&self) -> BTreeSet<DevNum> {
        let state = self.job.state.borrow();
        let wants = state.assigned.wants(self.job.id).iter();
        wants.map(|want| want.devnum).collect()
    }

    pub fn may_open(&self, devnum: DevNum) -> bool {
        !self.denied.contains(&devnum)
    }

    /// Sets all paths that are ready. Opens that wait for one of them go on as soon as the work waits for
    /// something, or yields.
    pub fn set_ready(&self, ready: BTreeMap<NodePath, DevNum>) {
        let mut state = self.job.state.borrow_mut();
        if state.lives.is_current(self.job.id, &self.start) && self.start.set_ready(ready) {
            note(&mut state, self.job.id);
            self.job.notifier.notify_container(self.job.id);
        }
    }

    /// Sets all that is noted of the ports, and logs what is new.
    pub fn set_notes(&self, notes: &[Note]) {
        let (new, changed) = self.start.set_notes(notes);
        for note in new {
            tracing::info!(
                container_name = self.name(),
                container_id = self.id().id,
                engine = self.engine_name(),
                port = note.port,
                "{note}"
            );
        }
        if changed {
            self.job.notifier.notify_container(self.job.id);
        }
    }

    /// The uevent for a port; `None` if the assignment has changed since this work began.
    pub fn announcement(&self, want: &WantedPort) -> Option<Announcement> {
        let state = self.job.state.borrow();
        let device = state.inventory.devices.get(&want.device)?;
        let is_wanted = state.assigned.wants(self.job.id).contains(want);
        is_wanted.then(|| Announcement::new(device, &want.node, &want.links))
    }

    /// Waits until the container is paused.
    pub async fn paused(&self) {
        let is_paused = || {
            let state = self.job.state.borrow();
            let container = state.inventory.containers.get(self.job.id);
            container.is_some_and(|container| container.state == ContainerState::Paused)
        };
        let mut changed = self.job.notifier.container(self.job.id);
        while !is_paused() {
            if changed.next().await.is_none() {
                // The daemon is ending.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Runs work on a part of the container, by the descriptors of this start.
    ///
    /// # Errors
    /// It takes too long, or panics.
    pub async fn run<T: Send + 'static>(
        &self,
        part: Part,
        work: impl FnOnce(&Entrance) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let entrance = self.start.entrance().clone();
        let work = move || work(&entrance);
        self.job.blocking.run(self.job.id, part, work).await
    }

    /// Changes the state, unless this start has ended.
    fn change<T>(&self, change: impl FnOnce(&mut State, &StartId) -> T) -> Result<T, Stop> {
        let mut state = self.job.state.borrow_mut();
        match state.lives.is_current(self.job.id, &self.start) {
            true => Ok(change(&mut state, &self.running.start)),
            false => Err(Stop::Ended),
        }
    }
}

/// Where no engine executes commands, nodes are made from outside.
fn inject_policy(job: &Job<'_>) -> InjectPolicy {
    let takes_commands = |engine: &Engine| engine.takes_commands();
    match job.engine.is_none_or(takes_commands) {
        true => job.state.borrow().settings.inject,
        false => InjectPolicy::Namespace,
    }
}

/// The problem that this engine failed.
pub fn engine_problem(error: &EngineError, engine: &EngineName) -> Problem {
    Problem::passing(Failure::Engine, error.to_string(), error.fix(engine))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::settings::Settings;
    use crate::daemon::shared::Shared;
    use crate::model::inventory::Inventory;
    use crate::plan::Made;
    use crate::store::Store;

    const NODE: &str = "/dev/zwave";

    fn shared(directory: &Path) -> Shared {
        let store = Store::open(directory, directory);
        let state = State::new(Settings::default(), Inventory::default(), store);
        Shared::new(state)
    }

    fn handle<'a>(shared: &'a Shared, id: &'a ContainerId, start: &Rc<Start>) -> Handle<'a> {
        let job = Job::new(shared, None, id, "app", Instant::now());
        Handle::new(job, start.clone(), Vec::new())
    }

    fn devnum() -> DevNum {
        "188:0".parse().expect("it is a number")
    }

    fn node() -> NodePath {
        NODE.parse().expect("it is a path")
    }

    fn record() -> Record {
        Record::from([(node(), BTreeSet::from([Made::node(devnum(), None)]))])
    }

    fn grants() -> Grants {
        Grants::from([(devnum(), Grant::by(Origin::Daemon))])
    }

    fn ready() -> BTreeMap<NodePath, DevNum> {
        BTreeMap::from([(node(), devnum())])
    }

    fn is_ready(shared: &Shared, id: &ContainerId) -> bool {
        let state = shared.state.borrow();
        let start = state.lives.start(id);
        start.is_some_and(|start| start.is_looked_at())
    }

    #[tokio::test]
    async fn work_on_a_start_writes_what_has_come_of_it() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let (shared, id) = (
            shared(directory.path()),
            ContainerId::of_docker("1".repeat(64)),
        );
        let start = Start::own("1");
        shared.state.borrow_mut().lives.begin(&id, start.clone());
        let work = handle(&shared, &id, &start);
        assert_eq!(work.put_record(record()).await, Ok(()));
        assert_eq!(work.put_grants(grants()), Ok(()));
        work.set_ready(ready());
        assert_eq!((work.record(), work.grants()), (record(), grants()));
        assert!(is_ready(&shared, &id));
    }

    #[tokio::test]
    async fn work_that_outlives_its_start_writes_nothing() {
        let next = Start::own("2");
        type End<'a> = &'a dyn Fn(&mut State, &ContainerId);
        let endings: [(&str, End); 3] = [
            ("started again", &|state, id| {
                drop(state.lives.begin(id, next.clone()))
            }),
            ("created anew", &|state, id| state.being_created(id)),
            ("gone", &|state, _| state.lives.update(|_| None)),
        ];
        for (ending, end) in endings {
            let directory = tempfile::tempdir().expect("a directory can be made");
            let (shared, id) = (
                shared(directory.path()),
                ContainerId::of_docker("1".repeat(64)),
            );
            let start = Start::own("1");
            shared.state.borrow_mut().lives.begin(&id, start.clone());
            let work = handle(&shared, &id, &start);
            end(&mut shared.state.borrow_mut(), &id);

            assert_eq!(
                work.put_record(record()).await,
                Err(Stop::Ended),
                "{ending}"
            );
            assert_eq!(work.put_grants(grants()), Err(Stop::Ended), "{ending}");
            assert_eq!(work.record_created(), Err(Stop::Ended), "{ending}");
            assert_eq!(work.write().await, Err(Stop::Ended), "{ending}");
            work.set_ready(ready());
            assert!(!is_ready(&shared, &id), "{ending}");
            let state = shared.state.borrow();
            for start in ["1", "2"].map(StartId::at) {
                assert_eq!(
                    state.store.records.entries(&id, &start),
                    Record::new(),
                    "{ending}"
                );
                assert_eq!(
                    state.store.records.grants(&id, &start),
                    Grants::new(),
                    "{ending}"
                );
            }
        }
    }
}
