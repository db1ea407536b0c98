//! Signals by pidfd: the only safe way to signal a process that is not a child, since its number may
//! be used again at any moment (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::PollFlags;
pub use rustix::process::Signal;
use rustix::process::{Pid, PidfdFlags, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::sys::ready;

/// Kills a process that leads a process group, and all of the group, if its control groups
/// (/proc/PID/cgroup) are those of a member. What a runtime executes in a container leads a group
/// of its own, and so its children end with it.
///
/// # Errors
/// The process is gone, or is no member.
pub fn kill_member(pid: i32, is_member: impl Fn(&str) -> bool) -> io::Result<()> {
    let process = open(pid)?;
    // Read after the pidfd was opened. If the number has been used again since, this is the text of
    // another process, but then the signal reaches none: the pidfd stays with the first one.
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    if !is_member(&cgroup) {
        return Err(io::Error::other("the process is not of that container"));
    }
    send(&process, Signal::KILL)?;
    // The number of a group is not used again while it has members (credentials(7)).
    let _ = Pid::from_raw(pid).map(|group| kill_process_group(group, Signal::KILL));
    Ok(())
}

/// A descriptor of the process that has this number now.
///
/// # Errors
/// There is none.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether the process of a descriptor has ended, which is when it can be read (pidfd_open(2)).
pub fn has_ended(process: &impl AsFd) -> bool {
    let events = ready::wait(process, PollFlags::POLLIN, Duration::ZERO);
    events.map_or(true, |events| !events.is_empty())
}

/// Sends a signal to the process of a descriptor, and to no other.
///
/// # Errors
/// It has ended, or may not be signalled.
pub fn send(process: &impl AsFd, signal: Signal) -> io::Result<()> {
    Ok(pidfd_send_signal(process, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn only_a_member_of_the_container_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60; true"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(kill_member(pid, |_| false).is_err());
        assert_eq!(child.try_wait().unwrap(), None);
        let process = open(pid).unwrap();
        assert!(!has_ended(&process));
        kill_member(pid, |cgroup| cgroup.contains(':')).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(has_ended(&process));
        // The pipe ends when the last process that has it does, the child's child too.
        let mut pipe = child.stdout.take().unwrap();
        assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    }
}
