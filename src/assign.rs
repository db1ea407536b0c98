//! Who is to have what: settings × devices × containers → the nodes and links that each
//! container should have. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{LabelPolicy, Settings};
use crate::inventory::{Container, ContainerId, Inventory};
use crate::labels::{self, LabelError, Wishes};
use crate::model::{Account, DevNum, Device, Mode, NodePath};
use crate::port::{Look, Port};

/// One port as it should appear in one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
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
}

/// What one container should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    pub wants: Vec<Want>,
    /// Ports that are assigned to it and whose device is not plugged in.
    pub absent: Vec<Absent>,
    pub conflicts: Vec<Conflict>,
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
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Node { .. } => "give one of the two ports another `node`",
            Self::Link { .. } => "tell the devices apart by by-path",
        }
    }
}

/// A port without its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    pub port: String,
    /// Where it will appear; `None` where that is the host's name for the device.
    pub node: Option<NodePath>,
    /// The stable names that its device had when it was last there.
    pub links: Vec<NodePath>,
}

/// The device that each port has been given, by the port's key, so that the choice among several
/// is kept for as long as the device stays, over restarts of the daemon too.
pub type Choices = BTreeMap<String, Choice>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The device's place in sysfs.
    pub devpath: String,
    /// Names by which the port's device was known, kept while it is unplugged.
    pub links: BTreeSet<NodePath>,
}

/// What everybody should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Only containers that ask for something are in it.
    pub shares: BTreeMap<ContainerId, Result<Share, LabelError>>,
    pub choices: Choices,
}

impl Assigned {
    /// What a container should have; nothing where it asks for nothing or cannot be understood.
    pub fn wants(&self, id: &ContainerId) -> &[Want] {
        match self.shares.get(id) {
            Some(Ok(share)) => &share.wants,
            _ => &[],
        }
    }
}

/// Computes what every container should have.
pub fn assign(settings: &Settings, inventory: &Inventory, before: &Choices) -> Assigned {
    let mut assigned = Assigned::default();
    let mut choose = |key: String, port: &Port| {
        let known = before.get(&key);
        let device = chosen(port, &inventory.devices, known);
        let choice = match (device, known) {
            (Some(device), _) => Choice {
                devpath: device.devpath.clone(),
                links: device.links.clone(),
            },
            (None, known) => known.cloned().unwrap_or_default(),
        };
        let given = device.ok_or_else(|| choice.links.iter().cloned().collect());
        if choice != Choice::default() {
            assigned.choices.insert(key, choice);
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
        let wishes = match labels::wishes(&own, settings.labels, &settings.ports) {
            Ok(wishes) => wishes,
            Err(error) => {
                assigned.shares.insert(id.clone(), Err(error));
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
            let share = share(&ports, &wishes, &inventory.devices);
            assigned.shares.insert(id.clone(), Ok(share));
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
    pub fn own_labels(&self) -> BTreeMap<String, String> {
        labels::own_labels(&self.labels, &self.image_labels)
    }
}

/// Several devices may match: the one that the port already has stays, else the first by path.
fn chosen<'a>(
    port: &Port,
    devices: &'a BTreeMap<String, Device>,
    before: Option<&Choice>,
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

fn share(ports: &[(&Port, Given)], wishes: &Wishes, devices: &BTreeMap<String, Device>) -> Share {
    let mut share = Share::default();
    for (port, device) in ports {
        match device {
            Ok(device) => share.add(want(port.name.to_string(), &port.look, device)),
            Err(links) => share.absent.push(Absent {
                port: port.name.to_string(),
                node: port.look.node.clone(),
                links: links.clone(),
            }),
        }
    }
    if wishes.every_port {
        for device in devices.values().filter(|device| device.is_offered()) {
            let want = want(device.sysname.clone(), &Look::default(), device);
            // The same device may already be there under its host name through a port.
            if !share
                .wants
                .iter()
                .any(|w| w.node == want.node && w.devnum == want.devnum)
            {
                share.add(want);
            }
        }
    }
    share.settle_links();
    share
}

fn want(port: String, look: &Look, device: &Device) -> Want {
    Want {
        port,
        device: device.sysname.clone(),
        node: look.node.clone().unwrap_or_else(|| device.node.clone()),
        devnum: device.devnum,
        mode: look.mode,
        owner: look.owner.clone(),
        group: look.group.clone().unwrap_or(Account::Number(device.gid)),
        links: device.links.iter().cloned().collect(),
    }
}

impl Share {
    /// Two ports want the same node: the first by name has it.
    fn add(&mut self, want: Want) {
        if let Some(first) = self.wants.iter().find(|first| first.node == want.node) {
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
mod tests {
    use super::*;
    use crate::fixtures::{container, device, settings};
    use crate::inventory::ContainerState;

    const ZWAVE: &str = r#"
        [[port]]
        name = "zwave"
        match = { vendor = "0658" }
        containers = ["app"]
        node = "/dev/zwave"
    "#;

    fn inventory(devices: &[Device], containers: &[(&str, Container)]) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.replace_devices(devices.to_vec());
        let named = containers.iter().cloned();
        inventory.containers = named.map(|(id, c)| (ContainerId(id.into()), c)).collect();
        inventory
    }

    fn lines(assigned: &Assigned, id: &str) -> Vec<String> {
        let wants = assigned.wants(&ContainerId(id.into())).iter();
        wants
            .map(|w| format!("{} {} {}", w.port, w.node, w.devnum))
            .collect()
    }

    #[test]
    fn the_device_that_a_port_has_stays_and_else_the_lowest_by_path_is_taken() {
        let (first, second) = (device("ttyUSB0", "B"), device("ttyUSB1", "A"));
        let app = [("1", container("app", &[]))];
        let both = inventory(&[first.clone(), second.clone()], &app);
        let alone = inventory(&[second], &app);

        let fresh = assign(&settings(ZWAVE), &both, &Choices::default());
        assert_eq!(lines(&fresh, "1"), ["zwave /dev/zwave 188:0"]);
        let moved = assign(&settings(ZWAVE), &alone, &fresh.choices);
        assert_eq!(lines(&moved, "1"), ["zwave /dev/zwave 188:1"]);
        let kept = assign(&settings(ZWAVE), &both, &moved.choices);
        assert_eq!(lines(&kept, "1"), ["zwave /dev/zwave 188:1"]);
        let gone = assign(&settings(ZWAVE), &inventory(&[], &app), &kept.choices);
        assert_eq!(gone.choices, kept.choices);
        let absent = &gone
            .shares
            .values()
            .next()
            .unwrap()
            .as_ref()
            .unwrap()
            .absent[0];
        assert_eq!((absent.port.as_str(), absent.links.len()), ("zwave", 2));
    }

    #[test]
    fn one_port_serves_many_containers_and_one_container_has_many_ports() {
        let labels = [
            ("ttyplugd.enable", "true"),
            ("ttyplugd.port.zwave.use", "true"),
        ];
        let all = inventory(
            &[device("ttyUSB0", "A"), device("ttyUSB1", "B")],
            &[
                ("1", container("app", &[])),
                ("2", container("other", &labels)),
                ("3", container("nobody", &[])),
            ],
        );
        let assigned = assign(&settings(ZWAVE), &all, &Choices::default());
        assert_eq!(lines(&assigned, "1"), ["zwave /dev/zwave 188:0"]);
        assert_eq!(
            lines(&assigned, "2"),
            [
                "zwave /dev/zwave 188:0",
                "ttyUSB0 /dev/ttyUSB0 188:0",
                "ttyUSB1 /dev/ttyUSB1 188:1"
            ]
        );
        assert!(!assigned.shares.contains_key(&ContainerId("3".into())));
        // A link belongs to the first port that has the device.
        let wants = assigned.wants(&ContainerId("2".into()));
        assert_eq!(
            wants.iter().map(|w| w.links.len()).collect::<Vec<_>>(),
            [2, 0, 2]
        );
    }

    #[test]
    fn two_ports_on_one_node_are_a_conflict_that_the_first_by_name_wins() {
        let text = format!("{ZWAVE}{}", ZWAVE.replace("\"zwave\"", "\"aeotec\""));
        let one = inventory(&[device("ttyUSB0", "A")], &[("1", container("app", &[]))]);
        let assigned = assign(&settings(&text), &one, &Choices::default());
        assert_eq!(lines(&assigned, "1"), ["aeotec /dev/zwave 188:0"]);
        let share = assigned.shares.values().next().unwrap().as_ref().unwrap();
        let conflict = share.conflicts[0].to_string();
        assert!(conflict.contains("port zwave is left out"), "{conflict}");
    }

    #[test]
    fn a_bad_label_leaves_out_that_container_alone() {
        let all = inventory(
            &[device("ttyUSB0", "A")],
            &[
                ("1", container("app", &[("ttyplugd.enable", "yes")])),
                ("2", container("app", &[("ttyplugd.enable", "true")])),
            ],
        );
        let assigned = assign(&settings(ZWAVE), &all, &Choices::default());
        assert!(assigned.shares[&ContainerId("1".into())].is_err());
        assert_eq!(lines(&assigned, "2").len(), 2);
    }

    #[test]
    fn labels_of_the_image_count_only_when_the_file_says_so() {
        let mut app = container("x", &[("ttyplugd.enable", "true")]);
        app.image_labels = app.labels.clone();
        let all = inventory(&[device("ttyUSB0", "A")], &[("1", app)]);
        assert!(
            assign(&settings(""), &all, &Choices::default())
                .shares
                .is_empty()
        );
        let assigned = assign(&settings("labels = \"image\""), &all, &Choices::default());
        assert_eq!(lines(&assigned, "1").len(), 1);
    }

    #[test]
    fn stopped_containers_are_assigned_their_ports_too() {
        let mut app = container("app", &[]);
        app.state = ContainerState::Stopped;
        let all = inventory(&[device("ttyUSB0", "A")], &[("1", app)]);
        assert_eq!(
            lines(&assign(&settings(ZWAVE), &all, &Choices::default()), "1").len(),
            1
        );
    }

    #[test]
    fn a_name_that_two_devices_claim_goes_to_one_and_is_reported() {
        let (mut a, mut b) = (device("ttyUSB0", "A"), device("ttyUSB1", "B"));
        let shared: NodePath = "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0"
            .parse()
            .unwrap();
        a.links.insert(shared.clone());
        b.links.insert(shared.clone());
        let all = inventory(
            &[a, b],
            &[("1", container("x", &[("ttyplugd.enable", "true")]))],
        );
        let assigned = assign(&settings(""), &all, &Choices::default());
        let share = assigned.shares.values().next().unwrap().as_ref().unwrap();
        let holders: Vec<_> = share
            .wants
            .iter()
            .map(|w| w.links.contains(&shared))
            .collect();
        assert_eq!(holders, [true, false]);
        assert!(matches!(&share.conflicts[0], Conflict::Link { link, .. } if *link == shared));
        assert_eq!(shared_links(&all.devices)[&shared], ["ttyUSB0", "ttyUSB1"]);
    }
}
