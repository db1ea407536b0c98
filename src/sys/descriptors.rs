//! Descriptors that were inherited, and those that come over a socket.
#![allow(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Closes every descriptor but the three standard ones and `kept`. The engine waits for the end of
/// the pipes that it gave the runtime, and would wait for as long as a keeper holds one.
///
/// To be called before anything else has been opened.
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn close_inherited(kept: &OwnedFd) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd > libc::STDERR_FILENO && fd != kept.as_raw_fd() {
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

/// Takes a descriptor that has just come over a socket.
pub(crate) fn own(received: RawFd) -> OwnedFd {
    // SAFETY: recvmsg(2) has just made this descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(received) }
}
