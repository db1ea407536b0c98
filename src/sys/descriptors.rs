//! Descriptors that were inherited, and those that come over a socket.
#![allow(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that one message may have (unix(7), SCM_RIGHTS).
const MOST_SENT: usize = 253;

/// Closes every descriptor but the three standard ones and `kept`. The engine waits for the end of
/// the pipes that it gave the runtime, and would wait for as long as a keeper holds one.
///
/// To be called before anything else has been opened.
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn close_inherited(kept: Option<BorrowedFd>) -> io::Result<()> {
    let kept = kept.map(|kept| kept.as_raw_fd());
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd > libc::STDERR_FILENO && Some(fd) != kept {
            // SAFETY: the caller promises that nothing in this program owns the descriptor. The one
            // with which the directory was read is in the list and already closed: EBADF.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Takes what standard input is, and puts /dev/null in the place of all three.
///
/// # Errors
/// There is no /dev/null.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    // SAFETY: descriptor 0 is open, since this program was started with it.
    let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }.try_clone_to_owned()?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(stdin)
}

/// Sends some bytes of a message over a unix socket, and all descriptors with the first of them.
/// Returns how many bytes were sent.
///
/// # Errors
/// The connection has ended, does not take anything now, or there are more than [`MOST_SENT`].
pub(crate) fn send(socket: &impl AsFd, bytes: &[u8], sent: &[impl AsFd]) -> io::Result<usize> {
    let sent: Vec<BorrowedFd> = sent.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SENT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sent.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sent)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = [IoSlice::new(bytes)];
    Ok(sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?)
}

/// Sends a message and any number of descriptors over a unix socket that blocks.
///
/// # Errors
/// The connection has ended, or nothing is read in time.
pub(crate) fn send_all(socket: &impl AsFd, mut bytes: &[u8], all: &[impl AsFd]) -> io::Result<()> {
    for some in all.chunks(MOST_SENT) {
        let (first, rest) = bytes.split_at(1);
        send(socket, first, some)?;
        bytes = rest;
    }
    while !bytes.is_empty() {
        bytes = &bytes[send(socket, bytes, &all[..0])?..];
    }
    Ok(())
}

/// Reads what has come over a unix socket, without waiting. Returns how many bytes that are, and
/// puts descriptors that come with them to `received`.
///
/// # Errors
/// Nothing has come ([`io::ErrorKind::WouldBlock`]), the connection is broken, or there was no room
/// for all descriptors that came.
pub(crate) fn receive(
    socket: &impl AsFd,
    buffer: &mut [u8],
    received: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SENT))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    for control in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = control {
            received.extend(descriptors);
        }
    }
    // The process has too many open files (recvmsg(2), MSG_CTRUNC).
    match message.flags.contains(ReturnFlags::CTRUNC) {
        true => Err(io::Error::other("too many open files to receive another")),
        false => Ok(message.bytes),
    }
}

/// The descriptors that the service manager has stored for this program, with their names
/// (sd_listen_fds(3)). To be called once.
///
/// # Errors
/// What it says of them is malformed.
pub(crate) fn take_stored() -> io::Result<Vec<(String, OwnedFd)>> {
    let stored = sd_notify::listen_fds_with_names()?;
    let own = |(fd, name): (RawFd, String)| {
        // SAFETY: the service manager has made this program with the descriptor, and nothing else
        // owns it.
        (name, unsafe { OwnedFd::from_raw_fd(fd) })
    };
    Ok(stored.map(own).collect())
}
