//! What each container must have, by the words of docs/. Pure.
//!
//! A running container has, for each of its ports that is plugged in, the node with the device's
//! number and the port's mode and owner, and the device's two links, which lead to it. It may open
//! these devices and no other tty. It has nothing else of ours in its /dev.

use std::collections::{BTreeMap, BTreeSet};

use crate::testbed::{Entry, MAJOR, Node};

use super::world::{Container, Inject, Life, OWN, SOCKETS, Stick, World};

/// What the machine brings along: it has nothing to do with ports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host {
    /// The minor number of the tty that is the first socket; those of the others follow.
    pub(super) first: u64,
    /// The group of the ttys' nodes.
    pub(super) group: u32,
}

/// A port of a container, plugged in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) stick: Stick,
    /// Where the node is; `None` where that is the host's name for the device.
    pub(super) node: Option<&'static str>,
    mode: u32,
    owner: u32,
    group: Option<u32>,
}

/// What a running container has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Must {
    /// Everything below its /dev but what the container runtime makes.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Paths at which anything may be, or nothing.
    pub(super) open: BTreeSet<String>,
    /// Whether its entries may be any.
    pub(super) free: bool,
    /// The sockets whose ttys it may open.
    pub(super) rights: BTreeSet<usize>,
}

/// The ports of a container: those of the configuration, by its name, then those of its labels.
pub(super) fn ports_of(world: &World, container: &Container) -> Vec<Wanted> {
    let mut ports = Vec::new();
    for port in world.config.ports() {
        if port.is_of(container.name) {
            ports.push(Wanted {
                stick: port.stick,
                node: Some(port.node),
                mode: port.mode,
                owner: port.owner,
                group: port.group,
            });
        }
    }
    let of_labels = |stick, node| Wanted {
        stick,
        node,
        mode: 0o660,
        owner: 0,
        group: None,
    };
    ports.extend(container.kind.own.map(|stick| of_labels(stick, Some(OWN))));
    if container.kind.every {
        let plugged = world.sockets.iter().flatten();
        ports.extend(plugged.map(|stick| of_labels(*stick, None)));
    }
    ports
}

/// What a running container must have.
pub(super) fn must(world: &World, host: Host, container: &Container) -> Must {
    let mut must = Must {
        free: !can_be_served(world, container),
        open: container.spoilt.iter().map(|path| (*path).into()).collect(),
        ..Must::default()
    };
    for port in ports_of(world, container) {
        let Some(socket) = world.socket_of(port.stick) else {
            continue;
        };
        must.rights.insert(socket);
        let node = port.node.map_or_else(|| host.name(socket), str::to_owned);
        for link in links(port.stick, socket) {
            // A device that is two ports of a container has its links by the first.
            let target = Entry::link(&format!("../..{}", &node["/dev".len()..]));
            must.entries.entry(link).or_insert(target);
        }
        // What was done at a path of a port that is plugged in is undone.
        must.open.remove(&node);
        must.entries
            .insert(node, Entry::Node(host.node(&port, socket)));
    }
    must
}

/// Where a container has its ports, plugged in or not.
pub(super) fn nodes(world: &World, host: Host, container: &Container) -> BTreeSet<String> {
    let ports = ports_of(world, container).into_iter();
    let node = |port: Wanted| match port.node {
        Some(node) => Some(node.to_owned()),
        None => world.socket_of(port.stick).map(|socket| host.name(socket)),
    };
    ports.filter_map(node).collect()
}

/// Nothing can be executed in a container that is paused, or whose image or capabilities do not
/// allow it.
pub(super) fn can_be_served(world: &World, container: &Container) -> bool {
    let executes = container.kind.has_command && container.life != Life::Paused;
    executes || world.config.inject != Inject::Exec
}

/// The names of a stick in /dev/serial.
pub(super) fn links(stick: Stick, socket: usize) -> [String; 2] {
    let path = format!("pci-0000:00:14.0-usb-0:{}:1.0", 60 + socket);
    [
        format!("/dev/serial/by-id/usb-Chaos_{}-if00", stick.serial()),
        format!("/dev/serial/by-path/{path}"),
    ]
}

impl Host {
    /// The socket whose tty has this minor number.
    pub(super) fn socket(self, minor: u64) -> Option<usize> {
        let socket = usize::try_from(minor.checked_sub(self.first)?).ok()?;
        (socket < SOCKETS).then_some(socket)
    }

    /// The host's node of a socket's tty.
    fn name(self, socket: usize) -> String {
        format!("/dev/tty{}", self.first + socket as u64)
    }

    fn node(self, port: &Wanted, socket: usize) -> Node {
        Node {
            major: MAJOR,
            minor: self.first + socket as u64,
            mode: port.mode,
            uid: port.owner,
            gid: port.group.unwrap_or(self.group),
        }
    }
}

impl Must {
    /// How the entries that are seen differ.
    pub(super) fn differences(&self, entries: &BTreeMap<String, Entry>) -> Vec<String> {
        if self.free {
            return Vec::new();
        }
        let paths: BTreeSet<_> = self.entries.keys().chain(entries.keys()).collect();
        let paths = paths.into_iter().filter(|path| !self.open.contains(*path));
        let differs = paths.filter(|path| self.entries.get(*path) != entries.get(*path));
        let show = |entry: Option<&Entry>| entry.map_or("absent".into(), |e| format!("{e:?}"));
        differs
            .map(|path| {
                let (must, is) = (self.entries.get(path), entries.get(path));
                format!("{path} must be {} and is {}", show(must), show(is))
            })
            .collect()
    }

    /// How the sockets whose ttys may be opened differ.
    pub(super) fn wrong_rights(&self, rights: &BTreeSet<usize>) -> Vec<String> {
        let differ = self.rights.symmetric_difference(rights);
        differ
            .map(|socket| match self.rights.contains(socket) {
                true => format!("the tty of socket {socket} cannot be opened and must be"),
                false => format!("the tty of socket {socket} can be opened and must not be"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::operation::Operation;
    use super::super::world::Config;
    use super::*;

    const HOST: Host = Host {
        first: 60,
        group: 20,
    };

    fn after(operations: &[Operation]) -> World {
        let mut world = World::new();
        for operation in operations {
            world.apply(operation);
        }
        world
    }

    fn plug(stick: u8, socket: usize) -> Operation {
        let stick = Stick(stick);
        Operation::Plug { socket, stick }
    }

    fn must_of(world: &World, container: usize) -> Must {
        must(world, HOST, &world.containers[container])
    }

    fn node(minor: u64, mode: u32, uid: u32, gid: u32) -> Entry {
        Entry::Node(Node {
            major: MAJOR,
            minor,
            mode,
            uid,
            gid,
        })
    }

    #[test]
    fn a_port_is_a_node_two_links_and_a_right() {
        let world = after(&[Operation::Start(0), plug(0, 2), plug(3, 1)]);
        let red = must_of(&world, 0);
        let expected = [
            ("/dev/first", node(62, 0o660, 0, 20)),
            (
                "/dev/serial/by-id/usb-Chaos_K0-if00",
                Entry::link("../../first"),
            ),
            (
                "/dev/serial/by-path/pci-0000:00:14.0-usb-0:62:1.0",
                Entry::link("../../first"),
            ),
        ];
        let expected = expected.map(|(path, entry)| (path.to_owned(), entry));
        assert_eq!(red.entries, BTreeMap::from(expected));
        assert_eq!(red.rights, BTreeSet::from([2]));
        // The same stick is another port of a container that has all.
        let pink = must_of(&world, 4);
        assert_eq!(pink.rights, BTreeSet::from([1, 2]));
        assert_eq!(pink.entries["/dev/first"], red.entries["/dev/first"]);
        assert_eq!(pink.entries["/dev/tty62"], node(62, 0o660, 0, 20));
        let link = &pink.entries["/dev/serial/by-id/usb-Chaos_K0-if00"];
        assert_eq!(*link, Entry::link("../../first"));
    }

    #[test]
    fn nothing_is_left_of_a_port_after_the_unplug() {
        let world = after(&[plug(0, 2), Operation::Unplug { socket: 2 }]);
        assert_eq!(must_of(&world, 0), Must::default());
    }

    #[test]
    fn ports_of_the_configuration_go_by_the_name() {
        let world = after(&[plug(0, 0), Operation::Swap(0, 2)]);
        assert_eq!(must_of(&world, 0), Must::default());
        assert!(must_of(&world, 2).entries.contains_key("/dev/first"));
        let world = after(&[plug(2, 0), Operation::Rename(1, "bluebell")]);
        assert!(must_of(&world, 1).entries.contains_key("/dev/below/third"));
    }

    #[test]
    fn what_no_command_can_serve_keeps_its_entries_and_no_rights() {
        let config = Config {
            inject: Inject::Exec,
            edited: false,
        };
        let world = after(&[
            Operation::Start(0),
            Operation::Pause(0),
            Operation::Reload(config),
        ]);
        let paused = must_of(&world, 0);
        let stale = BTreeMap::from([("/dev/first".to_owned(), node(60, 0o660, 0, 20))]);
        assert_eq!(paused.differences(&stale), [""; 0]);
        assert_eq!(paused.wrong_rights(&BTreeSet::from([0])).len(), 1);
    }

    #[test]
    fn what_differs_is_found() {
        let must = must_of(&after(&[plug(0, 0)]), 0);
        assert_eq!(must.differences(&must.entries), [""; 0]);
        assert_eq!(must.wrong_rights(&must.rights), [""; 0]);
        for path in must.entries.keys() {
            let mut less = must.entries.clone();
            less.remove(path);
            assert_eq!(must.differences(&less).len(), 1, "{path}");
        }
        for wrong in [
            node(60, 0o666, 0, 20),
            node(61, 0o660, 0, 20),
            Entry::Absent,
        ] {
            let mut other = must.entries.clone();
            other.insert("/dev/first".into(), wrong.clone());
            assert_eq!(must.differences(&other).len(), 1, "{wrong:?}");
        }
        let mut more = must.entries.clone();
        more.insert("/dev/.ttyplugd.0".into(), Entry::Directory);
        assert_eq!(must.differences(&more).len(), 1);
        assert_eq!(must.wrong_rights(&BTreeSet::new()).len(), 1);
        assert_eq!(must.wrong_rights(&BTreeSet::from([0, 3])).len(), 1);
    }

    #[test]
    fn what_a_container_has_done_itself_counts_until_its_port_is_there() {
        let path = "/dev/first";
        let mess = Operation::Mess(0, super::super::operation::Mess::OtherNode, path);
        let seen = BTreeMap::from([(path.to_owned(), node(3, 0o666, 0, 0))]);
        let world = after(&[Operation::Start(0), mess.clone()]);
        assert_eq!(must_of(&world, 0).differences(&seen), [""; 0]);
        let world = after(&[Operation::Start(0), mess.clone(), plug(0, 0)]);
        assert!(!must_of(&world, 0).differences(&seen).is_empty());
        let world = after(&[Operation::Start(0), mess, Operation::Restart(0)]);
        assert!(!must_of(&world, 0).differences(&seen).is_empty());
    }
}
