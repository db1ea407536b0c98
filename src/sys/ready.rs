//! Waits for one descriptor (poll(2)).

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Which of these events has come within a time, and whether there is an error or a hang-up, which are
/// always looked for. Nothing if the time is over.
///
/// # Errors
/// The descriptor cannot be polled, or a signal has come.
pub fn wait(fd: &impl AsFd, events: PollFlags, limit: Duration) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(fd.as_fd(), events)];
    poll(
        &mut polled,
        PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX),
    )?;
    Ok(polled[0].revents().unwrap_or(PollFlags::empty()))
}

/// Whether the other end of a descriptor has hung up, or does so within a time.
pub fn hangs_up(fd: &impl AsFd, limit: Duration) -> bool {
    let events = wait(fd, PollFlags::empty(), limit);
    events.is_ok_and(|events| !events.is_empty())
}
