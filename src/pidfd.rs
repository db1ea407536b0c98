//! Signals by pidfd: the only safe way to kill a process that is not our child, since its number
//! may be used again at any moment (pidfd_open(2)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Kills a process if it is in the control group of the container `id`.
///
/// # Errors
/// The process is gone, or is not of that container.
pub fn kill_member(pid: i32, id: &str) -> io::Result<()> {
    let process = open(pid)?;
    // Read after the pidfd was opened. If the number has been used again since, the text may be
    // another process's, but the signal then reaches nobody: the pidfd stays with the first.
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    if !cgroup.contains(id) {
        return Err(io::Error::other("the process is not of that container"));
    }
    kill(&process)
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn kill(process: &impl AsFd) -> io::Result<()> {
    let fd = process.as_fd().as_raw_fd();
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open for the duration of the call; a null siginfo means that the
    // kernel fills it in as kill(2) does (pidfd_send_signal(2)).
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, no_info, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_a_member_of_the_container_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(kill_member(pid, "no such container").is_err());
        assert_eq!(child.try_wait().unwrap(), None);
        // Every process's cgroup file has a slash in it (cgroups(7)).
        kill_member(pid, "/").unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
