//! Receiving from a netlink socket.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How many messages are read at a time.
const MOST_AT_ONCE: usize = 1024;

/// How large the socket's buffer is, in bytes, of which the kernel allows twice as many
/// (socket(7)). libudev asks for 128 MiB, which take longer to read than an enumeration takes.
pub(super) const BUFFER: usize = 512 << 10;

/// Calls `receive` for each message that has arrived, but not for ever. Returns whether messages were
/// lost, or are left.
pub(super) fn receive_all<T: AsRawFd>(
    socket: &AsyncFd<T>,
    mut receive: impl FnMut(&T) -> io::Result<()>,
) -> io::Result<bool> {
    let mut lost = false;
    for _ in 0..MOST_AT_ONCE {
        match socket.try_io(Interest::READABLE, &mut receive) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(lost),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                Errno::EINTR => {}
                // It comes once where messages did not fit (netlink(7)).
                Errno::ENOBUFS => lost = true,
                _ => return Err(error),
            },
        }
    }
    Ok(true)
}
