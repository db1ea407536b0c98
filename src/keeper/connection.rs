//! One connection to a keeper: of a runtime, which hands over a listener, or of the daemon or a
//! wrapper, which send messages.

use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::hold::protocol::{ToKeeper, take};
use crate::sys::descriptors::own;
use crate::sys::socket::is_of_root;

/// Which of them it is becomes known with the first message.
pub(super) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    /// It is sent the opens that are held.
    pub(super) follows: bool,
    /// It counts the opens that have ended.
    pub(super) counts: bool,
}

pub(super) enum Received {
    Listener(OwnedFd),
    Messages(Vec<ToKeeper>),
}

impl Connection {
    /// Only root may speak to a keeper.
    pub(super) fn accept(stream: UnixStream) -> Option<Self> {
        (is_of_root(&stream) && stream.set_nonblocking(true).is_ok()).then(|| Self {
            stream,
            received: Vec::new(),
            follows: false,
            counts: false,
        })
    }

    /// Reads what has come. A runtime sends one message with a listener in it.
    ///
    /// # Errors
    /// The connection has ended, or what comes is no message.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        let mut buffer = [0u8; 4096];
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let (length, fds) = {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
            let fd = self.stream.as_raw_fd();
            let message = match recvmsg::<()>(fd, &mut slices, Some(&mut space), flags) {
                Err(nix::errno::Errno::EAGAIN) => return Ok(Received::Messages(Vec::new())),
                other => other?,
            };
            let mut fds = Vec::new();
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(received) = control {
                    fds.extend(received.into_iter().map(own));
                }
            }
            (message.bytes, fds)
        };
        if let Some(fd) = fds.into_iter().next() {
            return Ok(Received::Listener(fd));
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend(&buffer[..length]);
        let mut messages = Vec::new();
        while let Some(message) = take::<ToKeeper>(&mut self.received).map_err(io::Error::other)? {
            if message.ttyplugd == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            messages.push(message);
        }
        Ok(Received::Messages(messages))
    }

    /// Writes without waiting for the reader. Returns whether all of it was written.
    pub(super) fn write(&mut self, line: &[u8]) -> bool {
        self.stream.write_all(line).is_ok()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
