//! Notifies the parts of the daemon of changes. They look up the new values in the state.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tokio::sync::{Notify, watch};

use crate::model::inventory::ContainerId;

/// One sender for each kind of receiver.
#[derive(Debug, Default)]
pub struct Notifier {
    /// For the connection to a container's keeper: its ports have changed.
    containers: RefCell<BTreeMap<ContainerId, watch::Sender<()>>>,
    /// For the connections to wrappers: the assignments were computed anew.
    assigned: watch::Sender<()>,
    /// For API clients that watch the status.
    watchers: watch::Sender<()>,
    /// For the loop: the assignments have to be computed anew.
    stale: Notify,
}

/// Waits for changes. Several changes between two calls count as one.
#[derive(Debug)]
pub struct Changed(watch::Receiver<()>);

impl Notifier {
    /// The ports of one container have changed.
    pub fn notify_container(&self, id: &ContainerId) {
        let mut containers = self.containers.borrow_mut();
        if let Some(sender) = containers.get(id) {
            if sender.send(()).is_err() {
                containers.remove(id);
            }
        }
        self.notify_watchers();
    }

    /// The ports of any container may have changed.
    pub fn notify_all(&self) {
        self.containers
            .borrow_mut()
            .retain(|_, sender| sender.send(()).is_ok());
        self.notify_watchers();
    }

    pub fn notify_assigned(&self) {
        self.assigned.send_replace(());
    }

    pub fn notify_watchers(&self) {
        self.watchers.send_replace(());
    }

    pub fn notify_stale(&self) {
        self.stale.notify_one();
    }

    /// Subscribes to the ports of one container.
    pub fn container(&self, id: &ContainerId) -> Changed {
        let mut containers = self.containers.borrow_mut();
        let sender = containers.entry(id.clone()).or_default();
        Changed(sender.subscribe())
    }

    pub fn assigned(&self) -> Changed {
        Changed(self.assigned.subscribe())
    }

    pub fn watchers(&self) -> Changed {
        Changed(self.watchers.subscribe())
    }

    pub async fn stale(&self) {
        self.stale.notified().await;
    }
}

impl Changed {
    /// Waits for a change since the last call. `None` if no more can come.
    pub async fn next(&mut self) -> Option<()> {
        self.0.changed().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn has_changed(changed: &mut Changed) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(pin!(changed.next()).poll(&mut context), Poll::Ready(_))
    }

    #[test]
    fn a_change_for_one_container_wakes_no_other_keeper() {
        let notifier = Notifier::default();
        let ids = ["a", "b"].map(|id| ContainerId::of_docker(id.into()));
        let mut changed = ids.each_ref().map(|id| notifier.container(id));
        let mut watcher = notifier.watchers();
        notifier.notify_container(&ids[0]);
        assert_eq!(changed.each_mut().map(has_changed), [true, false]);
        assert!(has_changed(&mut watcher));
        notifier.notify_all();
        assert_eq!(changed.each_mut().map(has_changed), [true, true]);
    }

    #[test]
    fn nothing_is_kept_of_a_connection_that_has_ended() {
        let notifier = Notifier::default();
        let id = ContainerId::of_docker("a".into());
        drop(notifier.container(&id));
        notifier.notify_container(&id);
        assert!(notifier.containers.borrow().is_empty());
    }
}
