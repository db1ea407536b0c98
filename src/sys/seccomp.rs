//! What the kernel's seccomp can do (seccomp(2)).
#![allow(unsafe_code)]

/// Whether this kernel knows notifications at all (seccomp(2), `SECCOMP_GET_ACTION_AVAIL`).
pub fn kernel_can_notify() -> bool {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads one integer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    result == 0
}
