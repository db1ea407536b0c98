//! Whether seccomp filters can notify a supervisor here (seccomp(2), seccomp_unotify(2)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::thread;

/// Loads a filter with a listener, as the runtime will. An old kernel has none; and a process below
/// one with a listener, such as everything in a container whose system calls are intercepted,
/// cannot have another (kernel, kernel/seccomp.c, `has_duplicate_listener`).
///
/// # Errors
/// It cannot be loaded.
pub fn try_listener() -> io::Result<()> {
    // A filter stays with its thread, which therefore ends.
    let thread = thread::Builder::new().spawn(|| load_listener().map(drop))?;
    let tried = thread.join();
    tried.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// Loads a filter that allows everything into the calling thread.
fn load_listener() -> io::Result<OwnedFd> {
    let mut allow = [libc::sock_filter {
        code: u16::try_from(libc::BPF_RET | libc::BPF_K).map_err(io::Error::other)?,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: allow.as_mut_ptr(),
    };
    // SAFETY: the flag is one of the calling thread alone. The kernel reads the program, which
    // outlives the call, and returns a new descriptor.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    match RawFd::try_from(result) {
        // SAFETY: nobody else has it.
        Ok(listener) if listener >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(listener) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_a_process_with_a_listener_there_can_be_no_other() {
        try_listener().unwrap();
        let below = thread::spawn(|| {
            let listener = load_listener().unwrap();
            let error = try_listener().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
            drop(listener);
            try_listener().unwrap();
        });
        below.join().unwrap();
        try_listener().unwrap();
    }
}
