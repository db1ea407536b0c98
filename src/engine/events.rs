//! What an engine tells of its containers.

use std::collections::BTreeMap;

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
    /// Adds what has happened during a list to it. The list alone may be older, and a container that has
    /// just been created would be gone for a moment.
    pub(super) fn add_to(self, list: &mut BTreeMap<ContainerId, Container>) {
        match self {
            Self::Described(id, mut container) => {
                let listed = list.get(&id).and_then(|listed| listed.image_labels.clone());
                container.image_labels = container.image_labels.or(listed);
                list.insert(id, container);
            }
            Self::Changed(id, change) => {
                if let Some(container) = list.remove(&id) {
                    list.insert(id, change.of(container));
                }
            }
            Self::Removed(id) => drop(list.remove(&id)),
            Self::Stopping(_) => {}
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
