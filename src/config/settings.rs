//! The configuration in force: checked, and nothing optional that need not be. Pure.

use serde::Deserialize;

use crate::model::port::Port;

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub labels: LabelPolicy,
    pub inject: InjectPolicy,
    pub grant: GrantPolicy,
    /// Whether applications in containers are told of their ports as udevd tells those on the host.
    pub announce: bool,
    /// By name; each name once.
    pub ports: Vec<Port>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            labels: LabelPolicy::default(),
            inject: InjectPolicy::default(),
            grant: GrantPolicy::default(),
            announce: true,
            ports: Vec::new(),
        }
    }
}

/// Which container labels may ask for ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelPolicy {
    /// Those that were set when the container was created.
    #[default]
    Container,
    /// Those of the image too: any image that is pulled can then give itself the ports.
    Image,
    Off,
}

/// How a node gets into a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InjectPolicy {
    /// By a command in it, and from outside where that does not work.
    #[default]
    Auto,
    /// By a command in it alone.
    Exec,
    /// From outside alone, through its root directory.
    Namespace,
}

impl InjectPolicy {
    /// Whether a paused container can be served, in which no command can be run.
    pub fn serves_paused(self) -> bool {
        self != Self::Exec
    }
}

/// Whether containers are given the right to open their ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantPolicy {
    /// Exactly what they lack, for as long as the port is plugged in.
    #[default]
    Auto,
    /// They have what their definition gives them.
    Off,
}
