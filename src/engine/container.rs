//! A container as the engine describes it.

use std::collections::BTreeSet;

use crate::model::device_access::DeviceRules;
use crate::model::start::StartId;

/// A container, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Described {
    /// The name of the runtime that it was created for, e.g. `runc`.
    pub runtime: String,
    pub running: Option<Running>,
    pub mappings: Vec<Mapping>,
    /// Every device of its definition was there when it was described.
    pub(super) complete: bool,
}

/// A container as it runs, as far as it matters for serving it.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// The first process, in the host's numbers.
    pub pid: i64,
    pub start: StartId,
    pub paused: bool,
    /// The mount points of its bind mounts and volumes.
    pub foreign: BTreeSet<String>,
    pub rights: DeviceRules,
    pub mappings: Vec<Mapping>,
    /// No command in it has the capability to make nodes.
    pub drops_mknod: bool,
    /// The groups that its definition adds to its first process (`group_add`), by number or name.
    pub added_groups: Vec<String>,
    /// The names of the environment variables of its definition.
    pub environment: BTreeSet<String>,
}

/// A device that the container was created with (`--device`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The path on the host, often a link such as /dev/serial/by-id/X.
    pub host: String,
    /// The path in the container.
    pub container: String,
}
