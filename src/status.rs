//! What the daemon tells of itself: every port in every container, and every open that waits.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::inventory::{ContainerId, ContainerState};
use crate::protocol::HeldOpen;
use crate::report::Reports;
use crate::world::World;

/// The document at `/v1/status`. Fields are added to it, never changed or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub schema: u32,
    /// The daemon's own version.
    pub version: String,
    /// Whether the engine has told which containers there are.
    pub engine: bool,
    pub ports: Vec<PortStatus>,
    pub held: Vec<HeldStatus>,
}

/// One port in one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    pub port: String,
    pub container: String,
    pub container_id: String,
    /// Its path in the container, where that is known.
    pub node: Option<String>,
    /// The device's sysname, while it is plugged in.
    pub device: Option<String>,
    pub state: PortState,
    /// Why it is as it is, and what to do about it.
    pub cause: Option<String>,
    pub remedy: Option<String>,
    /// Whether a keeper holds early opens in this container.
    pub holding: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// Its node is in place.
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
    pub path: String,
    /// The thread, in the host's numbers, and its name.
    pub tid: u32,
    pub command: String,
    pub waited_ms: u64,
    /// `None` is for ever.
    pub left_ms: Option<u64>,
}

/// Puts the document together.
pub fn status(world: &World, reports: &Reports) -> Status {
    let mut ports = Vec::new();
    for (id, share) in &world.assigned.shares {
        let Some(container) = world.inventory.containers.get(id) else {
            continue;
        };
        let row = |port: &str, node: Option<String>, device: Option<String>, state| {
            let trouble = reports
                .of(id)
                .find(|trouble| trouble.port.as_deref().is_none_or(|of| of == port));
            let failed = trouble.filter(|_| state != PortState::Ready);
            PortStatus {
                port: port.to_owned(),
                container: container.name.clone(),
                container_id: id.0.clone(),
                node,
                device,
                state: if failed.is_some() {
                    PortState::Failed
                } else {
                    state
                },
                cause: failed.map(|trouble| trouble.cause.clone()),
                remedy: failed.map(|trouble| trouble.remedy.clone()),
                holding: world.held.contains_key(id),
            }
        };
        let Ok(share) = share else {
            ports.push(row("", None, None, PortState::Failed));
            continue;
        };
        for want in &share.wants {
            let ready = world.is_ready(id, want) && container.state != ContainerState::Stopped;
            ports.push(row(
                &want.port,
                Some(want.node.to_string()),
                Some(want.device.clone()),
                if ready {
                    PortState::Ready
                } else {
                    PortState::Waiting
                },
            ));
        }
        for absent in &share.absent {
            let node = absent.node.as_ref().map(ToString::to_string);
            ports.push(row(&absent.port, node, None, PortState::Waiting));
        }
    }
    let held = world.held.iter().flat_map(|(id, heard)| {
        let container = world.inventory.containers.get(id);
        let name = container.map(|container| container.name.clone());
        heard.held_status(id, &name.unwrap_or_default())
    });
    Status {
        schema: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: world.listed,
        ports,
        held: held.collect(),
    }
}

/// What a keeper has told, and when.
#[derive(Debug)]
pub struct HeardHolds {
    pub at: Instant,
    pub held: Vec<HeldOpen>,
}

impl HeardHolds {
    /// Times go on since the keeper has told them.
    fn held_status(&self, id: &ContainerId, container: &str) -> Vec<HeldStatus> {
        let since = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let held = self.held.iter().map(|held| HeldStatus {
            container: container.to_owned(),
            container_id: id.0.clone(),
            path: held.path.clone(),
            tid: held.tid,
            command: held.command.clone(),
            waited_ms: held.waited_ms.saturating_add(since),
            left_ms: held.left_ms.map(|left| left.saturating_sub(since)),
        });
        held.collect()
    }
}
