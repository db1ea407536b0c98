//! A file that one process at a time may use. The kernel ends its lock with the process, even if
//! others have descriptors of the same open file (fcntl(2), F_SETLK).

use std::io;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// How often a lock that another process has is tried again.
const PAUSE: Duration = Duration::from_millis(1);

/// Locks a file for this process, as long as it has not closed a descriptor of it.
///
/// # Errors
/// Another process has locked it, and goes on to live for that time.
pub fn lock(file: &impl AsFd, limit: Duration) -> io::Result<()> {
    let end = Instant::now() + limit;
    loop {
        match fcntl(file, FcntlArg::F_SETLK(&whole(libc::F_WRLCK))) {
            Ok(_) => return Ok(()),
            Err(Errno::EAGAIN | Errno::EACCES) if Instant::now() < end => sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets another process lock a file.
pub fn unlock(file: &impl AsFd) {
    let _ = fcntl(file, FcntlArg::F_SETLK(&whole(libc::F_UNLCK)));
}

/// Whether another process has locked a file.
pub fn is_locked(file: &impl AsFd) -> bool {
    let mut lock = whole(libc::F_WRLCK);
    let asked = fcntl(file, FcntlArg::F_GETLK(&mut lock));
    asked.is_ok() && i32::from(lock.l_type) != libc::F_UNLCK
}

/// A lock of all of a file.
#[allow(clippy::cast_possible_truncation)]
fn whole(kind: libc::c_int) -> libc::flock {
    libc::flock {
        // The kernel's constants are small numbers (asm-generic/fcntl.h).
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
