//! Which opens wait, for how long, and what the wrapper, the keepers and the daemon say to each
//! other. Pure.
//!
//! Imports: `model`.

use serde::{Deserialize, Serialize};

use crate::model::Hold;

pub mod held_opens;
pub mod protocol;

/// For how long an open is held where nobody says otherwise.
pub const DEFAULT_HOLD: Hold = Hold::Seconds(DEFAULT_SECONDS);
pub const DEFAULT_SECONDS: u64 = 60;

/// A port as far as holding matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPort {
    pub port: String,
    /// The paths in the container that lead to it, links among them.
    pub names: Vec<String>,
    /// Its node is in place, with owner, mode and links: an open of it will succeed.
    pub ready: bool,
    pub hold: Hold,
}

/// What is to be held in one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPorts {
    pub ports: Vec<ContainerPort>,
    /// The container asked for every USB serial port, so that any name of that kind may yet
    /// become one.
    pub every: bool,
}

impl ContainerPorts {
    /// For how long an open of `path` is to be held; `None` if it is to go on at once.
    pub fn hold(&self, path: &str) -> Option<Hold> {
        let names = |managed: &&ContainerPort| managed.names.iter().any(|name| name == path);
        let hold = match self.ports.iter().find(names) {
            Some(managed) if managed.ready => return None,
            Some(managed) => managed.hold,
            None if self.every && could_be_a_usb_port(path) => DEFAULT_HOLD,
            None => return None,
        };
        (hold != Hold::Off).then_some(hold)
    }
}

/// The kernel's names for USB serial ports, and udev's.
fn could_be_a_usb_port(path: &str) -> bool {
    let numbered = |prefix: &str| {
        let number = path.strip_prefix(prefix);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let below = |directory: &str| {
        let name = path.strip_prefix(directory);
        name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
    };
    numbered("/dev/ttyUSB")
        || numbered("/dev/ttyACM")
        || below("/dev/serial/by-id/")
        || below("/dev/serial/by-path/")
}
