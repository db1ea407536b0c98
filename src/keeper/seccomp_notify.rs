//! The kernel's side of a held open: seccomp user notification (seccomp_unotify(2)).
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (linux/seccomp.h).
const CONTINUE: u32 = 1;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (linux/seccomp.h).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// What a filter announces its system calls through. When the last copy of this descriptor is
/// closed, every announced call of the container fails with ENOSYS for as long as it lives.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A system call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// Unique per listener, and never used again.
    pub id: u64,
    /// The thread, in the host's numbers.
    pub tid: u32,
    /// `AUDIT_ARCH_*`: which table of system calls `call` is a number of.
    pub arch: u32,
    pub call: i32,
    /// Where in the program the call was made.
    pub instruction: u64,
    pub arguments: [u64; 6],
}

impl Listener {
    pub fn new(fd: OwnedFd) -> Self {
        let listener = Self(fd);
        listener.wake_here(true);
        listener
    }

    /// Asks the kernel to let asker and answerer take turns on one processor, which saves waking
    /// another one twice a call; or, before many are answered, to use all of them. A kernel before
    /// 6.6 cannot, and nothing depends on it.
    pub fn wake_here(&self, here: bool) {
        let flags = if here { SYNC_WAKE_UP } else { 0 };
        // SAFETY: the descriptor is open, and the argument is an integer.
        let _ = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as _,
                flags,
            )
        };
    }

    /// Takes the next notification. To be called only when poll(2) says that there is one, since
    /// it waits even on a descriptor that was opened not to.
    ///
    /// `None` if the call was interrupted meanwhile.
    ///
    /// # Errors
    /// The listener is of no use any more.
    pub fn receive(&self) -> io::Result<Option<Notification>> {
        // SAFETY: the structure is made of integers, for which zero is valid; and the kernel
        // insists on zeros (seccomp_unotify(2), EINVAL).
        let mut raw: libc::seccomp_notif = unsafe { zeroed() };
        // SAFETY: the descriptor is open, and the kernel writes one `seccomp_notif`.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as _,
                &raw mut raw,
            )
        };
        if result == 0 {
            return Ok(Some(Notification {
                id: raw.id,
                tid: raw.pid,
                arch: raw.data.arch,
                call: raw.data.nr,
                instruction: raw.data.instruction_pointer,
                arguments: raw.data.args,
            }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR | libc::EAGAIN) => Ok(None),
            _ => Err(error),
        }
    }

    /// Lets the call go on as if it had not been announced; the kernel makes all its checks then. A
    /// call that is gone needs no answer.
    pub fn resume(&self, id: u64) {
        // SAFETY: the structure is made of integers, for which zero is valid.
        let mut answer: libc::seccomp_notif_resp = unsafe { zeroed() };
        answer.id = id;
        answer.flags = CONTINUE;
        // SAFETY: the descriptor is open, and the kernel reads one `seccomp_notif_resp`.
        let _ = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND as _,
                &raw mut answer,
            )
        };
    }

    /// Whether the call still waits. To be asked after anything was read through the thread's
    /// number, which may have been given to another one meanwhile.
    pub fn waits(&self, id: u64) -> bool {
        let mut id = id;
        // SAFETY: the descriptor is open, and the kernel reads one integer.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _,
                &raw mut id,
            )
        };
        result == 0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
