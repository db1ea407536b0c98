//! Everything that is known of one start of a container. The next start replaces it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{Mutex, MutexGuard};

use crate::container::device_cgroup::DeviceGroup;
use crate::container::rootfs::Rootfs;
use crate::container::uevent::Announcement;
use crate::engine::container::Running;
use crate::model::inventory::{ContainerId, ContainerState};
use crate::model::on_plug::Signal;
#[cfg(test)]
use crate::model::start::StartId;
use crate::model::{DevNum, NodePath};
use crate::plan::assign::WantedPort;
use crate::plan::{Note, Record, merged};
use crate::sys::pidfd;

/// Whether a container runs, and in which start.
#[derive(Debug)]
pub enum Life {
    /// It has stopped, or a wrapper is creating it. Its next start has a new /dev, in which nothing
    /// is ready.
    NotStarted {
        /// Entries that a command of the last start may still make in the next one.
        unfinished: Record,
    },
    Running(Rc<Start>),
}

impl Life {
    fn into_unfinished(self) -> Record {
        match self {
            Self::NotStarted { unfinished } => unfinished,
            Self::Running(start) => start.unfinished(),
        }
    }
}

/// The containers that the daemon has worked on, each with its life.
#[derive(Debug, Default)]
pub struct Lives {
    lives: BTreeMap<ContainerId, Life>,
    /// Entries that a command of an earlier daemon may still make, in whichever start the container
    /// is by then: the engine carries a command out after the one who has sent it has died.
    earlier: BTreeMap<ContainerId, Record>,
}

impl Lives {
    /// None is known yet. An earlier daemon has these entries on record.
    pub fn after(earlier: BTreeMap<ContainerId, Record>) -> Self {
        Self {
            lives: BTreeMap::new(),
            earlier,
        }
    }

    pub fn get(&self, id: &ContainerId) -> Option<&Life> {
        self.lives.get(id)
    }

    /// The start in which a container runs, if it is known.
    pub fn start(&self, id: &ContainerId) -> Option<&Rc<Start>> {
        match self.lives.get(id)? {
            Life::Running(start) => Some(start),
            Life::NotStarted { .. } => None,
        }
    }

    /// Whether this is still the start in which a container runs.
    pub fn is_current(&self, id: &ContainerId, start: &Rc<Start>) -> bool {
        self.start(id).is_some_and(|now| Rc::ptr_eq(now, start))
    }

    /// A container was started. Returns the entries that a command of an earlier start may have made
    /// in this one.
    pub fn begin(&mut self, id: &ContainerId, start: Rc<Start>) -> Record {
        let before = self.lives.insert(id.clone(), Life::Running(start));
        let unfinished = before.map(Life::into_unfinished).unwrap_or_default();
        let earlier = self.earlier.remove(id).unwrap_or_default();
        merged(unfinished, earlier)
    }

    /// A container has stopped, or is being created.
    pub fn end(&mut self, id: &ContainerId) {
        let before = self.lives.remove(id);
        let unfinished = before.map(Life::into_unfinished).unwrap_or_default();
        let life = Life::NotStarted { unfinished };
        self.lives.insert(id.clone(), life);
    }

    /// Forgets removed containers, for which `state` is `None`, and ends the starts of stopped ones.
    pub fn update(&mut self, state: impl Fn(&ContainerId) -> Option<ContainerState>) {
        self.lives.retain(|id, _| state(id).is_some());
        let stopped = |id: &&ContainerId| state(id) == Some(ContainerState::Stopped);
        let stopped: Vec<_> = self.lives.keys().filter(stopped).cloned().collect();
        for id in stopped {
            self.end(&id);
        }
    }
}

/// A command that may still act.
#[derive(Debug)]
struct PendingCommand {
    /// The entries that it has to make.
    entries: Record,
    begun: Instant,
}

/// One start of a container, and everything that was found out about it. The next start replaces it:
/// work that still holds the old one cannot change the new one.
#[derive(Debug)]
pub struct Start {
    /// The engine's last description: a running container can be paused and renamed.
    running: RefCell<Rc<Running>>,
    entrance: Entrance,
    /// It was not compared with a plan yet. A command of an earlier daemon may still run in it.
    unseen: Cell<bool>,
    /// The last look for temporary files of ours has found none, and nothing that may leave one was begun
    /// since.
    swept: Cell<bool>,
    /// A command in the container has failed where namespace injection then worked.
    exec_fails: Cell<bool>,
    /// Somebody is stopping the container.
    stopping: Cell<bool>,
    /// Orders the changes of device access: work that grants it may be running when its port is
    /// unplugged.
    access: Mutex<()>,
    /// The commands in it whose end was not seen.
    commands: RefCell<Vec<PendingCommand>>,
    /// Nodes and links that lead to their device and may be opened; `None` before the first look.
    ready: RefCell<Option<BTreeMap<NodePath, DevNum>>>,
    /// What was noted of each port at the last look.
    notes: RefCell<BTreeMap<String, BTreeSet<String>>>,
    /// The uevents that were sent in it, whether or not an application received them.
    announced: RefCell<BTreeMap<NodePath, Announcement>>,
}

impl Start {
    pub fn new(running: Running, entrance: Entrance) -> Self {
        Self {
            running: RefCell::new(Rc::new(running)),
            entrance,
            unseen: Cell::new(true),
            swept: Cell::new(false),
            exec_fails: Cell::new(false),
            stopping: Cell::new(false),
            access: Mutex::default(),
            commands: RefCell::default(),
            ready: RefCell::default(),
            notes: RefCell::default(),
            announced: RefCell::default(),
        }
    }

    pub fn running(&self) -> Rc<Running> {
        self.running.borrow().clone()
    }

    /// Takes in the engine's description of the container. Returns whether it is of this start.
    pub fn describe(&self, now: &Running) -> bool {
        let known = self.running();
        let same = known.start.is(&now.start) && known.pid == now.pid;
        if same {
            self.running.replace(Rc::new(now.clone()));
        }
        same
    }

    pub fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    pub fn has_ended(&self) -> bool {
        self.entrance.has_ended()
    }

    /// Whether this is the first comparison with a plan.
    pub fn begin_first_look(&self) -> bool {
        self.unseen.replace(false)
    }

    pub fn is_swept(&self) -> bool {
        self.swept.get()
    }

    pub fn set_swept(&self, swept: bool) {
        self.swept.set(swept);
    }

    pub fn exec_fails(&self) -> bool {
        self.exec_fails.get()
    }

    pub fn set_exec_fails(&self) {
        self.exec_fails.set(true);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub fn set_stopping(&self) {
        self.stopping.set(true);
    }

    /// Waits until nobody else changes the container's device access.
    pub async fn lock_access(&self) -> MutexGuard<'_, ()> {
        self.access.lock().await
    }

    /// A command begins that has to make these entries. Returns when, which identifies it.
    pub fn begin_command(&self, entries: &Record) -> Instant {
        self.set_swept(false);
        let begun = Instant::now();
        let entries = entries.clone();
        self.commands
            .borrow_mut()
            .push(PendingCommand { entries, begun });
        begun
    }

    /// A command has ended in this start.
    pub fn end_command(&self, begun: Instant) {
        self.commands
            .borrow_mut()
            .retain(|command| command.begun != begun);
    }

    /// All commands have ended that began until then.
    pub fn end_commands_until(&self, begun: Instant) {
        self.commands
            .borrow_mut()
            .retain(|command| command.begun > begun);
    }

    /// The entries that commands may still make.
    pub fn unfinished(&self) -> Record {
        let commands = self.commands.borrow();
        let entries = commands.iter().map(|command| command.entries.clone());
        entries.fold(Record::new(), merged)
    }

    /// Whether a command may still act.
    pub fn has_unfinished(&self) -> bool {
        !self.commands.borrow().is_empty()
    }

    pub fn is_looked_at(&self) -> bool {
        self.ready.borrow().is_some()
    }

    pub fn is_ready(&self, want: &WantedPort) -> bool {
        self.opens(&want.node, want.devnum)
    }

    /// Whether a path leads to a device and may be opened.
    pub fn opens(&self, path: &NodePath, devnum: DevNum) -> bool {
        let ready = self.ready.borrow();
        let reached = ready.as_ref().and_then(|ready| ready.get(path));
        reached == Some(&devnum)
    }

    /// Sets all paths that are ready. Returns whether that is a change.
    pub fn set_ready(&self, ready: BTreeMap<NodePath, DevNum>) -> bool {
        let ready = Some(ready);
        self.ready.replace(ready.clone()) != ready
    }

    /// What was noted of a port.
    pub fn notes(&self, port: &str) -> Vec<String> {
        let notes = self.notes.borrow();
        notes.get(port).into_iter().flatten().cloned().collect()
    }

    /// Sets all that is noted. Returns what is new, and whether that is a change.
    pub fn set_notes(&self, notes: &[Note]) -> (Vec<Note>, bool) {
        let mut now: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for note in notes {
            now.entry(note.port.clone())
                .or_default()
                .insert(note.to_string());
        }
        let before = self.notes.replace(now.clone());
        let is_new = |note: &&Note| {
            let known = before.get(&note.port);
            known.is_none_or(|known| !known.contains(&note.to_string()))
        };
        (
            notes.iter().filter(is_new).cloned().collect(),
            before != now,
        )
    }

    /// Forgets the paths that are not wanted any more, which may be removed from now on. If their devices
    /// come back, they are looked at again.
    pub fn retain_ready(&self, wants: &[WantedPort]) {
        let is_wanted = |path: &NodePath, devnum: DevNum| {
            let mut wants = wants.iter();
            wants.any(|want| want.devnum == devnum && want.paths().any(|own| own == path))
        };
        if let Some(ready) = &mut *self.ready.borrow_mut() {
            ready.retain(|path, devnum| is_wanted(path, *devnum));
        }
    }

    pub fn announced(&self) -> BTreeMap<NodePath, Announcement> {
        self.announced.borrow().clone()
    }

    pub fn set_announced(&self, announced: BTreeMap<NodePath, Announcement>) {
        self.announced.replace(announced);
    }
}

impl Drop for Start {
    /// Closing the last descriptor of a tmpfs frees everything in it, which can take a while.
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let rootfs = self.entrance.rootfs.clone();
            runtime.spawn_blocking(move || rootfs.leave());
        }
    }
}

/// The descriptors through which the daemon works on a start. They are opened once, and never reach
/// anything of a later start.
#[derive(Debug, Clone)]
pub struct Entrance {
    pid: i64,
    id: ContainerId,
    /// The first process (pidfd_open(2)).
    process: Arc<OwnedFd>,
    pub rootfs: Arc<Rootfs>,
    /// `None` if it could not be opened at first.
    group: Option<Arc<DeviceGroup>>,
}

impl Entrance {
    /// Opens them. This reads /proc, which can block, so it must not run on the loop.
    ///
    /// # Errors
    /// The container has ended, or cannot be read.
    pub fn open(running: &Running, id: &ContainerId) -> anyhow::Result<Self> {
        let pid = i32::try_from(running.pid).context("the engine gives an invalid process id")?;
        let process = pidfd::open(pid)
            .with_context(|| format!("container {id} has ended: no process {pid}"))?;
        // This checks that the process belongs to the container, now that its number cannot be reused.
        let rootfs = Rootfs::open(running.pid, id, running.foreign.clone())?;
        Ok(Self {
            pid: running.pid,
            id: id.clone(),
            process: Arc::new(process),
            rootfs: Arc::new(rootfs),
            group: DeviceGroup::open(running.pid, id).ok().map(Arc::new),
        })
    }

    pub fn has_ended(&self) -> bool {
        pidfd::has_ended(&*self.process)
    }

    /// Sends a signal to the first process, and to no other. A paused one gets it when it goes on
    /// (cgroups(7), freezer).
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = pidfd::Signal::from_named_raw(signal.number);
        pidfd::send(&*self.process, signal.ok_or(io::ErrorKind::InvalidInput)?)
    }

    /// The control group that decides which devices the container may open.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn group(&self) -> anyhow::Result<Arc<DeviceGroup>> {
        match &self.group {
            Some(group) => Ok(group.clone()),
            None => DeviceGroup::open(self.pid, &self.id).map(Arc::new),
        }
    }
}

#[cfg(test)]
impl Start {
    /// A start whose first process is the test process.
    pub(crate) fn own(started_at: &str) -> Rc<Self> {
        let pid = std::process::id();
        let running = Running {
            pid: pid.into(),
            start: StartId::at(started_at),
            ..Running::default()
        };
        let number = i32::try_from(pid).expect("it is a process id");
        let process = pidfd::open(number).expect("this process runs");
        let entrance = Entrance {
            pid: pid.into(),
            id: ContainerId::of_docker(String::new()),
            process: Arc::new(process),
            rootfs: Arc::new(Rootfs::own()),
            group: None,
        };
        Rc::new(Self::new(running, entrance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Made;

    #[test]
    fn a_node_that_was_not_wanted_meanwhile_is_ready_by_another_look_alone() {
        let start = Start::own("1");
        let node = "/dev/zwave".parse().expect("it is a path");
        let devnum = "188:0".parse().expect("it is a number");
        let ready = BTreeMap::from([(node, devnum)]);
        assert!(start.set_ready(ready.clone()));
        assert!(!start.set_ready(ready.clone()));
        start.retain_ready(&[]);
        assert!(start.is_looked_at() && start.set_ready(ready));
    }

    /// Of one node.
    fn record() -> Record {
        let node = "/dev/zwave".parse().expect("it is a path");
        let made = Made::node("188:0".parse().expect("it is a number"), None);
        Record::from([(node, BTreeSet::from([made]))])
    }

    #[test]
    fn temporary_files_are_looked_for_after_a_command() {
        let start = Start::own("1");
        assert!(!start.is_swept());
        start.set_swept(true);
        let begun = start.begin_command(&record());
        assert!(!start.is_swept());
        start.end_command(begun);
        assert!(!start.is_swept());
    }

    #[test]
    fn entries_that_a_command_may_still_make_pass_to_the_next_start() {
        let (id, unfinished) = (ContainerId::of_docker("1".repeat(64)), record());

        let mut lives = Lives::default();
        let first = Start::own("1");
        assert_eq!(lives.begin(&id, first.clone()), Record::new());
        first.begin_command(&unfinished);
        // Stopped, created by a wrapper, and started.
        lives.update(|_| Some(ContainerState::Stopped));
        lives.end(&id);
        assert_eq!(lives.begin(&id, Start::own("2")), unfinished);
        assert_eq!(lives.begin(&id, Start::own("3")), Record::new());

        let last = lives.start(&id).expect("it runs").clone();
        let begun = last.begin_command(&unfinished);
        // The end of a later one says nothing of it.
        let later = last.begin_command(&Record::new());
        last.end_command(later);
        assert_eq!(last.unfinished(), unfinished);
        last.end_command(begun);
        assert_eq!(lives.begin(&id, Start::own("4")), Record::new());
        lives.update(|_| None);
        assert!(lives.get(&id).is_none());
    }

    #[test]
    fn entries_that_a_command_of_an_earlier_daemon_may_still_make_pass_to_the_next_start() {
        let id = ContainerId::of_docker("1".repeat(64));
        let mut lives = Lives::after(BTreeMap::from([(id.clone(), record())]));

        // No container is known until the engine answers.
        lives.update(|_| None);
        lives.update(|_| Some(ContainerState::Stopped));
        assert_eq!(lives.begin(&id, Start::own("2")), record());
        assert_eq!(lives.begin(&id, Start::own("3")), Record::new());
    }
}
