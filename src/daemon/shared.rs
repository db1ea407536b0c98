//! The state that the loop, the work on containers and the connections of the daemon share.

use std::cell::RefCell;
use std::rc::Rc;

use crate::daemon::blocking::Blocking;
use crate::daemon::notifier::Notifier;
use crate::daemon::state::State;

#[derive(Debug)]
pub struct Shared {
    /// Never borrowed across an await.
    pub state: RefCell<State>,
    pub notifier: Notifier,
    pub blocking: Blocking,
    pub takeovers: Takeovers,
}

/// The keepers that have ended, and of which another one has not taken over yet. Only this daemon has
/// what is handed over.
#[derive(Debug, Default)]
pub struct Takeovers(Rc<()>);

impl Takeovers {
    /// One that lasts as long as the returned value.
    pub fn begin(&self) -> Rc<()> {
        self.0.clone()
    }

    pub fn are_done(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

impl Shared {
    pub fn new(state: State) -> Self {
        Self {
            state: RefCell::new(state),
            notifier: Notifier::default(),
            blocking: Blocking::default(),
            takeovers: Takeovers::default(),
        }
    }
}
