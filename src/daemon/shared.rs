//! The state that the loop, the work on containers and the connections of the daemon share.

use std::cell::RefCell;

use crate::daemon::blocking::Blocking;
use crate::daemon::notifier::Notifier;
use crate::daemon::state::State;

#[derive(Debug)]
pub struct Shared {
    /// Never borrowed across an await.
    pub state: RefCell<State>,
    pub notifier: Notifier,
    pub blocking: Blocking,
}

impl Shared {
    pub fn new(state: State) -> Self {
        Self {
            state: RefCell::new(state),
            notifier: Notifier::default(),
            blocking: Blocking::default(),
        }
    }
}
