//! The kernel's side of a held open: seccomp user notification (seccomp_unotify(2)).
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut, read_volatile, write_volatile};
use std::rc::Rc;

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (linux/seccomp.h).
const CONTINUE: u32 = 1;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (linux/seccomp.h).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// The descriptor through which a filter announces system calls. When its last copy is closed, every
/// announced call of the container fails with ENOSYS from then on.
#[derive(Debug)]
pub struct Listener(Rc<OwnedFd>);

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
        let listener = Self(Rc::new(fd));
        listener.wake_here(true);
        listener
    }

    /// Makes the kernel run caller and supervisor in turn on one processor, which saves waking another
    /// one twice a call; or, before many calls are resumed, on all of them. A kernel before
    /// 6.6 cannot, and it is only an optimization.
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

    pub fn descriptor(&self) -> &Rc<OwnedFd> {
        &self.0
    }

    /// Lets the call go on as if it had not been announced; the kernel makes all its checks then.
    /// Returns whether it was still waiting.
    pub fn resume(&self, id: u64) -> bool {
        // SAFETY: the structure is made of integers, for which zero is valid.
        let mut answer: libc::seccomp_notif_resp = unsafe { zeroed() };
        answer.id = id;
        answer.flags = CONTINUE;
        // SAFETY: the descriptor is open, and the kernel reads one `seccomp_notif_resp`.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND as _,
                &raw mut answer,
            )
        };
        result == 0
    }

    /// Whether the call still waits. To be checked after everything that was read by the thread's
    /// number, which may belong to another thread by now.
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

/// Where notifications are received: the first page of a keeper's state file. The kernel writes a
/// notification there in the system call that hands it out, which it does once. So whenever a
/// keeper is killed, its successor finds what it had received.
#[derive(Debug)]
pub struct Inbox(NonNull<Received>);

/// Zero while nothing is received.
#[repr(C)]
#[derive(Clone, Copy)]
struct Received {
    listener: u64,
    /// By how many keepers it was found.
    found: u64,
    notification: libc::seccomp_notif,
}

impl Inbox {
    /// # Errors
    /// The file cannot be mapped.
    pub fn map(file: &OwnedFd) -> io::Result<Self> {
        let (read_and_write, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        let size = size_of::<Received>();
        // SAFETY: a new mapping, which overlaps no other memory.
        let memory =
            unsafe { libc::mmap(null_mut(), size, read_and_write, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self(memory))
    }

    /// Takes the next notification of a listener. To be called only when poll(2) says that there is
    /// one, since it waits even on a descriptor that was opened not to. It stays in the inbox until
    /// [`Self::clear`] is called.
    ///
    /// `None` if the call was interrupted meanwhile.
    ///
    /// # Errors
    /// The listener is of no use any more.
    pub fn receive(&mut self, number: u64, from: &Listener) -> io::Result<Option<Notification>> {
        // The kernel insists on zeros (seccomp_unotify(2), EINVAL).
        self.clear();
        let memory = self.0.as_ptr();
        // SAFETY: the memory is mapped as long as `self` lives, and nobody else uses it.
        unsafe { write_volatile(&raw mut (*memory).listener, number) };
        // SAFETY: the descriptor is open, and the kernel writes one `seccomp_notif` to that memory.
        let result = unsafe {
            libc::ioctl(
                from.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as _,
                &raw mut (*memory).notification,
            )
        };
        if result == 0 {
            return Ok(self.received().map(|(_, notification)| notification));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR | libc::EAGAIN) => Ok(None),
            _ => Err(error),
        }
    }

    /// What was received and not cleared, with the number of its listener.
    fn received(&self) -> Option<(u64, Notification)> {
        // SAFETY: the memory is mapped as long as `self` lives, and any bytes are a valid `Received`.
        let received = unsafe { read_volatile(self.0.as_ptr()) };
        let (listener, raw) = (received.listener, received.notification);
        // No table of system calls has the number zero (linux/audit.h).
        (raw.data.arch != 0).then_some((
            listener,
            Notification {
                id: raw.id,
                tid: raw.pid,
                arch: raw.data.arch,
                call: raw.data.nr,
                instruction: raw.data.instruction_pointer,
                arguments: raw.data.args,
            },
        ))
    }

    /// What another keeper has left, and how many keepers have found it before.
    pub fn find(&mut self) -> Option<(u64, Notification, u64)> {
        let (listener, notification) = self.received()?;
        let memory = self.0.as_ptr();
        // SAFETY: the memory is mapped as long as `self` lives, and nobody else uses it.
        let before = unsafe { read_volatile(&raw const (*memory).found) };
        // SAFETY: the same.
        unsafe { write_volatile(&raw mut (*memory).found, before.saturating_add(1)) };
        Some((listener, notification, before))
    }

    /// Forgets it. To be called when it was answered, or is on record elsewhere.
    pub fn clear(&mut self) {
        // SAFETY: a structure of integers, for which zero is valid.
        let nothing = unsafe { zeroed() };
        // SAFETY: the memory is mapped as long as `self` lives, and nobody else uses it.
        unsafe { write_volatile(self.0.as_ptr(), nothing) };
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and is not used afterwards.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Received>()) };
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
