//! How the daemon hands over what is left of another keeper: in one message at standard input.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::PollFlags;

use crate::hold::protocol::{Handover, take};
use crate::keeper::TakeOver;
use crate::sys::{descriptors, ready};

/// How long the daemon may take to write it. It waits for the keeper before to retire.
const LIMIT: Duration = Duration::from_secs(5);

/// Says that it is ready, and reads the message. `None` if this keeper is not needed. What comes
/// after the message is of the connection to the daemon that it begins.
///
/// # Errors
/// The message does not come, or without its descriptors.
pub(super) fn receive(mut daemon: UnixStream) -> io::Result<Option<(UnixListener, TakeOver)>> {
    daemon.write_all(b"\n")?;
    let mut received = Vec::new();
    let mut fds = Vec::new();
    let handover: Handover = loop {
        if let Some(handover) = take(&mut received).map_err(io::Error::other)? {
            break handover;
        }
        if ready::wait(&daemon, PollFlags::POLLIN, LIMIT)?.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut buffer = [0u8; 4096];
        match descriptors::receive(&daemon, &mut buffer, &mut fds)? {
            0 if received.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => received.extend(&buffer[..length]),
        }
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(io::ErrorKind::InvalidData);
    let (socket, state) = (UnixListener::from(next()?), next()?);
    let listeners: Vec<OwnedFd> = fds.collect();
    if listeners.len() != handover.listeners.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let left = TakeOver {
        state,
        listeners: handover.listeners.into_iter().zip(listeners).collect(),
        first: handover.first,
        daemon,
        received,
    };
    Ok(Some((socket, left)))
}
