//! The document at `/v1/status`. Pure.

use serde::{Deserialize, Serialize};

/// The document at `/v1/status`. New fields may be added; none is ever changed or removed. Times are
/// in UTC, as in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub schema: u32,
    /// The daemon's own version.
    pub version: String,
    /// Whether the engine, or one of several, has listed its containers.
    pub engine: bool,
    /// Why the engine does not answer; `None` while it does.
    #[serde(default)]
    pub engine_error: Option<String>,
    /// The engines; none where Docker is the only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<EngineStatus>,
    /// Why the state for the next boot cannot be written; `None` while it can.
    #[serde(default)]
    pub state_error: Option<String>,
    /// Why the configuration was rejected when it was last read again; `None` if it is in force.
    #[serde(default)]
    pub config_error: Option<String>,
    /// How often the configuration was read again. Older daemons do not say.
    #[serde(default)]
    pub reloads: Option<u64>,
    pub ports: Vec<PortStatus>,
    pub held: Vec<HeldStatus>,
}

/// An engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// E.g. `podman`.
    pub name: String,
    pub answers: bool,
    /// Why it does not answer.
    #[serde(default)]
    pub error: Option<String>,
}

/// One port in one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    pub port: String,
    pub container: String,
    pub container_id: String,
    /// The container's engine; `None` is Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Whether the container does not run.
    #[serde(default)]
    pub stopped: bool,
    /// Its path in the container, if that is known.
    pub node: Option<String>,
    /// The device's sysname, while it is plugged in.
    pub device: Option<String>,
    pub state: PortState,
    /// Since when it has been in that state, as far as this daemon has seen.
    #[serde(default)]
    pub since: Option<String>,
    /// Why it is not ready.
    pub cause: Option<String>,
    /// What to do about it.
    #[serde(rename = "remedy")]
    pub fix: Option<String>,
    /// What is worth knowing of it, though it keeps nobody from opening its node.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether a keeper holds early opens in this container.
    pub holding: bool,
    /// Whether its node is bind-mounted, since the container's users are remapped: the container
    /// cannot open a node on a file system of its own.
    #[serde(default)]
    pub bound: bool,
}

/// The state of a port in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// Its node is in place and may be opened.
    Ready,
    /// Its device is not plugged in, or its container does not run.
    Waiting,
    /// A problem prevents it; `cause` and `remedy` say more.
    Failed,
}

/// A held open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    pub container: String,
    pub container_id: String,
    /// The container's engine; `None` is Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The port that it waits for, if the path is one of a port's.
    #[serde(default)]
    pub port: Option<String>,
    pub path: String,
    /// The thread's id in the host's numbers.
    pub tid: u32,
    /// The thread's name (proc(5), comm).
    pub command: String,
    /// The process that the thread belongs to.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Whether that process has no other thread, and so does nothing else while it waits.
    #[serde(default)]
    pub only_thread: bool,
    #[serde(default)]
    pub since: Option<String>,
    /// How long it has waited, in milliseconds.
    pub waited_ms: u64,
    /// How long it still may wait, in milliseconds; `None` is without limit.
    pub left_ms: Option<u64>,
}

impl Status {
    /// Whether both are the same, without the times that pass by themselves.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.without_times() == other.without_times()
    }

    fn without_times(&self) -> Self {
        let mut status = self.clone();
        for held in &mut status.held {
            (held.waited_ms, held.left_ms) = (0, None);
        }
        status
    }
}
