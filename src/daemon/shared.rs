//! What the loop, the work on containers and the connections of the daemon share.

use std::cell::RefCell;

use crate::daemon::blocking::Blocking;
use crate::daemon::notifier::Notifier;
use crate::daemon::state::World;

#[derive(Debug)]
pub struct Shared {
    /// Borrowed for a moment at a time, never over an await.
    pub world: RefCell<World>,
    pub notifier: Notifier,
    pub blocking: Blocking,
}

impl Shared {
    pub fn new(world: World) -> Self {
        Self {
            world: RefCell::new(world),
            notifier: Notifier::default(),
            blocking: Blocking::default(),
        }
    }
}
