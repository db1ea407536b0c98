//! Everything that the checks of a container need beside the container.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::host::Host;
use crate::daemon::state::State;
use crate::engine::runtimes::EngineInfo;
use crate::hold::protocol::HeldOpen;
use crate::model::inventory::{ContainerId, EngineName};

pub(super) struct Context {
    pub(super) infos: BTreeMap<EngineName, EngineInfo>,
    pub(super) state: RefCell<State>,
    pub(super) host: Host,
    /// The containers whose keepers answer, with the opens that they hold; `None` if they cannot be
    /// asked.
    pub(super) keepers: Option<BTreeMap<ContainerId, Vec<HeldOpen>>>,
}
