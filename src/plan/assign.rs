//! Which container gets which ports: settings × devices × containers → the nodes and links of each
//! container. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::config::labels::{self, LabelError, PortRequests};
use crate::config::settings::{LabelPolicy, Settings};
use crate::hold::{ContainerPort, ContainerPorts, DEFAULT_HOLD};
use crate::model::device::Device;
use crate::model::inventory::{Container, ContainerId, Inventory};
use crate::model::on_plug::OnPlug;
use crate::model::port::{NodeSpec, Port};
use crate::model::{Account, DevNum, Hold, Holds, Mode, NodePath, Permissions};
use crate::plan::last_devices::LastDevices;

/// A port as it should be in a container, with its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPort {
    /// The port's name, or the device's in a container that asked for every port.
    pub port: String,
    /// The device's sysname.
    pub device: String,
    pub node: NodePath,
    pub devnum: DevNum,
    pub mode: Mode,
    pub owner: Account,
    pub group: Account,
    /// Those of the host's node.
    pub host: Permissions,
    /// The device's other names below /dev, which lead to `node`.
    pub links: Vec<NodePath>,
    pub hold: Hold,
    pub on_plug: OnPlug,
    /// When its device was plugged in: [`Device::plugged`].
    pub plugged: u64,
}

/// A port of a container whose device is not plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentPort {
    pub port: String,
    /// Where it will be; `None` where that is the host's name for the device, which is not known.
    pub node: Option<NodePath>,
    /// The names that it may have beside that: those that its match spells out, and those that it
    /// has had.
    pub names: Vec<NodePath>,
    pub hold: Hold,
}

/// The ports of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    pub wants: Vec<WantedPort>,
    pub absent: Vec<AbsentPort>,
    pub conflicts: Vec<Conflict>,
    /// The placeholders of absent ports, where nothing else is wanted.
    pub placeholders: Vec<WantedPort>,
    /// It asked for every USB serial port.
    pub every: bool,
    /// The names of those that were plugged in, as far as nothing else tells that they may be ports.
    pub every_names: Vec<NodePath>,
    /// The hold of those; `None` is the default.
    pub every_hold: Option<Hold>,
    pub holds: Holds,
    /// How many opens of a process are held at once; `None` is the default.
    pub per_process: Option<u16>,
}

/// A port, or a link of one, that a container asks for and does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// A port is left out altogether.
    Node {
        port: String,
        node: NodePath,
        holder: String,
    },
    /// A port lacks one of its links: another device has the path, or one above or below it is
    /// taken.
    Link {
        port: String,
        link: NodePath,
        taken: NodePath,
    },
    /// A port that labels define, whose match is met only by a device that is not offered to
    /// labels.
    NotOffered { port: String, device: String },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { port, node, holder } => {
                write!(
                    f,
                    "port {port} is left out: port {holder} already has {node}"
                )
            }
            Self::Link { port, link, taken } if link == taken => write!(
                f,
                "port {port} does not get the link {link}: another device of this container has it"
            ),
            Self::Link { port, link, taken } => write!(
                f,
                "port {port} does not get the link {link}: this container has {taken}"
            ),
            Self::NotOffered { port, device } => write!(
                f,
                "label ttyplugd.port.{port}.match matches {device}, which is not offered to labels"
            ),
        }
    }
}

impl Conflict {
    /// The port that it concerns.
    pub fn port(&self) -> &str {
        match self {
            Self::Node { port, .. } | Self::Link { port, .. } | Self::NotOffered { port, .. } => {
                port
            }
        }
    }

    /// What the operator can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Node { .. } => "give one of the two ports another `node`",
            Self::Link { link, taken, .. } if link != taken => {
                "give the port another `node`, or change the udev rule that makes the link"
            }
            Self::Link { .. } => "tell the devices apart by by-path",
            Self::NotOffered { .. } => "define a [[port]] for it in the configuration",
        }
    }
}

/// The ports of all containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Only containers that ask for something are in it.
    pub by_container: BTreeMap<ContainerId, Result<Assignment, LabelError>>,
    pub last_devices: LastDevices,
}

/// The group of serial ports on Debian, as long as no device has told another one (base-passwd,
/// group.master).
const DIALOUT: u32 = 20;

impl Assignments {
    /// The ports of a container that are plugged in. A container with an invalid label has none.
    pub fn wants(&self, id: &ContainerId) -> &[WantedPort] {
        match self.by_container.get(id) {
            Some(Ok(assignment)) => &assignment.wants,
            _ => &[],
        }
    }

    /// The placeholders of a container's absent ports.
    pub fn placeholders(&self, id: &ContainerId) -> &[WantedPort] {
        match self.by_container.get(id) {
            Some(Ok(assignment)) => &assignment.placeholders,
            _ => &[],
        }
    }
}

/// Computes the ports of every container.
pub fn assign(settings: &Settings, inventory: &Inventory, before: &LastDevices) -> Assignments {
    let mut assigner = Assigner {
        settings,
        devices: &inventory.devices,
        before,
        present: names_of(inventory.devices.values()),
        after: LastDevices {
            offered: before.offered.clone(),
            ..LastDevices::default()
        },
    };
    assigner.after.offer(inventory.devices.values());
    let of_file = assigner.ports_of_file();
    let by_container = inventory.containers.iter().filter_map(|(id, container)| {
        let assignment = assigner.container(id, container, &of_file).transpose();
        Some((id.clone(), assignment?))
    });
    Assignments {
        by_container: by_container.collect(),
        last_devices: assigner.after,
    }
}

struct Assigner<'a> {
    settings: &'a Settings,
    devices: &'a BTreeMap<String, Device>,
    before: &'a LastDevices,
    /// The names of devices that are plugged in.
    present: BTreeSet<&'a NodePath>,
    after: LastDevices,
}

fn names_of<'a>(devices: impl Iterator<Item = &'a Device>) -> BTreeSet<&'a NodePath> {
    let names = devices.flat_map(|device| device.links.iter().chain([&device.node]));
    names.collect()
}

/// A port, its device if that is plugged in, and the names by which it may come back.
#[derive(Clone)]
struct PortDevice<'a> {
    port: &'a Port,
    device: Option<&'a Device>,
    /// The port is defined by labels, and this device would be it if it were offered.
    refused: Option<&'a Device>,
    names: Vec<NodePath>,
    hold: Option<Hold>,
}

/// Who has defined a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    /// The operator, in the configuration: any tty may be the port.
    File,
    /// The maker of the container, by labels: it has to be one that udev's tag offers.
    Labels,
}

impl<'a> Assigner<'a> {
    fn ports_of_file(&mut self) -> Vec<PortDevice<'a>> {
        let ports = self.settings.ports.iter();
        ports
            .map(|port| self.choose(port.name.to_string(), port, Author::File))
            .collect()
    }

    /// The ports of a container; `None` where it asks for none.
    fn container(
        &mut self,
        id: &ContainerId,
        container: &Container,
        of_file: &[PortDevice],
    ) -> Result<Option<Assignment>, LabelError> {
        let (policy, defined) = (self.settings.labels, &self.settings.ports);
        let own = container.counting_labels(policy);
        let requests = labels::port_requests(&own, policy, defined)?;
        let service = labels::compose_service(&container.labels, &own);
        let matches = |port: &Port| {
            let mut containers = port.containers.iter();
            containers.any(|c| c.matches(&container.name, service.as_ref(), &own))
        };

        let of_file = of_file
            .iter()
            .filter(|PortDevice { port, .. }| requests.used.contains(&port.name) || matches(port));
        let own = requests.own.iter().map(|port| {
            let key = format!("{}/{}", id.key(), port.name);
            self.choose(key, port, Author::Labels)
        });
        let of_file = of_file.cloned().map(|of_file| PortDevice {
            hold: requests.hold.or(of_file.hold),
            ..of_file
        });
        let mut ports: Vec<PortDevice> = of_file.chain(own).collect();
        ports.sort_by(|a, b| a.port.name.cmp(&b.port.name));

        let asks = !ports.is_empty() || requests.every_port;
        Ok(asks.then(|| {
            let mut assignment = Assignment::new(ports, &requests, self.settings, self.devices);
            if requests.every_port {
                assignment.every_names = self.absent(&self.after.offered).cloned().collect();
            }
            assignment
        }))
    }

    /// Those of the names that no device has which is plugged in. Any other would not be held for
    /// its port, which comes back under another name.
    fn absent<'b>(
        &self,
        names: impl IntoIterator<Item = &'b NodePath>,
    ) -> impl Iterator<Item = &'b NodePath> {
        let names = names.into_iter();
        names.filter(|name| !self.present.contains(name))
    }

    /// Chooses the device of a port: the one that it has, else the first by path.
    fn choose<'b>(&mut self, key: String, port: &'b Port, author: Author) -> PortDevice<'b>
    where
        'a: 'b,
    {
        let last = self.before.ports.get(&key);
        let devices = self.devices.values().filter(|d| port.device.matches(d));
        let may_be = |d: &&Device| author == Author::File || d.is_offered();
        let (candidates, refused): (Vec<&Device>, Vec<_>) = devices.partition(may_be);
        let kept = last.and_then(|last| candidates.iter().find(|d| d.devpath == last.devpath));
        let first = || {
            let candidates = candidates.iter();
            candidates.min_by(|a, b| a.by_path_order().cmp(&b.by_path_order()))
        };
        let device = kept.or_else(first).copied();

        let mut last = last.cloned();
        if let Some(device) = device {
            last.get_or_insert_default().update(device);
        }
        let had = last.iter().flat_map(|last| last.names(port));
        let names = self.absent(had).cloned().collect();
        self.after.ports.extend(last.map(|last| (key, last)));
        PortDevice {
            port,
            device,
            refused: refused.first().copied().filter(|_| device.is_none()),
            names,
            hold: port.hold,
        }
    }
}

impl Container {
    /// The labels that count under `policy`.
    pub fn counting_labels(&self, policy: LabelPolicy) -> BTreeMap<String, String> {
        match policy {
            LabelPolicy::Image => self.labels.clone(),
            LabelPolicy::Container | LabelPolicy::Off => self.own_labels(),
        }
    }

    /// The labels that were set when the container was created; none where that is not known.
    pub fn own_labels(&self) -> BTreeMap<String, String> {
        match &self.image_labels {
            Some(image) => labels::own_labels(&self.labels, image),
            None => BTreeMap::new(),
        }
    }
}

impl Assignment {
    fn new(
        ports: Vec<PortDevice>,
        requests: &PortRequests,
        settings: &Settings,
        devices: &BTreeMap<String, Device>,
    ) -> Self {
        let mut assignment = Self {
            every: requests.every_port,
            every_hold: requests.hold,
            holds: requests.holds.unwrap_or(settings.holds),
            per_process: settings.held_per_process,
            ..Self::default()
        };
        let mut placeholders = Vec::new();
        for PortDevice {
            port,
            device,
            refused,
            mut names,
            hold,
        } in ports
        {
            let (name, hold) = (port.name.to_string(), hold.unwrap_or(DEFAULT_HOLD));
            match (device, refused) {
                (Some(device), _) => {
                    assignment.add(WantedPort {
                        on_plug: port.on_plug,
                        ..WantedPort::new(name, &port.node, hold, device)
                    });
                }
                (None, Some(refused)) => assignment.conflicts.push(Conflict::NotOffered {
                    port: name,
                    device: refused.sysname.clone(),
                }),
                (None, None) => {
                    names.extend(port.known_links());
                    let absent = AbsentPort {
                        port: name,
                        node: port.known_node(),
                        names,
                        hold,
                    };
                    placeholders.extend(WantedPort::placeholder(&absent, &port.node));
                    assignment.absent.push(absent);
                }
            }
        }
        if requests.every_port {
            for device in devices.values().filter(|device| device.is_offered()) {
                assignment.add_offered(device);
            }
        }
        assignment.settle_links();
        for placeholder in placeholders {
            assignment.add_placeholder(placeholder);
        }
        assignment
    }

    /// Whether a port is assigned to it, plugged in or not.
    pub fn has(&self, port: &str) -> bool {
        self.wants.iter().any(|want| want.port == port)
            || self.absent.iter().any(|absent| absent.port == port)
    }

    /// The nodes of its ports, plugged in or not, as far as they are known; the same for those that
    /// another port keeps away.
    pub fn nodes(&self) -> impl Iterator<Item = (String, NodePath)> {
        let wants = self.wants.iter().map(|want| (&want.port, &want.node));
        let absent = self.absent.iter();
        let absent = absent.filter_map(|absent| Some((&absent.port, absent.node.as_ref()?)));
        let conflicts = self.conflicts.iter().filter_map(|conflict| match conflict {
            Conflict::Node { port, node, .. } => Some((port, node)),
            Conflict::Link { .. } | Conflict::NotOffered { .. } => None,
        });
        let all = wants.chain(absent).chain(conflicts);
        all.map(|(port, node)| (port.clone(), node.clone()))
    }

    /// Whether a port that labels define is met only by a device that is not offered to labels.
    pub fn refuses(&self, port: &str) -> bool {
        let mut conflicts = self.conflicts.iter();
        conflicts.any(|conflict| {
            matches!(conflict, Conflict::NotOffered { port: refused, .. } if refused == port)
        })
    }

    /// The ports as far as holding is concerned. `ready` says whether a path leads to its device and
    /// may be opened.
    pub fn ports(&self, ready: impl Fn(&NodePath, DevNum) -> bool) -> ContainerPorts {
        let present = self.wants.iter().flat_map(|want| want.held(&ready));
        let absent = self.absent.iter().map(AbsentPort::waiting);
        ContainerPorts {
            ports: present.chain(absent).collect(),
            every: self.every,
            every_hold: self.every_hold,
            every_names: self.every_names.iter().map(ToString::to_string).collect(),
            holds: self.holds,
            per_process: self.per_process,
        }
    }

    /// Adds a device under its host name, unless a port has it there already.
    fn add_offered(&mut self, device: &Device) {
        let name = device.sysname.clone();
        let hold = self.every_hold.unwrap_or(DEFAULT_HOLD);
        let want = WantedPort::new(name, &NodeSpec::default(), hold, device);
        let is_it = |known: &WantedPort| known.node == want.node && known.devnum == want.devnum;
        if !self.wants.iter().any(is_it) {
            self.add(want);
        }
    }

    /// Adds a port unless an earlier one, by name, has the same node or one above or below it.
    fn add(&mut self, want: WantedPort) {
        if let Some(first) = self
            .wants
            .iter()
            .find(|first| first.node.clashes_with(&want.node))
        {
            self.conflicts.push(Conflict::Node {
                port: want.port,
                node: want.node,
                holder: first.port.clone(),
            });
        } else {
            self.wants.push(want);
        }
    }

    /// Adds a placeholder, unless a port or another placeholder has its node, and without the links
    /// that one of them has.
    fn add_placeholder(&mut self, mut placeholder: WantedPort) {
        let others = || self.wants.iter().chain(&self.placeholders);
        let has =
            |other: &WantedPort, path: &NodePath| other.node == *path || other.links.contains(path);
        let is_taken = |path: &NodePath| others().any(|other| has(other, path));
        let clashes = others().any(|other| other.node.clashes_with(&placeholder.node));
        if clashes || is_taken(&placeholder.node) {
            return;
        }
        placeholder.links.retain(|link| !is_taken(link));
        self.placeholders.push(placeholder);
    }

    /// Lets every name lead to one device: a node wins over a link, an earlier port over a later
    /// one.
    fn settle_links(&mut self) {
        let mut taken: BTreeMap<NodePath, DevNum> = self
            .wants
            .iter()
            .map(|want| (want.node.clone(), want.devnum))
            .collect();
        for WantedPort {
            port,
            devnum,
            links,
            ..
        } in &mut self.wants
        {
            links.retain(|link| {
                let clash = |path: &&NodePath| path.is_below(link) || link.is_below(path);
                let conflict = match taken.get(link) {
                    // The device has it by another port.
                    Some(other) if other == devnum => return false,
                    Some(_) => Some(link),
                    None => taken.keys().find(clash),
                };
                self.conflicts.extend(conflict.map(|taken| Conflict::Link {
                    port: port.clone(),
                    link: link.clone(),
                    taken: taken.clone(),
                }));
                let is_free = conflict.is_none();
                if is_free {
                    taken.insert(link.clone(), *devnum);
                }
                is_free
            });
        }
    }
}

impl WantedPort {
    fn new(port: String, node: &NodeSpec, hold: Hold, device: &Device) -> Self {
        Self {
            port,
            device: device.sysname.clone(),
            node: node.path.clone().unwrap_or_else(|| device.node.clone()),
            devnum: device.devnum,
            mode: node.mode.unwrap_or(device.mode),
            owner: node.owner.clone(),
            group: node.group.clone().unwrap_or(Account::Number(device.gid)),
            host: Permissions {
                uid: 0,
                gid: device.gid,
                mode: device.mode,
            },
            links: device.links.iter().cloned().collect(),
            hold,
            on_plug: OnPlug::None,
            plugged: device.plugged,
        }
    }

    /// Its node and its links.
    pub fn paths(&self) -> impl Iterator<Item = &NodePath> {
        std::iter::once(&self.node).chain(&self.links)
    }

    /// Its paths that are ready, and those whose opens have to wait.
    fn held(
        &self,
        is_ready: impl Fn(&NodePath, DevNum) -> bool,
    ) -> impl Iterator<Item = ContainerPort> {
        let (ready, waiting): (Vec<_>, Vec<_>) =
            self.paths().partition(|path| is_ready(path, self.devnum));
        let parts = [(true, ready), (false, waiting)].into_iter();
        let parts = parts.filter(|(_, paths)| !paths.is_empty());
        parts.map(|(ready, paths)| ContainerPort {
            ready,
            ..ContainerPort::waiting(&self.port, paths, self.hold)
        })
    }

    /// What stands in a container for a port whose device is absent.
    fn placeholder(absent: &AbsentPort, node: &NodeSpec) -> Option<Self> {
        let path = absent.node.clone().filter(|_| node.placeholder);
        let links: BTreeSet<&NodePath> = absent.names.iter().collect();
        let mode = node.mode.unwrap_or(Mode::DEFAULT);
        Some(Self {
            port: absent.port.clone(),
            device: String::new(),
            node: path?,
            devnum: DevNum::NONE,
            mode,
            owner: node.owner.clone(),
            group: node.group.clone().unwrap_or(Account::Number(DIALOUT)),
            host: Permissions {
                uid: 0,
                gid: DIALOUT,
                mode,
            },
            links: links.into_iter().cloned().collect(),
            hold: absent.hold,
            on_plug: OnPlug::None,
            plugged: 0,
        })
    }
}

impl AbsentPort {
    fn waiting(&self) -> ContainerPort {
        let paths = self.node.iter().chain(&self.names);
        ContainerPort::waiting(&self.port, paths, self.hold)
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
