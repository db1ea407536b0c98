//! What the daemon knows: what there is, what everybody should have, and what has been seen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::task::{AbortHandle, yield_now};

use crate::config::settings::Settings;
use crate::container::uevent::Announcement;
use crate::daemon::metrics::Metrics;
use crate::daemon::problems::Reports;
use crate::daemon::reconcile::apply::Place;
use crate::daemon::status::{HeardHolds, rows};
use crate::daemon::timeline::Timeline;
use crate::engine::container::Running;
use crate::hold::ContainerPorts;
use crate::model::device::Device;
use crate::model::inventory::{ContainerId, ContainerState, DeviceEvent, Hotplug, Inventory};
use crate::model::problem::Problem;
use crate::model::{DevNum, NodePath};
use crate::plan::Made;
use crate::plan::assign::{Assignments, WantedPort, assign};
use crate::store::Store;
use crate::sys::clock::Clock;
use crate::sys::pidfd;

/// All that is known, and what of it outlives the daemon.
#[derive(Debug)]
pub struct World {
    pub settings: Settings,
    pub inventory: Inventory,
    pub assigned: Assignments,
    pub store: Store,
    /// Containers, by their start, that this daemon has served. A command that an earlier one
    /// began may still be running in the others.
    pub served: BTreeMap<ContainerId, String>,
    /// Ports whose node and links have been seen in place, by node, per container.
    pub ready: BTreeMap<ContainerId, BTreeMap<NodePath, DevNum>>,
    /// The start of each container that has ended, because a wrapper is creating it anew: work
    /// that is still under way for it says nothing of the new /dev.
    pub ended: BTreeMap<ContainerId, String>,
    /// The engine has told which containers there are.
    pub listed: bool,
    /// Opens that wait, as the keepers tell.
    pub held: BTreeMap<ContainerId, HeardHolds>,
    /// Work in containers' root directories that did not end in time. Its threads cannot be stopped,
    /// so that nothing more is begun in a container before its last one has ended.
    pub hanging: BTreeMap<(ContainerId, Place), AbortHandle>,
    /// Containers, by their start, in which a command could not do what was done from outside.
    pub from_outside: BTreeMap<ContainerId, String>,
    /// Containers that run, as the engine last described them, each with its first process.
    pub described: BTreeMap<ContainerId, (Running, OwnedFd)>,
    /// What the applications in containers know, or would if they had listened.
    pub announced: BTreeMap<ContainerId, BTreeMap<NodePath, Announcement>>,
    pub timeline: Timeline,
    /// Devices that were plugged in since the timeline was last brought up to date.
    plugged: BTreeSet<String>,
    pub clock: Clock,
    pub metrics: Rc<Metrics>,
}

/// Waits until what was put on record of a container is written: before, it must not be touched. All
/// that have come as far as that by now are served by one write.
///
/// # Errors
/// It cannot be written.
pub async fn on_record(world: &RefCell<World>, id: &ContainerId) -> Result<(), Problem> {
    yield_now().await;
    let written = world.borrow_mut().store.write_record(id);
    written.map_err(|error| Problem::disk(&error))
}

impl World {
    /// What is known at the start: not much.
    pub fn new(settings: Settings, inventory: Inventory, store: Store) -> Self {
        Self {
            settings,
            inventory,
            assigned: Assignments::default(),
            store,
            served: BTreeMap::new(),
            ready: BTreeMap::new(),
            ended: BTreeMap::new(),
            listed: false,
            held: BTreeMap::new(),
            hanging: BTreeMap::new(),
            from_outside: BTreeMap::new(),
            described: BTreeMap::new(),
            announced: BTreeMap::new(),
            timeline: Timeline::default(),
            plugged: BTreeSet::new(),
            clock: Clock::default(),
            metrics: Rc::default(),
        }
    }

    /// Whether a port's node and links have been seen in place.
    pub fn is_ready(&self, id: &ContainerId, want: &WantedPort) -> bool {
        let ready = self.ready.get(id).and_then(|ready| ready.get(&want.node));
        ready == Some(&want.devnum)
    }

    /// Takes in what udev has told.
    pub fn apply(&mut self, events: Vec<DeviceEvent>) {
        for event in events {
            let change = self.inventory.apply(event);
            self.count(change);
        }
    }

    /// Takes in all devices that there are.
    pub fn replace_devices(&mut self, devices: Vec<Device>) {
        let changes = self.inventory.replace_devices(devices);
        self.count(changes);
    }

    fn count(&mut self, changes: impl IntoIterator<Item = Hotplug>) {
        for change in changes {
            match change {
                Hotplug::Plugged { sysname } => {
                    self.metrics.plugs.add(1);
                    self.plugged.insert(sysname);
                }
                Hotplug::Unplugged { sysname } => {
                    self.metrics.unplugs.add(1);
                    self.plugged.remove(&sysname);
                }
            }
        }
    }

    /// Takes note of how a container runs, for the time when the engine cannot be asked.
    pub fn runs(&mut self, id: &ContainerId, running: Option<&Running>) {
        let process = |running: &Running| pidfd::open(i32::try_from(running.pid).ok()?).ok();
        match running.and_then(|running| Some((running.clone(), process(running)?))) {
            Some(described) => self.described.insert(id.clone(), described),
            None => self.described.remove(id),
        };
    }

    /// A container as the engine last described it, while its first process lives: it has not been
    /// started anew.
    pub fn still_running(&self, id: &ContainerId) -> Option<Running> {
        let (running, process) = self.described.get(id)?;
        (!pidfd::has_ended(process)).then(|| running.clone())
    }

    /// Whether a node is bound in.
    pub fn is_bound(&self, id: &ContainerId, node: &NodePath) -> bool {
        let running = self.described.get(id).map(|(running, _)| running);
        let record = running.map(|running| self.store.record(id, &running.started_at));
        let made = record.as_ref().and_then(|record| record.get(node));
        made.is_some_and(|made| made.iter().any(|made| matches!(made, Made::Bound(_))))
    }

    /// Takes note of how every port is now.
    pub fn note(&mut self, reports: &Reports) {
        let mut timeline = std::mem::take(&mut self.timeline);
        let plugged = std::mem::take(&mut self.plugged);
        let now = self.clock.now().clock;
        for took in timeline.update(now, &rows(self, reports), &plugged) {
            self.metrics.plug_to_ready.observe(took);
        }
        self.timeline = timeline;
    }

    /// A container is being created. So it does not run, whatever was known of it: its new start
    /// has a new /dev, in which nothing is ready. An engine that starts creates its containers
    /// first and tells of them afterwards; until then one is who it was.
    pub fn being_created(&mut self, id: &ContainerId) {
        self.ready.remove(id);
        if let Some(ended) = self.served.remove(id) {
            self.ended.insert(id.clone(), ended);
        }
        if let Some(container) = self.inventory.containers.get_mut(id) {
            container.state = ContainerState::Stopped;
        } else if let Some(known) = self.store.container(id).filter(|_| !self.listed) {
            self.inventory.containers.insert(id.clone(), known);
            self.assigned = assign(&self.settings, &self.inventory, self.store.last_devices());
        }
    }

    /// What opens in a container may have to wait for. `None` while nobody can tell: the engine
    /// has not said who it is, or it runs and has not been looked into yet, so that what it has
    /// may be ready for long.
    pub fn ports(&self, id: &ContainerId) -> Option<ContainerPorts> {
        let container = self.inventory.containers.get(id)?;
        let looked_into = self.ready.contains_key(id) || self.assigned.wants(id).is_empty();
        if container.state == ContainerState::Running && !looked_into {
            return None;
        }
        Some(match self.assigned.by_container.get(id) {
            Some(Ok(assignment)) => assignment.ports(|want| self.is_ready(id, want)),
            _ => ContainerPorts::default(),
        })
    }
}
