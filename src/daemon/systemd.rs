//! What the daemon tells the service manager, if there is one (sd_notify(3)).

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;
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
    if let Ok(fd) = fd.try_clone() {
        in_order(name, Some(fd));
    }
}

/// Has it close a descriptor that it keeps. One that hangs up it closes by itself.
pub(super) fn forget(name: &str) {
    in_order(name, None);
}

/// Stores or forgets in a thread, one after the other: during a daemon-reload systemd does not read.
fn in_order(name: &str, fd: Option<OwnedFd>) {
    static QUEUE: OnceLock<Sender<(String, Option<OwnedFd>)>> = OnceLock::new();
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let queue = QUEUE.get_or_init(|| {
        let (sender, queue) = channel::<(String, _)>();
        thread::spawn(move || queue.iter().for_each(|(name, fd)| send(&name, fd)));
        sender
    });
    let _ = queue.send((name.to_owned(), fd));
}

fn send(name: &str, fd: Option<OwnedFd>) {
    let name = NotifyState::FdName(name);
    let sent = match fd {
        Some(fd) => sd_notify::notify_with_fds(&[NotifyState::FdStore, name], &[fd.as_fd()]),
        None => sd_notify::notify(&[NotifyState::FdStoreRemove, name]),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "cannot have a descriptor stored");
    }
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
