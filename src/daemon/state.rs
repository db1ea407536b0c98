//! The daemon's knowledge: the devices and containers, the assignments, and each start as last seen.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::config::ConfigError;
use crate::config::settings::Settings;
use crate::daemon::engines::Engines;
use crate::daemon::held::HeldByKeepers;
use crate::daemon::metrics::Metrics;
use crate::daemon::problems::Problems;
use crate::daemon::start::{Entrance, Life, Lives, Start};
use crate::daemon::timeline::Timeline;
use crate::engine::container::Running;
use crate::engine::told::Told;
use crate::hold::ContainerPorts;
use crate::hold::run_dir::is_keeper_of;
use crate::model::device::Device;
use crate::model::inventory::{
    Container, ContainerId, ContainerState, DeviceEvent, EngineName, Hotplug, Inventory,
};
use crate::model::{DevNum, NodePath};
use crate::plan::assign::{Assignments, WantedPort};
use crate::plan::{Made, merged};
use crate::store::Store;
use crate::sys::clock::Clock;

/// All that the daemon knows. `store` is the part that outlives it.
#[derive(Debug)]
pub struct State {
    pub settings: Settings,
    /// How often the configuration was read again, and why it was rejected the last time.
    pub reloads: u64,
    pub config_error: Option<String>,
    pub inventory: Inventory,
    pub assigned: Assignments,
    /// The inventory or the configuration may have changed since `assigned` was computed.
    pub stale: bool,
    pub store: Store,
    pub engines: Engines,
    /// What wrappers have told, and the containers that no engine lists.
    pub told: Rc<Told>,
    pub only_told: BTreeSet<ContainerId>,
    pub lives: Lives,
    pub held: HeldByKeepers,
    pub problems: Problems,
    pub timeline: Timeline,
    /// Devices that were plugged in since the timeline was last updated.
    pub plugged: BTreeSet<String>,
    pub clock: Clock,
    pub metrics: Rc<Metrics>,
}

impl State {
    /// The state of a daemon that has just started.
    pub fn new(settings: Settings, inventory: Inventory, store: Store) -> Self {
        let metrics = Rc::<Metrics>::default();
        Self {
            settings,
            reloads: 0,
            config_error: None,
            inventory,
            assigned: Assignments::default(),
            stale: true,
            lives: Lives::after(store.records.all_entries()),
            store,
            engines: Engines::default(),
            told: Rc::default(),
            only_told: BTreeSet::new(),
            held: HeldByKeepers::default(),
            problems: Problems::new(metrics.clone()),
            timeline: Timeline::default(),
            plugged: BTreeSet::new(),
            clock: Clock::default(),
            metrics,
        }
    }

    /// Takes in the configuration as it was read again. An invalid one leaves the old one in force.
    pub fn reload(&mut self, loaded: Result<Settings, Vec<ConfigError>>) {
        self.reloads += 1;
        self.config_error = loaded.as_ref().err().map(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            errors.join("; ")
        });
        if let Ok(settings) = loaded {
            self.settings = settings;
            self.stale = true;
        }
    }

    /// Takes in what has happened to devices. Events that say nothing new change nothing.
    pub fn apply(&mut self, events: Vec<DeviceEvent>) {
        for event in events {
            if !self.inventory.knows(&event) {
                if let Some(change) = self.inventory.apply(event) {
                    self.count(change);
                }
                self.stale = true;
            }
        }
    }

    /// Takes in all devices of the host.
    pub fn replace_devices(&mut self, devices: Vec<Device>) {
        self.apply(self.inventory.differences(devices));
    }

    fn count(&mut self, change: Hotplug) {
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

    /// The known start of a container, if it is the one that the engine describes.
    pub fn known_start(&self, id: &ContainerId, running: &Running) -> Option<Rc<Start>> {
        let start = self.lives.start(id)?;
        start.describe(running).then(|| start.clone())
    }

    /// Begins a new start of a container. Its record has what a command of an earlier start may have
    /// made in it.
    pub fn begin(&mut self, id: &ContainerId, running: Running, entrance: Entrance) -> Rc<Start> {
        let start_id = running.start.clone();
        let start = Rc::new(Start::new(running, entrance));
        let unfinished = self.lives.begin(id, start.clone());
        if !unfinished.is_empty() {
            let records = &mut self.store.records;
            let record = merged(records.entries(id, &start_id), unfinished);
            records.put_entries(id, &start_id, record);
        }
        start
    }

    /// A container is being created. So it does not run, whatever was known: its new start has a new
    /// /dev, in which nothing is ready. An engine that boots starts containers before it answers;
    /// until then they are known from the state directory.
    pub fn being_created(&mut self, id: &ContainerId) {
        self.lives.end(id);
        if let Some(container) = self.inventory.containers.get_mut(id) {
            container.state = ContainerState::Stopped;
        } else if let Some(known) = self
            .store
            .known
            .container(id)
            .filter(|_| !self.engines.has_listed(&id.engine))
        {
            self.inventory.containers.insert(id.clone(), known);
            self.stale = true;
        }
    }

    /// Whether a port's node was seen in place and may be opened, and its device is there.
    pub fn is_ready(&self, id: &ContainerId, want: &WantedPort) -> bool {
        self.opens(id, &want.node, want.devnum)
    }

    /// The same of any path of a port.
    fn opens(&self, id: &ContainerId, path: &NodePath, devnum: DevNum) -> bool {
        let start = self.lives.start(id);
        start.is_some_and(|start| start.opens(path, devnum)) && !self.is_leaving(devnum)
    }

    /// Whether the kernel has removed the device with this number.
    fn is_leaving(&self, devnum: DevNum) -> bool {
        let leaving = self.inventory.leaving.iter();
        let mut devices = leaving.filter_map(|sysname| self.inventory.devices.get(sysname));
        devices.any(|device| device.devnum == devnum)
    }

    /// What was noted of a port in its container.
    pub fn notes(&self, id: &ContainerId, port: &str) -> Vec<String> {
        let start = self.lives.start(id);
        start.map(|start| start.notes(port)).unwrap_or_default()
    }

    /// Whether a container was granted access in its present start that it is not assigned any
    /// more.
    pub fn has_to_revoke(&self, id: &ContainerId) -> bool {
        let Some(start) = self.lives.start(id) else {
            return false;
        };
        let wants = self.assigned.wants(id);
        let grants = self.store.records.grants(id, &start.running().start);
        let is_wanted = |devnum| wants.iter().any(|want| want.devnum == devnum);
        grants.into_keys().any(|devnum| !is_wanted(devnum))
    }

    /// Whether a node of ours is bind-mounted.
    pub fn is_bound(&self, id: &ContainerId, node: &NodePath) -> bool {
        let Some(start) = self.lives.start(id) else {
            return false;
        };
        let record = self.store.records.entries(id, &start.running().start);
        let made = record.get(node).into_iter().flatten();
        made.into_iter().any(|made| matches!(made, Made::Bound(_)))
    }

    /// The name of the engine that describes a container, and executes commands in it.
    pub fn engine_of<'a>(&self, id: &'a ContainerId) -> &'a EngineName {
        match self.only_told.contains(id) {
            true => &EngineName::TOLD,
            false => &id.engine,
        }
    }

    /// The container that a wrapper or a keeper means. One that an engine lists, or has listed before the
    /// daemon was started, is that engine's, whatever the wrapper takes for its engine.
    pub fn identify(&self, told: &ContainerId) -> Option<ContainerId> {
        if self.inventory.containers.contains_key(told) {
            return Some(told.clone());
        }
        let known = self.store.known.ids().find(|known| known.may_be(told));
        self.listed(told).or(known).cloned()
    }

    /// The container with this id that an engine lists.
    fn listed(&self, told: &ContainerId) -> Option<&ContainerId> {
        let mut all = self.inventory.containers.keys();
        all.find(|listed| listed.may_be(told) && !self.only_told.contains(*listed))
    }

    /// Whether an engine may list a container that has not listed all yet. It has before the daemon was
    /// started.
    fn may_be_listed(&self, told: &ContainerId) -> bool {
        let mut known = self.store.known.ids().filter(|known| known.may_be(told));
        known.any(|known| {
            self.engines.asks(&known.engine) && !self.engines.has_listed(&known.engine)
        })
    }

    /// An engine tells of one of its containers. Returns whether it is to be believed: what wrappers tell
    /// counts only where no engine lists the container.
    pub fn hear(&mut self, engine: &EngineName, id: &ContainerId) -> bool {
        if *engine != EngineName::TOLD {
            self.claim(id);
            self.store.records.find(id);
            return true;
        }
        let is_left = self.engines.is_left_to_wrappers(&id.engine);
        let is_told = is_left && self.listed(id).is_none() && !self.may_be_listed(id);
        if is_told {
            self.only_told.insert(id.clone());
            self.store.records.find(id);
        }
        is_told
    }

    /// A container, if it is this engine that has told of it.
    pub fn told_by(&self, engine: &EngineName, id: &ContainerId) -> Option<&Container> {
        let container = self.inventory.containers.get(id)?;
        (self.engine_of(id) == engine).then_some(container)
    }

    /// An engine tells that a container is gone. Returns whether it is to be believed.
    pub fn hear_end(&mut self, engine: &EngineName, id: &ContainerId) -> bool {
        match *engine == EngineName::TOLD {
            true => self.only_told.remove(id),
            false => !self.only_told.contains(id),
        }
    }

    /// Forgets what an engine has listed.
    pub fn forget_listed(&mut self, engine: &EngineName) {
        let told = match *engine == EngineName::TOLD {
            true => std::mem::take(&mut self.only_told),
            false => BTreeSet::new(),
        };
        let only_told = &self.only_told;
        let is_its = |id: &ContainerId| id.engine == *engine && !only_told.contains(id);
        let containers = &mut self.inventory.containers;
        containers.retain(|id, _| !told.contains(id) && !is_its(id));
    }

    /// A container is an engine's of which a wrapper has told.
    fn claim(&mut self, id: &ContainerId) {
        let told = self.only_told.iter().filter(|told| told.may_be(id));
        for told in told.cloned().collect::<Vec<_>>() {
            self.only_told.remove(&told);
            if told != *id {
                self.inventory.containers.remove(&told);
                self.lives.end(&told);
            }
        }
    }

    /// The container of a keeper, by the name of that one's socket. If it is not known, its id is the
    /// beginning that the name has.
    pub fn container_of_keeper(&self, name: &str) -> ContainerId {
        let mut known = self
            .store
            .known
            .ids()
            .chain(self.inventory.containers.keys());
        let found = known.find(|id| is_keeper_of(name, &id.id));
        let beginning = name.split('-').next().unwrap_or(name);
        let beginning = || ContainerId::of_docker(beginning.to_owned());
        found.cloned().unwrap_or_else(beginning)
    }

    /// The ports for which opens in a container may have to wait. `None` while that is unknown: the
    /// engine has not described the container, or it runs and was not looked at yet, so its ports may
    /// be ready already.
    pub fn ports(&self, id: &ContainerId) -> Option<ContainerPorts> {
        let container = self.inventory.containers.get(id)?;
        let known = match self.lives.get(id) {
            Some(Life::NotStarted { .. }) => true,
            Some(Life::Running(start)) => start.is_looked_at(),
            None => container.state != ContainerState::Running,
        };
        if self.stale || !known && !self.assigned.wants(id).is_empty() {
            return None;
        }
        Some(match self.assigned.by_container.get(id) {
            Some(Ok(assignment)) => assignment.ports(|path, devnum| self.opens(id, path, devnum)),
            _ => ContainerPorts::default(),
        })
    }
}
