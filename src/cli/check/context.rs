//! Everything that the checks of a container need beside the container.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::host::Host;
use crate::daemon::state::State;
use crate::engine::Engine;
use crate::engine::runtimes::EngineInfo;
use crate::model::inventory::ContainerId;

pub(super) struct Context {
    pub(super) engine: Engine,
    pub(super) info: EngineInfo,
    pub(super) state: RefCell<State>,
    pub(super) host: Host,
    /// The containers whose keepers answer; `None` if they cannot be asked.
    pub(super) keepers: Option<BTreeSet<ContainerId>>,
}
