//! The ttys that are plugged in and the containers that exist. Pure.
//!
//! Events and enumerations change this state and do nothing else. After an enumeration it is right,
//! whatever events were lost, repeated or late before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::device::Device;

/// A container's id, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The first twelve digits, as Docker's own tools print it.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
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
        let alive = |(_, container): &(_, &Container)| container.state != ContainerState::Stopped;
        self.containers.iter().filter(alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::device;
    use proptest::prelude::*;

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
