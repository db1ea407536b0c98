//! Which opens are held and for how long, and the messages of the wrapper, the keepers and the
//! daemon. Pure.
//!
//! Imports: `model`.

use serde::{Deserialize, Serialize};

use crate::model::match_key::LINK_DIRECTORIES;
use crate::model::{Hold, Holds, NodePath};

pub mod changes;
pub mod description;
pub mod ended_opens;
pub mod held_opens;
pub mod in_vain;
pub mod protocol;
pub mod run_dir;

/// For how long an open is held where the port's definition does not say.
pub const DEFAULT_HOLD: Hold = Hold::Seconds(DEFAULT_SECONDS);
pub const DEFAULT_SECONDS: u64 = 60;

/// How many opens of a process are held at once, where the configuration does not say. Node has four
/// threads in which it opens and reads files (libuv, docs/src/threadpool.rst), and one has to be left.
pub const DEFAULT_PER_PROCESS: u16 = 3;

/// The longest path whose open is held, in bytes. That is as long as a file name can be (NAME_MAX
/// in linux/limits.h).
pub const LONGEST_PATH: usize = 255;

/// A port of a container, as far as holding is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPort {
    pub port: String,
    /// The paths in the container that lead to it, links among them.
    pub names: Vec<String>,
    /// Its node is in place, with owner, mode and links: an open of it will succeed.
    pub ready: bool,
    pub hold: Hold,
}

impl ContainerPort {
    /// A port that is not ready.
    pub fn waiting<'a>(
        port: &str,
        paths: impl IntoIterator<Item = &'a NodePath>,
        hold: Hold,
    ) -> Self {
        Self {
            port: port.to_owned(),
            names: paths.into_iter().map(ToString::to_string).collect(),
            ready: false,
            hold,
        }
    }
}

/// The ports of a container, as far as holding is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPorts {
    pub ports: Vec<ContainerPort>,
    /// The container asked for every USB serial port: any name of that kind may become one.
    pub every: bool,
    /// For how long opens of such a name are held; `None` is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_hold: Option<Hold>,
    /// Other names that belong to those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub every_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Holds::is_wide")]
    pub holds: Holds,
    /// How many opens of a process are held at once; `None` is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_process: Option<u16>,
}

impl ContainerPorts {
    /// For how long an open of `path` is held; `None` if it goes on at once.
    pub fn hold(&self, path: &str) -> Option<Hold> {
        let hold = match self.port_at(path) {
            _ if path.len() > LONGEST_PATH => return None,
            Some(port) if port.ready => return None,
            Some(port) => port.hold,
            None if self.may_be_one_of_every(path) => self.hold_of_every(),
            None => return None,
        };
        (hold != Hold::Off).then_some(hold)
    }

    /// By which of the names that an open comes through it is known: by the last, unless an earlier one
    /// is another port's. The link of a device may still lead to where that was plugged in before.
    pub fn deciding<'a>(&self, names: &'a [NodePath]) -> Option<&'a NodePath> {
        let port = |name: &NodePath| Some(&self.port_at(name.as_str())?.port);
        let last = names.last()?;
        let first = names.iter().find(|name| port(name).is_some());
        first
            .filter(|first| port(first) != port(last))
            .or(Some(last))
    }

    /// Whether any open may be held, now or later.
    pub fn may_hold(&self) -> bool {
        let holds = |port: &ContainerPort| port.hold != Hold::Off;
        self.hold_of_every() != Hold::Off || self.ports.iter().any(holds)
    }

    /// Whether there is a path of which [`Self::hold`] holds an open.
    pub fn holds_any(&self) -> bool {
        let holds = |port: &ContainerPort| !port.ready && port.hold != Hold::Off;
        self.hold_of_every() != Hold::Off || self.ports.iter().any(holds)
    }

    /// The names of which early opens are held, as far as they are known, and `*` for any name.
    pub fn held_names(&self) -> Vec<&str> {
        let of_every = match self.hold_of_every() {
            Hold::Off => None,
            _ => Some(USB_PORTS.into_iter().chain(names(&self.every_names))),
        };
        let holds = |port: &&ContainerPort| port.hold != Hold::Off;
        let of_ports = self.ports.iter().filter(holds);
        let of_ports = of_ports.flat_map(|port| names(&port.names));
        of_ports.chain(of_every.into_iter().flatten()).collect()
    }

    fn hold_of_every(&self) -> Hold {
        match self.every {
            true => self.every_hold.unwrap_or(DEFAULT_HOLD),
            false => Hold::Off,
        }
    }

    fn may_be_one_of_every(&self, path: &str) -> bool {
        could_be_a_usb_port(path) || self.every_names.iter().any(|name| name == path)
    }

    /// Whether `path` leads to a port that is ready.
    pub fn is_ready(&self, path: &str) -> bool {
        self.port_at(path).is_some_and(|port| port.ready)
    }

    /// The port that `path` leads to; the path itself where that is not known. No name of a port has
    /// a slash.
    pub fn port_or_path<'a>(&'a self, path: &'a str) -> &'a str {
        self.port_at(path).map_or(path, |port| &port.port)
    }

    /// How many opens of a process are held at once.
    pub fn per_process(&self) -> usize {
        self.per_process.unwrap_or(DEFAULT_PER_PROCESS).into()
    }

    fn port_at(&self, path: &str) -> Option<&ContainerPort> {
        let leads_there = |port: &&ContainerPort| port.names.iter().any(|name| name == path);
        self.ports.iter().find(leads_there)
    }
}

fn names(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str)
}

/// What [`could_be_a_usb_port`] takes for one.
const USB_PORTS: [&str; 4] = [
    "/dev/ttyUSB*",
    "/dev/ttyACM*",
    "/dev/serial/by-id/*",
    "/dev/serial/by-path/*",
];

/// The kernel's names for USB serial ports, and udev's.
pub fn could_be_a_usb_port(path: &str) -> bool {
    let numbered = |prefix: &str| {
        let number = path.strip_prefix(prefix);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_in = |directory: &&str| {
        let name = path
            .strip_prefix(*directory)
            .and_then(|rest| rest.strip_prefix('/'));
        name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
    };
    // No path of a port has them (`NodePath`).
    if path.chars().any(char::is_control) {
        return false;
    }
    numbered("/dev/ttyUSB") || numbered("/dev/ttyACM") || LINK_DIRECTORIES.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(ready: bool, hold: Hold) -> ContainerPorts {
        let names = ["/dev/zwave", "/dev/serial/by-id/x"];
        let paths = names.map(|name| name.parse().unwrap());
        let port = ContainerPort {
            ready,
            ..ContainerPort::waiting("zwave", &paths, hold)
        };
        ContainerPorts {
            ports: vec![port],
            ..ContainerPorts::default()
        }
    }

    #[test]
    fn a_container_whose_ports_all_have_no_hold_never_holds() {
        assert!(ports(true, DEFAULT_HOLD).may_hold());
        assert!(!ports(false, Hold::Off).may_hold());
        assert!(!ContainerPorts::default().may_hold());
        let every = |every_hold| ContainerPorts {
            every: true,
            every_hold,
            ..ports(false, Hold::Off)
        };
        assert!(every(None).may_hold());
        assert!(every(Some(Hold::Forever)).may_hold());
        assert!(!every(Some(Hold::Off)).may_hold());
    }

    #[test]
    fn an_open_is_known_by_its_last_name_unless_an_earlier_one_is_another_ports() {
        let known = ports(false, DEFAULT_HOLD);
        for (names, expected) in [
            (&["/dev/zwave"][..], "/dev/zwave"),
            (&["/dev/stick", "/dev/zwave"], "/dev/zwave"),
            (
                &["/dev/serial/by-id/x", "/dev/ttyUSB9"],
                "/dev/serial/by-id/x",
            ),
            (&["/dev/serial/by-id/x", "/dev/zwave"], "/dev/zwave"),
            (&["/dev/ttyUSB0", "/dev/ttyUSB9"], "/dev/ttyUSB9"),
        ] {
            let names: Vec<NodePath> = names.iter().map(|name| name.parse().unwrap()).collect();
            assert_eq!(known.deciding(&names).unwrap().as_str(), expected);
        }
        assert_eq!(known.deciding(&[]), None);
    }

    #[test]
    fn only_names_of_ports_that_are_not_ready_are_held() {
        let waiting = ports(false, DEFAULT_HOLD);
        assert_eq!(waiting.hold("/dev/zwave"), Some(DEFAULT_HOLD));
        assert_eq!(waiting.hold("/dev/serial/by-id/x"), Some(DEFAULT_HOLD));
        assert_eq!(waiting.hold("/dev/ttyUSB0"), None);
        assert_eq!(ports(true, DEFAULT_HOLD).hold("/dev/zwave"), None);
        assert_eq!(ports(false, Hold::Off).hold("/dev/zwave"), None);
        let every = ContainerPorts {
            every: true,
            ..ports(true, DEFAULT_HOLD)
        };
        for path in [
            "/dev/ttyUSB0",
            "/dev/ttyACM12",
            "/dev/serial/by-id/y",
            "/dev/serial/by-path/y",
        ] {
            assert_eq!(every.hold(path), Some(DEFAULT_HOLD), "{path}");
            let off = ContainerPorts {
                every_hold: Some(Hold::Off),
                ..every.clone()
            };
            assert_eq!(off.hold(path), None, "{path}");
        }
        for path in [
            "/dev/ttyUSB",
            "/dev/ttyUSBx",
            "/dev/ttyS0",
            "/dev/ptmx",
            "/dev/pts/0",
            "/dev/tty",
            "/dev/serial/by-id/",
            "/dev/serial/by-id/a/b",
            "/dev/serial/by-id/a\n",
            "/dev/zwave",
        ] {
            assert_eq!(every.hold(path), None, "{path}");
        }
        assert!(waiting.holds_any() && every.holds_any());
        assert!(!ports(true, DEFAULT_HOLD).holds_any() && !ports(false, Hold::Off).holds_any());
    }

    #[test]
    fn a_name_that_was_an_offered_port_is_held_as_the_names_of_usb_ports_are() {
        let every = ContainerPorts {
            every: true,
            every_names: vec!["/dev/ttyXRUSB0".into()],
            ..ContainerPorts::default()
        };
        assert_eq!(every.hold("/dev/ttyXRUSB0"), Some(DEFAULT_HOLD));
        assert_eq!(every.hold("/dev/ttyXRUSB1"), None);
        for name in every.held_names() {
            let name = name.replace('*', "7");
            assert_eq!(every.hold(&name), Some(DEFAULT_HOLD), "{name}");
        }
        let other = ContainerPorts {
            every: false,
            ..every
        };
        assert_eq!(other.hold("/dev/ttyXRUSB0"), None);
        assert_eq!(other.held_names(), [""; 0]);
    }

    #[test]
    fn a_path_that_is_longer_than_any_file_name_is_not_held() {
        let every = ContainerPorts {
            every: true,
            ..ContainerPorts::default()
        };
        let path = |length| format!("{:x<length$}", "/dev/serial/by-id/");
        assert_eq!(every.hold(&path(LONGEST_PATH)), Some(DEFAULT_HOLD));
        assert_eq!(every.hold(&path(LONGEST_PATH + 1)), None);
    }
}
