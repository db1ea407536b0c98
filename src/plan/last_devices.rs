//! What is remembered of devices that were plugged in, while they are not: the device that each port
//! had, and the names by which an early open of it is known. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hold::could_be_a_usb_port;
use crate::model::NodePath;
use crate::model::device::Device;
use crate::model::port::Port;

/// How many names of a kind are remembered for a port. A device chooses its own strings, and could
/// have others at every plug.
const MOST_OF_PORT: usize = 8;

/// How many names of offered devices are remembered.
const MOST_OFFERED: usize = 64;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDevices {
    /// By the port's key. A port keeps its device while it stays plugged in, over restarts of the
    /// daemon too.
    pub ports: BTreeMap<String, LastDevice>,
    /// The names of devices that were offered to every container that asks, as far as they do not
    /// tell that themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<NodePath>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDevice {
    /// The device's place in sysfs.
    pub devpath: String,
    /// The links that the port has had, and the host's nodes for it, the latest first.
    pub links: Vec<NodePath>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodePath>,
}

impl LastDevices {
    /// The paths in a container by which an early open of the port is known while its device is
    /// not plugged in.
    pub fn names(&self, key: &str, port: &Port) -> Vec<NodePath> {
        let mut names: Vec<NodePath> = port.known_paths().collect();
        let last = self.ports.get(key);
        names.extend(last.into_iter().flat_map(|last| last.names(port)).cloned());
        names
    }

    /// Remembers the offered ones among the devices that are plugged in.
    pub(super) fn offer<'a>(&mut self, devices: impl Iterator<Item = &'a Device>) {
        let offered = devices.filter(|device| device.is_offered());
        let names = offered.flat_map(|device| device.links.iter().chain([&device.node]));
        let others = names.filter(|name| !could_be_a_usb_port(name.as_str()));
        remember(&mut self.offered, others.cloned(), MOST_OFFERED);
    }
}

impl LastDevice {
    /// Remembers the device that a port has now.
    pub(super) fn update(&mut self, device: &Device) {
        self.devpath.clone_from(&device.devpath);
        let (links, node) = (device.links.iter().cloned(), device.node.clone());
        remember(&mut self.links, links, MOST_OF_PORT);
        remember(&mut self.nodes, [node].into_iter(), MOST_OF_PORT);
    }

    /// Those that the port may have again. A port with a node of its own never has the host's.
    pub(super) fn names(&self, port: &Port) -> impl Iterator<Item = &NodePath> {
        let nodes = match port.node.path {
            Some(_) => &[][..],
            None => &self.nodes,
        };
        nodes.iter().chain(&self.links)
    }
}

/// Puts names before those that are known, which are forgotten from the end.
fn remember(known: &mut Vec<NodePath>, names: impl Iterator<Item = NodePath>, most: usize) {
    let mut names: Vec<NodePath> = names.collect();
    known.retain(|name| !names.contains(name));
    names.append(known);
    names.truncate(most);
    *known = names;
}
