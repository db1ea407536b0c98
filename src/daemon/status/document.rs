//! What the daemon tells of itself: the document at `/v1/status`. Pure.

use serde::{Deserialize, Serialize};

/// The document at `/v1/status`. Fields are added to it, never changed or taken away. Times are
/// in UTC, as RFC 3339 has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub schema: u32,
    /// The daemon's own version.
    pub version: String,
    /// Whether the engine has told which containers there are.
    pub engine: bool,
    /// Why it does not answer now.
    #[serde(default)]
    pub engine_error: Option<String>,
    pub ports: Vec<PortStatus>,
    pub held: Vec<HeldStatus>,
}

/// One port in one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    pub port: String,
    pub container: String,
    pub container_id: String,
    /// Whether the container does not run.
    #[serde(default)]
    pub stopped: bool,
    /// Its path in the container, where that is known.
    pub node: Option<String>,
    /// The device's sysname, while it is plugged in.
    pub device: Option<String>,
    pub state: PortState,
    /// Since when it has been in that state, as far back as this daemon has seen it.
    #[serde(default)]
    pub since: Option<String>,
    /// Why it is not ready, and what to do about it.
    pub cause: Option<String>,
    #[serde(rename = "remedy")]
    pub fix: Option<String>,
    /// Whether a keeper holds early opens in this container.
    pub holding: bool,
    /// Whether its node is one that is bound in, since the container could not open any on a file
    /// system of its own: its users are remapped.
    #[serde(default)]
    pub bound: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// Its node is in place and may be opened.
    Ready,
    /// Its device is not plugged in, or its container does not run.
    Waiting,
    /// Something is in the way.
    Failed,
}

/// An open that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    pub container: String,
    pub container_id: String,
    /// The port that it waits for, where the path is a name of one.
    #[serde(default)]
    pub port: Option<String>,
    pub path: String,
    /// The thread, in the host's numbers, and its name.
    pub tid: u32,
    pub command: String,
    /// The process that the thread belongs to.
    #[serde(default)]
    pub pid: Option<u32>,
    #[serde(default)]
    pub since: Option<String>,
    pub waited_ms: u64,
    /// `None` is for ever.
    pub left_ms: Option<u64>,
}

impl Status {
    /// Whether it tells what the other one does, but for the times that go on by themselves.
    pub fn tells_the_same(&self, other: &Self) -> bool {
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
