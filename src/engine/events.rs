//! What an engine tells of its containers.

use crate::model::inventory::{Container, ContainerId};

/// What has happened to a container.
#[derive(Debug, Clone)]
pub enum Event {
    /// It is being created.
    Created(ContainerId, Container),
    /// It is like this now; `None` if it is gone.
    Changed(ContainerId, Option<Container>),
    /// Somebody is stopping it, which may take a while.
    Stopping(ContainerId),
}
