//! One connection to a keeper: of a runtime, which hands over a listener, or of the daemon or a
//! wrapper, which send messages.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::PollFlags;

use crate::hold::protocol::{ReleasedOpen, ToKeeper, take};
use crate::keeper::follower::Follower;
use crate::keeper::supervisor::Supervisor;
use crate::sys::descriptors;
use crate::sys::socket::is_of_root;

/// For how long a keeper tries to retire, in milliseconds: its successor does not wait longer.
const RETIRE_LIMIT_MS: u64 = 4000;

/// Which of them it is becomes known with the first message.
pub(super) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    /// It is told of the opens that are held.
    follower: Option<Follower>,
    /// Until when it wants the keeper to retire.
    retire_until: Option<u64>,
}

pub(super) enum Received {
    Nothing,
    /// With the number of the process that the runtime has put under its filter.
    Listener {
        fd: OwnedFd,
        process: Option<u32>,
    },
    Messages(Vec<ToKeeper>),
}

impl Connection {
    /// Only root may speak to a keeper.
    pub(super) fn accept(stream: UnixStream) -> Option<Self> {
        let is_taken = is_of_root(&stream) && stream.set_nonblocking(true).is_ok();
        is_taken.then(|| Self::with_received(stream, Vec::new()))
    }

    /// One of which a part was read already.
    pub(super) fn with_received(stream: UnixStream, received: Vec<u8>) -> Self {
        Self {
            stream,
            received,
            follower: None,
            retire_until: None,
        }
    }

    pub(super) fn follows(&self) -> bool {
        self.follower.is_some()
    }

    /// What to wait for: it is told more when it has read what it was told before.
    pub(super) fn events(&self) -> PollFlags {
        match &self.follower {
            Some(follower) if follower.is_behind() => PollFlags::POLLIN | PollFlags::POLLOUT,
            _ => PollFlags::POLLIN,
        }
    }

    /// When there is something to tell it.
    pub(super) fn next(&self, last_change: u64) -> Option<u64> {
        self.follower.as_ref()?.next(last_change)
    }

    /// Does what a message asks for.
    pub(super) fn take_in(&mut self, message: ToKeeper, supervisor: &mut Supervisor) {
        if message.follow {
            self.follower.get_or_insert_default().take_in(&message);
        }
        if message.retire {
            self.retire_until = Some(supervisor.now().saturating_add(RETIRE_LIMIT_MS));
        }
        supervisor.take_in(message);
    }

    /// Tells it of held opens, if it wants to be told.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn tell(&mut self, supervisor: &mut Supervisor, last_change: u64) -> io::Result<()> {
        match &mut self.follower {
            Some(follower) => follower.tell(&self.stream, supervisor, last_change),
            None => Ok(()),
        }
    }

    pub(super) fn hurry(&mut self) {
        self.follower.iter_mut().for_each(Follower::hurry);
    }

    /// Until when it wants the keeper to retire.
    pub(super) fn retire_until(&self) -> Option<u64> {
        self.retire_until
    }

    /// The keeper does not retire.
    pub(super) fn stay(&mut self) {
        self.retire_until = None;
    }

    /// Whether nothing is lost if the keeper ends now: neither what a runtime is about to send, nor
    /// descriptors that were not copied yet.
    pub(super) fn is_done(&self) -> bool {
        self.follower.as_ref().is_some_and(Follower::is_done)
    }

    /// The ends that it was to count, and of which it has not heard.
    pub(super) fn uncounted(self) -> Vec<ReleasedOpen> {
        self.follower.map_or_else(Vec::new, Follower::uncounted)
    }

    /// Reads some of what has come. A runtime sends one message with a listener in it.
    ///
    /// # Errors
    /// The connection has ended, or what comes is no message.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        let mut buffer = [0u8; 4096];
        let mut fds = Vec::new();
        let length = match descriptors::receive(&self.stream, &mut buffer, &mut fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received::Nothing);
            }
            other => other?,
        };
        if let Some(fd) = fds.into_iter().next() {
            let process = process_of(&buffer[..length]);
            return Ok(Received::Listener { fd, process });
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend(&buffer[..length]);
        Ok(Received::Messages(self.messages()?))
    }

    /// The messages that have come as a whole.
    ///
    /// # Errors
    /// What has come is no message.
    pub(super) fn messages(&mut self) -> io::Result<Vec<ToKeeper>> {
        let mut messages = Vec::new();
        while let Some(message) = take::<ToKeeper>(&mut self.received).map_err(io::Error::other)? {
            if message.ttyplugd == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            messages.push(message);
        }
        Ok(messages)
    }
}

/// The process of which a runtime tells with a listener, by the beginning of its message (OCI
/// runtime-spec, config-linux.md, "The Container Process State"). In a string of JSON no such key can be:
/// its quotation marks would be escaped.
fn process_of(message: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(message);
    let (_, rest) = text.split_once("\"pid\":")?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_the_first_that_the_runtimes_message_names() {
        let runc =
            br#"{"ociVersion":"1.0.2","fds":["seccompFd"],"pid":4711,"metadata":"\"pid\":7","sta"#;
        assert_eq!(process_of(runc), Some(4711));
        let crun = br#"{"ociVersion": "1.0", "metadata": "\"pid\": 7", "pid": 4711, "state": {"#;
        assert_eq!(process_of(crun), Some(4711));
        for other in [&b"{\"pid\":\"7\"}"[..], b"{\"pid\":7", b"{}", b"\xff"] {
            assert_eq!(process_of(other), None);
        }
    }
}
