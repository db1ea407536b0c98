//! What an engine tells of its containers.

use crate::model::inventory::{Container, ContainerId, ContainerState};

/// What has happened to a container.
#[derive(Debug, Clone)]
pub enum Event {
    /// It is like this: it is being created, or its wrapper tells of it.
    Described(ContainerId, Container),
    Changed(ContainerId, Change),
    Removed(ContainerId),
    /// Somebody is stopping it, which may take a while.
    Stopping(ContainerId),
}

/// What an event tells of a container. It is newer than what a list says: the engine announces an unpause
/// before it updates the copy of its state that lists are made from (moby 20.10, daemon/unpause.go).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub name: Option<String>,
    pub state: Option<ContainerState>,
}

impl Event {
    /// The container whose state it tells.
    pub(super) fn tells_of(&self) -> Option<&ContainerId> {
        match self {
            Self::Described(id, _) | Self::Changed(id, _) | Self::Removed(id) => Some(id),
            Self::Stopping(_) => None,
        }
    }

    /// Both events in one, of the same container.
    #[must_use]
    pub(super) fn followed_by(self, later: Self) -> Self {
        match (self, later) {
            (Self::Described(id, container), Self::Changed(_, change)) => {
                Self::Described(id, change.of(container))
            }
            (Self::Changed(id, change), Self::Changed(_, later)) => Self::Changed(
                id,
                Change {
                    name: later.name.or(change.name),
                    state: later.state.or(change.state),
                },
            ),
            (_, later) => later,
        }
    }
}

impl Change {
    /// The container after it.
    #[must_use]
    pub fn of(self, container: Container) -> Container {
        Container {
            name: self.name.unwrap_or(container.name),
            state: self.state.unwrap_or(container.state),
            ..container
        }
    }
}
