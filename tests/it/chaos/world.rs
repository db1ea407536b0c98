//! The machine as the operations leave it: what is plugged in, which containers there are, what the
//! configuration says. Pure.

use std::collections::BTreeSet;

use super::operation::{Mess, Operation};
use super::oracle::{can_be_served, ports_of};

/// Where sticks can be plugged in: one of the test ttys each.
pub(super) const SOCKETS: usize = 4;

/// There are more of them than sockets, so one gets the number that another had.
pub(super) const STICKS: u8 = 6;

/// A stick, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stick(pub(super) u8);

impl Stick {
    pub(super) fn serial(self) -> String {
        format!("K{}", self.0)
    }
}

/// How a container is created. That does not change while it exists.
#[derive(Debug)]
pub(super) struct Kind {
    /// The name that it is created with.
    pub(super) name: &'static str,
    pub(super) image: &'static str,
    /// Its early opens wait, for ever.
    pub(super) wrapped: bool,
    pub(super) options: &'static [&'static str],
    /// A command in it can make nodes.
    pub(super) has_command: bool,
    /// The label `ttyplugd.enable=true`.
    pub(super) every: bool,
    /// A port that its labels define, at [`OWN`].
    pub(super) own: Option<Stick>,
    /// What its program opens again and again.
    pub(super) opens: &'static [&'static str],
}

impl Kind {
    fn has_labels(&self) -> bool {
        self.every || self.own.is_some()
    }
}

/// Where a container has the port that its labels define.
pub(super) const OWN: &str = "/dev/own";

/// What a container opens that may come to have any of [`PORTS`].
const NAMED: &[&str] = &["/dev/first", "/dev/second", "/dev/below/third"];

/// A link of a stick that a container with every port opens.
const LINK: &[&str] = &["/dev/serial/by-id/usb-Chaos_K0-if00"];

const PLAIN: Kind = Kind {
    name: "",
    image: "opens",
    wrapped: false,
    options: &[],
    has_command: true,
    every: false,
    own: None,
    opens: &[],
};

pub(super) const KINDS: [Kind; 8] = [
    Kind {
        name: "red",
        wrapped: true,
        opens: NAMED,
        ..PLAIN
    },
    Kind {
        name: "green",
        opens: NAMED,
        ..PLAIN
    },
    Kind {
        name: "blue",
        wrapped: true,
        opens: NAMED,
        ..PLAIN
    },
    Kind {
        name: "grey",
        every: true,
        opens: LINK,
        ..PLAIN
    },
    Kind {
        name: "pink",
        wrapped: true,
        every: true,
        opens: LINK,
        ..PLAIN
    },
    Kind {
        name: "lime",
        wrapped: true,
        own: Some(Stick(3)),
        opens: &[OWN],
        ..PLAIN
    },
    Kind {
        name: "cyan",
        image: "noshell",
        has_command: false,
        own: Some(Stick(4)),
        ..PLAIN
    },
    Kind {
        name: "teal",
        wrapped: true,
        options: &["--read-only", "--cap-drop", "ALL"],
        has_command: false,
        own: Some(Stick(5)),
        opens: &[OWN],
        ..PLAIN
    },
];

/// Names that a container can be given besides those that they are created with.
pub(super) const NAMES: [&str; 3] = ["white", "bluebell", "black"];

/// A port of the configuration.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: &'static str,
    pub(super) stick: Stick,
    /// Container names, of which the last letter may be `*`.
    pub(super) containers: &'static [&'static str],
    pub(super) node: &'static str,
    pub(super) mode: u32,
    pub(super) owner: u32,
    /// That of the host's node unless it is named.
    pub(super) group: Option<u32>,
}

impl Port {
    /// Whether the configuration names this container.
    pub(super) fn is_of(&self, container: &str) -> bool {
        let mut names = self.containers.iter();
        names.any(|name| match name.strip_suffix('*') {
            Some(start) => container.starts_with(start),
            None => *name == container,
        })
    }
}

const FIRST: Port = Port {
    name: "first",
    stick: Stick(0),
    containers: &["red", "pink"],
    node: NAMED[0],
    mode: 0o660,
    owner: 0,
    group: None,
};

const SECOND: Port = Port {
    name: "second",
    stick: Stick(1),
    containers: &["red", "green"],
    node: NAMED[1],
    mode: 0o600,
    owner: 1000,
    group: Some(1000),
};

const THIRD: Port = Port {
    name: "third",
    stick: Stick(2),
    containers: &["blue*", "teal"],
    node: NAMED[2],
    mode: 0o660,
    owner: 0,
    group: None,
};

/// The ports of the configuration, and as it is after an edit.
pub(super) const PORTS: [[Port; 3]; 2] = [
    [FIRST, SECOND, THIRD],
    [
        Port {
            containers: &["green", "lime"],
            ..FIRST
        },
        Port {
            mode: 0o666,
            owner: 0,
            ..SECOND
        },
        THIRD,
    ],
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inject {
    Auto,
    Namespace,
    Exec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) inject: Inject,
    pub(super) edited: bool,
}

impl Config {
    pub(super) fn ports(self) -> &'static [Port; 3] {
        &PORTS[usize::from(self.edited)]
    }

    /// The file.
    pub(super) fn text(self) -> String {
        let inject = format!("{:?}", self.inject).to_lowercase();
        let ports = self.ports().iter().map(|port| {
            let group = port.group.map(|group| format!("group = \"{group}\"\n"));
            format!(
                "[[port]]\nname = {:?}\nmatch = {{ serial = {:?} }}\ncontainers = {:?}\nnode = {:?}\n\
                 mode = \"{:04o}\"\nowner = \"{}\"\n{}hold = \"forever\"\n",
                port.name,
                port.stick.serial(),
                port.containers,
                port.node,
                port.mode,
                port.owner,
                group.unwrap_or_default()
            )
        });
        format!("inject = {inject:?}\n{}", ports.collect::<String>())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Stopped,
    Running,
    Paused,
}

#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) kind: &'static Kind,
    pub(super) name: &'static str,
    pub(super) life: Life,
    /// Its early opens wait: under the wrapper, it had a port when it was started. A new configuration
    /// may come at the same time, so it has one by either.
    pub(super) held: bool,
    /// The same before the operations since the last comparison.
    pub(super) was_held: bool,
    /// Who it is has been written for a start without the daemon.
    pub(super) on_record: bool,
    /// It was started since the last comparison, and that was not written then.
    started_unrecorded: bool,
    /// Paths at which its own processes have been since it had its port there.
    pub(super) spoilt: BTreeSet<&'static str>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) sockets: [Option<Stick>; SOCKETS],
    pub(super) containers: Vec<Container>,
    pub(super) config: Config,
    pub(super) disk_full: bool,
    pub(super) journal_stopped: bool,
    /// The daemon did not run all the time since the last comparison.
    pub(super) daemon_was_down: bool,
}

impl World {
    /// Every container is created and none runs; nothing is plugged in.
    pub(super) fn new() -> Self {
        let container = |kind: &'static Kind| Container {
            kind,
            name: kind.name,
            life: Life::Stopped,
            held: kind.has_labels() && kind.wrapped,
            was_held: kind.has_labels() && kind.wrapped,
            on_record: true,
            started_unrecorded: false,
            spoilt: BTreeSet::new(),
        };
        Self {
            sockets: [None; SOCKETS],
            containers: KINDS.iter().map(container).collect(),
            config: Config {
                inject: Inject::Auto,
                edited: false,
            },
            disk_full: false,
            journal_stopped: false,
            daemon_was_down: false,
        }
    }

    /// Where a stick is plugged in.
    pub(super) fn socket_of(&self, stick: Stick) -> Option<usize> {
        self.sockets.iter().position(|there| *there == Some(stick))
    }

    pub(super) fn is_spoilt(&self) -> bool {
        let mut containers = self.containers.iter();
        containers.any(|container| !container.spoilt.is_empty())
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Plug { socket, stick } => self.sockets[socket] = Some(stick),
            Operation::Unplug { socket } => self.sockets[socket] = None,
            Operation::Start(c) | Operation::Restart(c) => self.begin(c),
            // Of a container that nobody knows every port of the configuration waits, and no label is known.
            Operation::Recreate(c) => {
                self.containers[c].on_record = !self.containers[c].kind.has_labels();
                self.begin(c);
            }
            Operation::Unpause(c) => self.containers[c].life = Life::Running,
            Operation::Stop(c) | Operation::Kill(c) | Operation::KillShim(c) => {
                self.containers[c].life = Life::Stopped;
            }
            Operation::Pause(c) => self.containers[c].life = Life::Paused,
            Operation::Swap(a, b) => {
                let name = self.containers[a].name;
                self.containers[a].name = self.containers[b].name;
                self.containers[b].name = name;
                self.containers[a].on_record = false;
                self.containers[b].on_record = false;
            }
            Operation::Rename(c, name) => {
                self.containers[c].name = name;
                self.containers[c].on_record = false;
            }
            Operation::Mess(c, mess, path) => {
                if mess != Mess::RemoveLinks {
                    self.containers[c].spoilt.insert(path);
                }
            }
            Operation::Reload(config) => self.config = config,
            Operation::FillDisk => self.disk_full = true,
            Operation::MendDisk => self.disk_full = false,
            Operation::StopJournal => self.journal_stopped = true,
            Operation::ContinueJournal => self.journal_stopped = false,
            Operation::KillDaemon { .. } | Operation::StopDaemon { .. } | Operation::Upgrade => {
                self.daemon_was_down = true;
            }
            Operation::Blink { .. }
            | Operation::Update(..)
            | Operation::Exec(_)
            | Operation::KillKeeper(_)
            | Operation::KillEngine { .. }
            | Operation::KillContainerd { .. } => {}
        }
    }

    /// The operations of a round are about to be applied.
    pub(super) fn begin_round(&mut self) {
        for container in &mut self.containers {
            container.was_held = container.held;
        }
    }

    /// The operations of a round have been applied. A container that started without the daemon was
    /// started as it was on record, perhaps without a port; `status` says so as long as the disk takes
    /// nothing.
    pub(super) fn end_round(&mut self) {
        let down = self.daemon_was_down;
        for container in &mut self.containers {
            container.held &= !(down && container.started_unrecorded);
        }
    }

    /// Everything was as it must be: what was done at a path of a port that is plugged in has been
    /// undone. Who the containers are may have been written.
    pub(super) fn settle(&mut self, written: bool) {
        self.daemon_was_down = false;
        let written = written && !self.disk_full;
        for number in 0..self.containers.len() {
            self.containers[number].on_record |= written;
            self.containers[number].started_unrecorded = false;
            let ports = ports_of(self, &self.containers[number]).into_iter();
            let plugged = ports.filter(|port| self.socket_of(port.stick).is_some());
            let nodes: BTreeSet<_> = plugged.filter_map(|port| port.node).collect();
            let served = can_be_served(self, &self.containers[number]);
            self.containers[number]
                .spoilt
                .retain(|path| !served || !nodes.contains(path));
        }
    }

    /// A container has a new /dev at every start.
    fn begin(&mut self, container: usize) {
        let container = &mut self.containers[container];
        container.life = Life::Running;
        container.spoilt.clear();
        container.started_unrecorded = !container.on_record;
        let has_one = |ports: &[Port; 3]| ports.iter().any(|port| port.is_of(container.name));
        let has_port = container.kind.has_labels() || PORTS.iter().all(has_one);
        container.held = container.kind.wrapped && has_port;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those with a label of a port of its own, and with none.
    const LABELLED: usize = 7;
    const BLUE: usize = 2;

    /// Whether a container is held if that happens after everything was right and, but for a full disk,
    /// was written.
    fn is_held(container: usize, before: &[Operation], round: &[Operation]) -> bool {
        let mut world = World::new();
        for round in [before, round] {
            world.settle(true);
            world.begin_round();
            round.iter().for_each(|operation| world.apply(operation));
            world.end_round();
        }
        world.containers[container].held
    }

    #[test]
    fn a_start_without_the_daemon_goes_by_what_was_written() {
        let renames = [
            Operation::Rename(BLUE, "white"),
            Operation::Rename(BLUE, "bluebell"),
        ];
        let full = [&[Operation::FillDisk], &renames[..]].concat();
        let (start, down) = (Operation::Start(BLUE), Operation::KillDaemon { down: 0 });
        assert!(is_held(BLUE, &full, std::slice::from_ref(&start)));
        assert!(is_held(BLUE, &renames, &[start.clone(), down.clone()]));
        assert!(!is_held(BLUE, &full, &[start.clone(), down.clone()]));
        let renamed = [&renames[..], &[down.clone(), start]].concat();
        assert!(!is_held(BLUE, &[], &renamed));
        let recreated = [down.clone(), Operation::Recreate(BLUE)];
        assert!(is_held(BLUE, &full, &recreated));
        // It was held before the daemon went.
        assert!(is_held(BLUE, &[Operation::Start(BLUE)], &[down]));
    }

    #[test]
    fn labels_of_a_new_container_are_not_known_without_the_daemon_until_they_were_written() {
        let recreated = [Operation::FillDisk, Operation::Recreate(LABELLED)];
        let mended = [Operation::MendDisk, Operation::FillDisk];
        let (restart, down) = (
            Operation::Restart(LABELLED),
            Operation::KillDaemon { down: 0 },
        );
        let with = |operations: &[Operation]| [&mended[..], operations].concat();
        assert!(is_held(
            LABELLED,
            &recreated,
            &with(std::slice::from_ref(&restart))
        ));
        assert!(!is_held(
            LABELLED,
            &recreated,
            &with(&[restart.clone(), down.clone()])
        ));
        assert!(is_held(LABELLED, &recreated[1..], &[restart, down]));
    }
}
