//! What containers are looked at with.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::host::Host;
use crate::daemon::state::World;
use crate::engine::{Engine, EngineInfo};
use crate::model::inventory::ContainerId;

pub(super) struct Scene {
    pub(super) engine: Engine,
    pub(super) info: EngineInfo,
    pub(super) world: RefCell<World>,
    pub(super) host: Host,
    /// Containers whose keepers answer, where they can be asked.
    pub(super) keepers: Option<BTreeSet<ContainerId>>,
}
