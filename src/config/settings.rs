//! The configuration, checked. Pure.

use serde::Deserialize;

use crate::model::Holds;
use crate::model::label::NeededLabels;
use crate::model::port::Port;
use crate::model::selector::ContainerMatch;

/// The configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The sockets of the engines; `None` are those that are found.
    pub engines: Option<Vec<String>>,
    pub labels: LabelPolicy,
    pub inject: InjectPolicy,
    pub grant: GrantPolicy,
    /// Whether udev's uevents of ports are sent to their containers.
    pub announce: bool,
    /// Which opens are held, in containers whose labels do not say.
    pub holds: Holds,
    /// How many opens of a process are held at once; `None` is the default.
    pub held_per_process: Option<u16>,
    /// By name; each name once.
    pub ports: Vec<Port>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engines: None,
            labels: LabelPolicy::default(),
            inject: InjectPolicy::default(),
            grant: GrantPolicy::default(),
            announce: true,
            holds: Holds::default(),
            held_per_process: None,
            ports: Vec::new(),
        }
    }
}

impl Settings {
    /// The labels of containers by which anything is decided.
    pub fn needed_labels(&self) -> NeededLabels {
        let containers = self.ports.iter().flat_map(|port| &port.containers);
        NeededLabels::new(containers.filter_map(ContainerMatch::label_key))
    }
}

/// Which container labels count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelPolicy {
    /// Those that were set when the container was created.
    #[default]
    Container,
    /// Those of the image too: any image can then ask for ports.
    Image,
    Off,
}

/// How a node is made in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InjectPolicy {
    /// By `docker exec`, and from outside where that does not work.
    #[default]
    Auto,
    /// By `docker exec` alone.
    Exec,
    /// From outside alone, through its root directory.
    Namespace,
}

/// Whether containers are granted access to their ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantPolicy {
    /// What their definition lacks, while the port is plugged in.
    #[default]
    Auto,
    /// They have the access that their definition gives.
    Off,
}
