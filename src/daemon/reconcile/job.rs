//! The work on one container, before the start in which it runs is known.

use std::cell::RefCell;
use std::time::Instant;

use crate::daemon::blocking::Blocking;
use crate::daemon::notifier::Notifier;
use crate::daemon::shared::Shared;
use crate::daemon::state::State;
use crate::engine::Engine;
use crate::model::inventory::ContainerId;

/// The work on one container.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// `None` while it does not answer.
    pub engine: Option<&'a Engine>,
    pub state: &'a RefCell<State>,
    pub notifier: &'a Notifier,
    pub blocking: &'a Blocking,
    pub id: &'a ContainerId,
    pub name: &'a str,
    /// When the event came that caused it.
    pub since: Instant,
}

impl<'a> Job<'a> {
    pub fn new(
        shared: &'a Shared,
        engine: Option<&'a Engine>,
        id: &'a ContainerId,
        name: &'a str,
        since: Instant,
    ) -> Self {
        Self {
            engine,
            state: &shared.state,
            notifier: &shared.notifier,
            blocking: &shared.blocking,
            id,
            name,
            since,
        }
    }
}
