//! The ttys that are plugged in and the containers that exist. Pure.
//!
//! Events and enumerations change this state and do nothing else. After an enumeration it is right,
//! whatever events were lost, repeated or late before.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::device::Device;

/// The name of an engine, e.g. `docker`, `podman` or `containerd/k8s.io`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineName(Cow<'static, str>);

impl EngineName {
    pub const DOCKER: Self = Self(Cow::Borrowed("docker"));
    pub const PODMAN: Self = Self(Cow::Borrowed("podman"));
    /// All whose containers are known by the word of their wrappers alone. No container has this one.
    pub const TOLD: Self = Self(Cow::Borrowed(""));

    pub fn new(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The program that asks it to do something, if that is known.
    pub fn command(&self) -> Option<&str> {
        let is_known = *self == Self::DOCKER || *self == Self::PODMAN;
        is_known.then_some(self.as_str())
    }

    /// Where the operator finds what it has to say.
    pub fn log(&self) -> String {
        match self.command() {
            Some(unit) => format!("look at the engine's log: journalctl -u {unit}"),
            None => "look at the engine's log".to_owned(),
        }
    }

    /// The systemd unit that listens for it, if that is known.
    pub fn unit(&self) -> Option<&'static str> {
        match self.as_str() {
            "docker" => Some("docker"),
            "podman" => Some("podman.socket"),
            _ => None,
        }
    }

    /// Whether it can be asked: it is called after its socket.
    pub fn has_socket(&self) -> bool {
        self.command().is_some() || self.as_str().starts_with('/')
    }

    /// Whether a config.json may be used for several starts: of a container of no engine that is known,
    /// whose runtime somebody has executed by hand.
    pub fn keeps_bundles(&self) -> bool {
        self.as_str().starts_with("oci")
    }

    /// The control group that has all containers that are given no other one, where it may be called as
    /// one of them: that of a namespace of containerd (containerd, pkg/oci/spec.go,
    /// `populateDefaultUnixSpec`).
    pub fn control_group(&self) -> String {
        let namespace = self.as_str().strip_prefix("containerd/");
        namespace.map_or_else(String::new, |namespace| format!("/{namespace}"))
    }

    /// `None` for Docker, which is not named where it is the only engine.
    pub fn unless_docker(&self) -> Option<&str> {
        (*self != Self::DOCKER).then_some(self.as_str())
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A container: its engine, and its id there. Two engines, and two namespaces of containerd, can have
/// containers of the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct ContainerId {
    pub engine: EngineName,
    /// Mostly 64 hexadecimal digits. It has no slash (runc, `validateID`).
    pub id: String,
}

impl ContainerId {
    pub fn new(engine: EngineName, id: String) -> Self {
        Self { engine, id }
    }

    /// One of Docker's.
    pub fn of_docker(id: String) -> Self {
        Self::new(EngineName::DOCKER, id)
    }

    /// The first twelve of its digits, as Docker's own tools print it; all of another id.
    pub fn short(&self) -> &str {
        if self.is_random() {
            &self.id[..12]
        } else {
            &self.id
        }
    }

    /// Whether both can be the same container, which two have told of. An id of random digits is not
    /// given twice; another one may be, by two engines.
    pub fn may_be(&self, other: &Self) -> bool {
        self.id == other.id && (self.is_random() || self.engine == other.engine)
    }

    fn is_random(&self) -> bool {
        self.id.len() == 64 && self.id.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The text in files: the id alone for Docker's, else `ENGINE/ID`.
    pub fn key(&self) -> String {
        match self.engine.unless_docker() {
            None => self.id.clone(),
            Some(engine) => format!("{engine}/{}", self.id),
        }
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.key()
    }
}

impl From<String> for ContainerId {
    fn from(key: String) -> Self {
        match key.rsplit_once('/') {
            None => Self::of_docker(key),
            Some((engine, id)) => Self::new(EngineName::new(engine), id.to_owned()),
        }
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// A container, as far as it decides which ports it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub state: ContainerState,
    pub labels: BTreeMap<String, String>,
    /// The labels of its image; those of the container's own are all others. `None` where that is not
    /// known, and then no label counts.
    pub image_labels: Option<BTreeMap<String, String>>,
}

impl Container {
    /// Whether it has a /dev.
    pub fn is_alive(&self) -> bool {
        self.state != ContainerState::Stopped
    }

    /// Takes the container's own labels from what was known of it, where its image is gone: labels
    /// never change.
    pub fn recognised(self, known: Option<&BTreeMap<String, String>>) -> Self {
        let image_labels = match (self.image_labels, known) {
            (None, Some(own)) => {
                let of_image = |(key, _): &(&String, _)| !own.contains_key(*key);
                let of_image = self.labels.iter().filter(of_image);
                Some(of_image.map(|(k, v)| (k.clone(), v.clone())).collect())
            }
            (image_labels, _) => image_labels,
        };
        Self {
            image_labels,
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    Running,
    /// It has a /dev, but nothing can be executed in it until it is unpaused.
    Paused,
    /// Created or exited: it has no /dev.
    Stopped,
}

/// A uevent of a tty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceEvent {
    /// udev's add, change, bind, move and online: it is there and has these properties.
    Present(Device),
    /// It is gone. Only its sysname is known.
    Gone(String),
    /// The kernel has removed it. What udev has of it, its number and its links, is as it was until udev
    /// says that it is gone.
    Leaving(String),
}

/// A serial device was plugged in or unplugged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hotplug {
    Plugged { sysname: String },
    Unplugged { sysname: String },
}

/// Devices by sysname, containers by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    pub devices: BTreeMap<String, Device>,
    /// The sysnames of devices that the kernel has removed, and udev has not.
    pub leaving: BTreeSet<String>,
    pub containers: BTreeMap<ContainerId, Container>,
}

impl Inventory {
    /// Whether an event says nothing new.
    pub fn knows(&self, event: &DeviceEvent) -> bool {
        match event {
            DeviceEvent::Present(device) => {
                let known = self.devices.get(&device.sysname);
                known == Some(device) && !self.leaving.contains(&device.sysname)
            }
            DeviceEvent::Gone(sysname) => !self.devices.contains_key(sysname),
            DeviceEvent::Leaving(sysname) => {
                !self.devices.contains_key(sysname) || self.leaving.contains(sysname)
            }
        }
    }

    pub fn apply(&mut self, event: DeviceEvent) -> Option<Hotplug> {
        let (sysname, is_there, before) = match event {
            DeviceEvent::Leaving(sysname) => {
                self.leaving.insert(sysname);
                return None;
            }
            DeviceEvent::Present(device) => {
                let (sysname, is_serial) = (device.sysname.clone(), device.is_serial());
                (
                    sysname.clone(),
                    is_serial,
                    self.devices.insert(sysname, device),
                )
            }
            DeviceEvent::Gone(sysname) => {
                let before = self.devices.remove(&sysname);
                (sysname, false, before)
            }
        };
        self.leaving.remove(&sysname);
        match (before.is_some_and(|device| device.is_serial()), is_there) {
            (false, true) => Some(Hotplug::Plugged { sysname }),
            (true, false) => Some(Hotplug::Unplugged { sysname }),
            _ => None,
        }
    }

    /// Replaces all devices by those that an enumeration has found.
    pub fn replace_devices(&mut self, devices: impl IntoIterator<Item = Device>) -> Vec<Hotplug> {
        let events = self.differences(devices).into_iter();
        events.filter_map(|event| self.apply(event)).collect()
    }

    /// The events that were missed before an enumeration found these devices.
    pub fn differences(&self, devices: impl IntoIterator<Item = Device>) -> Vec<DeviceEvent> {
        let found: BTreeMap<_, _> = devices
            .into_iter()
            .map(|d| (d.sysname.clone(), d))
            .collect();
        let known = self.devices.keys();
        let gone: Vec<_> = known
            .filter(|known| !found.contains_key(*known))
            .cloned()
            .collect();
        let gone = gone.into_iter().map(DeviceEvent::Gone);
        let there = found.into_values().map(DeviceEvent::Present);
        gone.chain(there.filter(|event| !self.knows(event)))
            .collect()
    }

    /// The containers that have a /dev.
    pub fn alive(&self) -> impl Iterator<Item = (&ContainerId, &Container)> {
        let containers = self.containers.iter();
        containers.filter(|(_, container)| container.is_alive())
    }

    pub fn get_alive(&self, id: &ContainerId) -> Option<&Container> {
        let container = self.containers.get(id);
        container.filter(|container| container.is_alive())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::fixtures::device;

    #[test]
    fn a_container_is_known_in_files_by_its_engine_and_id_and_dockers_by_its_id_alone() {
        let digits = "0123456789abcdef".repeat(4);
        for (engine, id, key) in [
            ("docker", &*digits, &*digits),
            ("podman", "c0ffee", "podman/c0ffee"),
            ("containerd/k8s.io", "zigbee", "containerd/k8s.io/zigbee"),
            ("/run/user/1/docker.sock", "1", "/run/user/1/docker.sock/1"),
        ] {
            let container = ContainerId::new(EngineName::new(engine), id.to_owned());
            assert_eq!(container.key(), key);
            assert_eq!(ContainerId::from(key.to_owned()), container);
        }
        assert_eq!(ContainerId::of_docker(digits).short(), "0123456789ab");
        assert_eq!(
            ContainerId::of_docker("zigbee2mqtt-a".into()).short(),
            "zigbee2mqtt-a"
        );
    }

    /// What happens to a tty, and whether it is heard of.
    #[derive(Debug, Clone)]
    enum Step {
        Plug(u8, u8),
        Unplug(u8),
        /// The kernel's message alone.
        Leave(u8),
        LoseNext,
        Repeat,
        Enumerate,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4u8, 0..4u8).prop_map(|(tty, serial)| Step::Plug(tty, serial)),
            (0..4u8).prop_map(Step::Unplug),
            (0..4u8).prop_map(Step::Leave),
            Just(Step::LoseNext),
            Just(Step::Repeat),
            Just(Step::Enumerate),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn lost_and_repeated_events_before_an_enumeration_do_not_matter(steps in steps()) {
            let mut world: BTreeMap<String, Device> = BTreeMap::new();
            let mut inventory = Inventory::default();
            let (mut lose, mut last) = (false, None);
            let mut told = Vec::new();
            for step in steps {
                let event = match step {
                    Step::Plug(tty, serial) => {
                        let device = device(&format!("ttyUSB{tty}"), &serial.to_string());
                        world.insert(device.sysname.clone(), device.clone());
                        DeviceEvent::Present(device)
                    }
                    Step::Unplug(tty) => {
                        world.remove(&format!("ttyUSB{tty}"));
                        DeviceEvent::Gone(format!("ttyUSB{tty}"))
                    }
                    Step::Leave(tty) => DeviceEvent::Leaving(format!("ttyUSB{tty}")),
                    Step::LoseNext => { lose = true; continue }
                    Step::Repeat => match last.clone() { Some(event) => event, None => continue },
                    Step::Enumerate => {
                        told.extend(inventory.replace_devices(world.values().cloned()));
                        prop_assert_eq!(&inventory.devices, &world);
                        prop_assert!(inventory.leaving.is_empty());
                        continue;
                    }
                };
                last = Some(event.clone());
                if !std::mem::take(&mut lose) && !inventory.knows(&event) {
                    told.extend(inventory.apply(event));
                }
                prop_assert!(inventory.leaving.iter().all(|tty| inventory.devices.contains_key(tty)));
            }
            told.extend(inventory.replace_devices(world.values().cloned()));
            prop_assert_eq!(inventory.devices, world.clone());
            // Every device was reported when it was plugged in, and again when it was unplugged.
            let plugs = told.iter().filter(|h| matches!(h, Hotplug::Plugged { .. })).count();
            prop_assert_eq!(plugs - (told.len() - plugs), world.len());
        }
    }
}
