//! Who is to have what: settings × devices × containers → the nodes and links that each
//! container should have. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::labels::{self, LabelError, PortRequests};
use crate::config::settings::{LabelPolicy, Settings};
use crate::hold::{ContainerPort, ContainerPorts, DEFAULT_HOLD};
use crate::model::device::Device;
use crate::model::inventory::{Container, ContainerId, Inventory};
use crate::model::port::{NodeSpec, Port};
use crate::model::{Account, DevNum, Hold, Mode, NodePath};

/// One port as it should appear in one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPort {
    /// The port's name, or the device's for a container that asked for every port.
    pub port: String,
    /// The device's sysname.
    pub device: String,
    pub node: NodePath,
    pub devnum: DevNum,
    pub mode: Mode,
    pub owner: Account,
    pub group: Account,
    /// The device's by-id and by-path names, which lead to `node`.
    pub links: Vec<NodePath>,
    pub hold: Hold,
}

/// What one container should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    pub wants: Vec<WantedPort>,
    /// Ports that are assigned to it and whose device is not plugged in.
    pub absent: Vec<AbsentPort>,
    pub conflicts: Vec<Conflict>,
    /// It asked for every USB serial port.
    pub every: bool,
}

/// Two claims on one name in one container. The other one has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// A port is left out altogether.
    Node {
        port: String,
        node: NodePath,
        holder: String,
    },
    /// A port lacks one of its links.
    Link { port: String, link: NodePath },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { port, node, holder } => {
                write!(
                    f,
                    "port {port} is left out: port {holder} has {node} already"
                )
            }
            Self::Link { port, link } => write!(
                f,
                "port {port} does not get the link {link}: another device of this container has \
                 that name"
            ),
        }
    }
}

impl Conflict {
    /// What the operator can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Node { .. } => "give one of the two ports another `node`",
            Self::Link { .. } => "tell the devices apart by by-path",
        }
    }
}

/// A port without its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentPort {
    pub port: String,
    /// Where it will appear; `None` where that is the host's name for the device.
    pub node: Option<NodePath>,
    /// The stable names that its device had when it was last there.
    pub links: Vec<NodePath>,
    /// Those that its match spells out, and its node.
    pub known: Vec<String>,
    pub hold: Hold,
}

/// The device that each port has been given, by the port's key, so that the choice among several
/// is kept for as long as the device stays, over restarts of the daemon too.
pub type LastDevices = BTreeMap<String, LastDevice>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDevice {
    /// The device's place in sysfs.
    pub devpath: String,
    /// Names by which the port's device was known, kept while it is unplugged.
    pub links: BTreeSet<NodePath>,
}

/// What everybody should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Only containers that ask for something are in it.
    pub by_container: BTreeMap<ContainerId, Result<Assignment, LabelError>>,
    pub last_devices: LastDevices,
}

impl Assignments {
    /// What a container should have; nothing where it asks for nothing or cannot be understood.
    pub fn wants(&self, id: &ContainerId) -> &[WantedPort] {
        match self.by_container.get(id) {
            Some(Ok(assignment)) => &assignment.wants,
            _ => &[],
        }
    }
}

/// Computes what every container should have.
pub fn assign(settings: &Settings, inventory: &Inventory, before: &LastDevices) -> Assignments {
    let mut assigned = Assignments::default();
    let mut choose = |key: String, port: &Port| {
        let known = before.get(&key);
        let device = chosen(port, &inventory.devices, known);
        let choice = match (device, known) {
            (Some(device), _) => LastDevice {
                devpath: device.devpath.clone(),
                links: device.links.clone(),
            },
            (None, known) => known.cloned().unwrap_or_default(),
        };
        let given = device.ok_or_else(|| choice.links.iter().cloned().collect());
        if choice != LastDevice::default() {
            assigned.last_devices.insert(key, choice);
        }
        given
    };

    let of_file: Vec<(&Port, Given)> = settings
        .ports
        .iter()
        .map(|port| (port, choose(port.name.to_string(), port)))
        .collect();
    for (id, container) in &inventory.containers {
        let own = container.counting_labels(settings.labels);
        let wishes = match labels::port_requests(&own, settings.labels, &settings.ports) {
            Ok(wishes) => wishes,
            Err(error) => {
                assigned.by_container.insert(id.clone(), Err(error));
                continue;
            }
        };
        let service = labels::compose_service(&container.labels, &own);
        let mut ports: Vec<(&Port, Given)> = of_file
            .iter()
            .filter(|(port, _)| {
                wishes.used.contains(&port.name)
                    || port
                        .containers
                        .iter()
                        .any(|c| c.matches(&container.name, service.as_ref(), &own))
            })
            .cloned()
            .collect();
        for port in &wishes.own {
            ports.push((port, choose(format!("{}/{}", id.0, port.name), port)));
        }
        ports.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        if !ports.is_empty() || wishes.every_port {
            let assignment = assignment(&ports, &wishes, &inventory.devices);
            assigned.by_container.insert(id.clone(), Ok(assignment));
        }
    }
    assigned
}

/// The device that a port has been given, or the names that it had when it was last there.
type Given<'a> = Result<&'a Device, Vec<NodePath>>;

impl Container {
    /// The labels that count under `policy`.
    pub fn counting_labels(&self, policy: LabelPolicy) -> BTreeMap<String, String> {
        match policy {
            LabelPolicy::Image => self.labels.clone(),
            LabelPolicy::Container | LabelPolicy::Off => self.own_labels(),
        }
    }

    /// The labels that were set when the container was created.
    fn own_labels(&self) -> BTreeMap<String, String> {
        match &self.image_labels {
            Some(image) => labels::own_labels(&self.labels, image),
            None => BTreeMap::new(),
        }
    }
}

/// Several devices may match: the one that the port already has stays, else the first by path.
fn chosen<'a>(
    port: &Port,
    devices: &'a BTreeMap<String, Device>,
    before: Option<&LastDevice>,
) -> Option<&'a Device> {
    let candidates = || {
        devices
            .values()
            .filter(|device| port.device.matches(device))
    };
    let kept =
        before.and_then(|choice| candidates().find(|device| device.devpath == choice.devpath));
    kept.or_else(|| candidates().min_by(|a, b| a.by_path_order().cmp(&b.by_path_order())))
}

fn assignment(
    ports: &[(&Port, Given)],
    wishes: &PortRequests,
    devices: &BTreeMap<String, Device>,
) -> Assignment {
    let mut assignment = Assignment::default();
    for (port, device) in ports {
        match device {
            Ok(device) => {
                let hold = port.hold.unwrap_or(DEFAULT_HOLD);
                assignment.add(want(port.name.to_string(), &port.node, hold, device));
            }
            Err(links) => assignment.absent.push(AbsentPort {
                port: port.name.to_string(),
                node: port.node.path.clone(),
                links: links.clone(),
                known: port.known_names(),
                hold: port.hold.unwrap_or(DEFAULT_HOLD),
            }),
        }
    }
    assignment.every = wishes.every_port;
    if wishes.every_port {
        for device in devices.values().filter(|device| device.is_offered()) {
            let want = want(
                device.sysname.clone(),
                &NodeSpec::default(),
                DEFAULT_HOLD,
                device,
            );
            // The same device may already be there under its host name through a port.
            if !assignment
                .wants
                .iter()
                .any(|w| w.node == want.node && w.devnum == want.devnum)
            {
                assignment.add(want);
            }
        }
    }
    assignment.settle_links();
    assignment
}

fn want(port: String, node: &NodeSpec, hold: Hold, device: &Device) -> WantedPort {
    WantedPort {
        port,
        device: device.sysname.clone(),
        node: node.path.clone().unwrap_or_else(|| device.node.clone()),
        devnum: device.devnum,
        mode: node.mode,
        owner: node.owner.clone(),
        group: node.group.clone().unwrap_or(Account::Number(device.gid)),
        links: device.links.iter().cloned().collect(),
        hold,
    }
}

impl Assignment {
    /// Whether a port is assigned to it, plugged in or not.
    pub fn has(&self, port: &str) -> bool {
        self.wants.iter().any(|want| want.port == port)
            || self.absent.iter().any(|absent| absent.port == port)
    }

    /// What an open in the container may have to wait for. `ready` says whether a port's node and
    /// links are in place.
    pub fn ports(&self, ready: impl Fn(&WantedPort) -> bool) -> ContainerPorts {
        let present = self.wants.iter().map(|want| ContainerPort {
            port: want.port.clone(),
            names: std::iter::once(&want.node)
                .chain(&want.links)
                .map(ToString::to_string)
                .collect(),
            ready: ready(want),
            hold: want.hold,
        });
        let absent = self.absent.iter().map(|absent| ContainerPort {
            port: absent.port.clone(),
            names: absent
                .links
                .iter()
                .map(ToString::to_string)
                .chain(absent.known.iter().cloned())
                .collect(),
            ready: false,
            hold: absent.hold,
        });
        ContainerPorts {
            ports: present.chain(absent).collect(),
            every: self.every,
        }
    }

    /// Two ports want the same node, or one of them below the other's: the first by name has it.
    fn add(&mut self, want: WantedPort) {
        let clash = |first: &&WantedPort| {
            first.node == want.node
                || first.node.is_below(&want.node)
                || want.node.is_below(&first.node)
        };
        if let Some(first) = self.wants.iter().find(clash) {
            self.conflicts.push(Conflict::Node {
                port: want.port,
                node: want.node,
                holder: first.port.clone(),
            });
        } else {
            self.wants.push(want);
        }
    }

    /// A name in the container leads to one device: a node before a link, an earlier port before
    /// a later one.
    fn settle_links(&mut self) {
        let mut taken: BTreeMap<NodePath, DevNum> = self
            .wants
            .iter()
            .map(|want| (want.node.clone(), want.devnum))
            .collect();
        for want in &mut self.wants {
            let devnum = want.devnum;
            let mut lost = Vec::new();
            want.links.retain(|link| match taken.get(link) {
                None => taken.insert(link.clone(), devnum).is_none(),
                Some(other) => {
                    if *other != devnum {
                        lost.push(link.clone());
                    }
                    false
                }
            });
            let port = &want.port;
            self.conflicts
                .extend(lost.into_iter().map(|link| Conflict::Link {
                    port: port.clone(),
                    link,
                }));
        }
    }
}

/// Links that more than one present device claims, with the claimants' sysnames. udev lets the
/// last one win (udev(7), `link_priority`), so such a name says nothing about which device it is.
pub fn shared_links(devices: &BTreeMap<String, Device>) -> BTreeMap<&NodePath, Vec<&str>> {
    let mut claims: BTreeMap<&NodePath, Vec<&str>> = BTreeMap::new();
    for device in devices.values() {
        for link in &device.links {
            claims.entry(link).or_default().push(&device.sysname);
        }
    }
    claims.retain(|_, claimants| claimants.len() > 1);
    claims
}

#[cfg(test)]
mod tests;
