//! What the daemon tells the service manager, if there is one (sd_notify(3)).

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

pub(super) fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}

/// Has it keep a descriptor for the next daemon (sd_notify(3), FDSTORE=1).
pub(super) fn store(name: &str, fd: &OwnedFd) {
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    if let Err(error) = sd_notify::notify_with_fds(&state, &[fd.as_fd()]) {
        tracing::debug!(%error, "the service manager cannot store a descriptor");
    }
}

/// Has it close a descriptor that it keeps. One that hangs up it closes by itself.
pub(super) fn forget(name: &str) {
    notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// The service manager's watchdog, which has to be notified within a limit (sd_notify(3), WATCHDOG=1).
pub(super) struct Watchdog {
    period: Duration,
    pub(super) next: Instant,
}

impl Watchdog {
    /// `None` if the service manager expects no notifications. The period is half its limit, as
    /// recommended (sd_watchdog_enabled(3)).
    pub(super) fn new() -> Option<Self> {
        let period = sd_notify::watchdog_enabled()? / 2;
        let next = Instant::now() + period;
        Some(Self { period, next })
    }

    pub(super) fn notify_if_due(&mut self) {
        if self.next <= Instant::now() {
            notify(&[NotifyState::Watchdog]);
            self.next = Instant::now() + self.period;
        }
    }
}
