//! What is known of a container's starts: one record each, which goes when the start does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;

use crate::container::device_cgroup::DeviceGroup;
use crate::container::rootfs::Rootfs;
use crate::container::uevent::Announcement;
use crate::engine::container::Running;
use crate::model::inventory::{ContainerId, ContainerState};
use crate::model::{DevNum, NodePath};
use crate::plan::Record;
use crate::plan::assign::WantedPort;
use crate::sys::pidfd;

/// Whether a container runs.
#[derive(Debug)]
pub enum Life {
    /// It has stopped, or a wrapper is creating it. Its next start has a new /dev, in which nothing
    /// is ready.
    NotStarted {
        /// What a command of the last start may still make in the next one.
        unfinished: Record,
    },
    Running(Rc<Start>),
}

impl Life {
    fn into_unfinished(self) -> Record {
        match self {
            Self::NotStarted { unfinished } => unfinished,
            Self::Running(start) => start.unfinished.take(),
        }
    }
}

/// The containers that were looked at, each with its life.
#[derive(Debug, Default)]
pub struct Lives(BTreeMap<ContainerId, Life>);

impl Lives {
    pub fn get(&self, id: &ContainerId) -> Option<&Life> {
        self.0.get(id)
    }

    /// The start in which a container runs, where that is known.
    pub fn start(&self, id: &ContainerId) -> Option<&Rc<Start>> {
        match self.0.get(id)? {
            Life::Running(start) => Some(start),
            Life::NotStarted { .. } => None,
        }
    }

    /// Whether a container still runs in this start.
    pub fn is_current(&self, id: &ContainerId, start: &Rc<Start>) -> bool {
        self.start(id).is_some_and(|now| Rc::ptr_eq(now, start))
    }

    /// A container was started. Returns what a command of an earlier start may have made in this
    /// one.
    pub fn begin(&mut self, id: &ContainerId, start: Rc<Start>) -> Record {
        let before = self.0.insert(id.clone(), Life::Running(start));
        before.map(Life::into_unfinished).unwrap_or_default()
    }

    /// A container has stopped, or is being created.
    pub fn end(&mut self, id: &ContainerId) {
        let before = self.0.remove(id);
        let unfinished = before.map(Life::into_unfinished).unwrap_or_default();
        let life = Life::NotStarted { unfinished };
        self.0.insert(id.clone(), life);
    }

    /// Forgets containers that are gone, and ends the starts of those that have stopped. `state` is
    /// `None` for a container that is gone.
    pub fn update(&mut self, state: impl Fn(&ContainerId) -> Option<ContainerState>) {
        self.0.retain(|id, _| state(id).is_some());
        let stopped = |id: &&ContainerId| state(id) == Some(ContainerState::Stopped);
        let stopped: Vec<_> = self.0.keys().filter(stopped).cloned().collect();
        for id in stopped {
            self.end(&id);
        }
    }
}

/// One start of a container, and all that was found out about it. The next start replaces it; what
/// still holds the old one changes nothing of the new.
#[derive(Debug)]
pub struct Start {
    /// As the engine described it last: a start can be paused and renamed.
    running: RefCell<Rc<Running>>,
    entrance: Entrance,
    /// Nothing was compared with the plan yet. A command of an earlier daemon may still run.
    unseen: Cell<bool>,
    /// A command in the container could not do what was then done from outside.
    exec_fails: Cell<bool>,
    /// What the last command in it was told to make, until that was seen in place.
    unfinished: RefCell<Record>,
    /// Nodes that are in place and may be opened; `None` before the first look.
    ready: RefCell<Option<BTreeMap<NodePath, DevNum>>>,
    /// What the applications in it were told of, or would have been if they had listened.
    announced: RefCell<BTreeMap<NodePath, Announcement>>,
}

impl Start {
    pub fn new(running: Running, entrance: Entrance) -> Self {
        Self {
            running: RefCell::new(Rc::new(running)),
            entrance,
            unseen: Cell::new(true),
            exec_fails: Cell::new(false),
            unfinished: RefCell::default(),
            ready: RefCell::default(),
            announced: RefCell::default(),
        }
    }

    pub fn running(&self) -> Rc<Running> {
        self.running.borrow().clone()
    }

    /// Takes in how the engine describes the container now. Returns whether this is still the same
    /// start.
    pub fn describe(&self, now: &Running) -> bool {
        let known = self.running();
        let same = known.started_at == now.started_at && known.pid == now.pid;
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

    pub fn exec_fails(&self) -> bool {
        self.exec_fails.get()
    }

    pub fn set_exec_fails(&self) {
        self.exec_fails.set(true);
    }

    /// A command begins that is to make this.
    pub fn begin_command(&self, made: &Record) {
        self.unfinished.replace(made.clone());
    }

    /// What the last command was to make has been seen in this start.
    pub fn end_command(&self) {
        self.unfinished.take();
    }

    pub fn is_looked_at(&self) -> bool {
        self.ready.borrow().is_some()
    }

    pub fn is_ready(&self, want: &WantedPort) -> bool {
        let ready = self.ready.borrow();
        let devnum = ready.as_ref().and_then(|ready| ready.get(&want.node));
        devnum == Some(&want.devnum)
    }

    /// These are all nodes that are ready. Returns whether that is news.
    pub fn set_ready(&self, ready: BTreeMap<NodePath, DevNum>) -> bool {
        let ready = Some(ready);
        self.ready.replace(ready.clone()) != ready
    }

    pub fn announced(&self) -> BTreeMap<NodePath, Announcement> {
        self.announced.borrow().clone()
    }

    pub fn set_announced(&self, announced: BTreeMap<NodePath, Announcement>) {
        self.announced.replace(announced);
    }
}

impl Drop for Start {
    /// The last descriptor of a tmpfs frees all that is in it, which can take a while.
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let rootfs = self.entrance.rootfs.clone();
            runtime.spawn_blocking(move || rootfs.leave());
        }
    }
}

/// The descriptors through which a start is worked on. They are opened once, and nothing of a later
/// start can be reached through them.
#[derive(Debug, Clone)]
pub struct Entrance {
    pid: i64,
    id: ContainerId,
    /// The first process (pidfd_open(2)).
    process: Arc<OwnedFd>,
    pub rootfs: Arc<Rootfs>,
    /// `None` where it could not be found at first.
    group: Option<Arc<DeviceGroup>>,
}

impl Entrance {
    /// Opens them. This reads /proc, so it has no place on the loop.
    ///
    /// # Errors
    /// The container is gone, or may not be looked into.
    pub fn open(running: &Running, id: &ContainerId) -> anyhow::Result<Self> {
        let pid = i32::try_from(running.pid).context("the engine gives an invalid process id")?;
        let process = pidfd::open(pid)
            .with_context(|| format!("container {id} is gone: no process {pid}"))?;
        // That this is a process of the container is checked after its descriptor was opened.
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

    /// The control group that decides which devices it may open.
    ///
    /// # Errors
    /// It cannot be found.
    pub fn group(&self) -> anyhow::Result<Arc<DeviceGroup>> {
        match &self.group {
            Some(group) => Ok(group.clone()),
            None => DeviceGroup::open(self.pid, &self.id).map(Arc::new),
        }
    }
}

#[cfg(test)]
impl Start {
    /// A start whose first process are the tests themselves.
    pub(crate) fn own(started_at: &str) -> Rc<Self> {
        let pid = std::process::id();
        let running = Running {
            pid: pid.into(),
            started_at: started_at.to_owned(),
            ..Running::default()
        };
        let process = pidfd::open(pid.cast_signed()).expect("this process runs");
        let entrance = Entrance {
            pid: pid.into(),
            id: ContainerId(String::new()),
            process: Arc::new(process),
            rootfs: Arc::new(Rootfs::own()),
            group: None,
        };
        Rc::new(Self::new(running, entrance))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::Made;

    #[test]
    fn what_a_command_may_still_make_is_kept_for_the_next_start() {
        let id = ContainerId("1".repeat(64));
        let node = "/dev/zwave".parse().expect("it is a path");
        let made = Made::Node("188:0".parse().expect("it is a number"));
        let unfinished = Record::from([(node, BTreeSet::from([made]))]);

        let mut lives = Lives::default();
        let first = Start::own("1");
        assert_eq!(lives.begin(&id, first.clone()), Record::new());
        first.begin_command(&unfinished);
        // Stopped, asked for by a wrapper, and started.
        lives.update(|_| Some(ContainerState::Stopped));
        lives.end(&id);
        assert_eq!(lives.begin(&id, Start::own("2")), unfinished);
        assert_eq!(lives.begin(&id, Start::own("3")), Record::new());

        let last = lives.start(&id).expect("it runs").clone();
        last.begin_command(&unfinished);
        last.end_command();
        assert_eq!(lives.begin(&id, Start::own("4")), Record::new());
        lives.update(|_| None);
        assert!(lives.get(&id).is_none());
    }
}
