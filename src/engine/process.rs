//! What the first process of a container shows of it on the host, whatever its engine says.

use std::fs;

use crate::model::start::FirstProcess;
use crate::sys::proc_thread::start_time;

/// The bit of CAP_MKNOD (capabilities(7); linux/capability.h).
const MKNOD: u32 = 27;

/// Whether no command in the container can make nodes: the bounding set that the container was given
/// lacks CAP_MKNOD. Podman gives it to none that does not ask for it, and newer ones do not say so.
pub(super) fn lacks_mknod(pid: i64) -> bool {
    let set = status(pid, "CapBnd:").and_then(|set| u64::from_str_radix(&set, 16).ok());
    set.is_some_and(|set| set & 1 << MKNOD == 0)
}

/// The program of the container's runtime, of which Podman's API says nothing: conmon is told it, and
/// is the parent of the first process (conmon(8), --runtime).
pub(super) fn runtime_of_podman(pid: i64) -> Option<String> {
    let conmon = status(pid, "PPid:")?;
    let name = fs::read_to_string(format!("/proc/{conmon}/comm")).ok()?;
    if name != "conmon\n" {
        return None;
    }
    let line = fs::read(format!("/proc/{conmon}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line);
    let mut arguments = line.split('\0');
    arguments.find(|argument| matches!(*argument, "-r" | "--runtime"))?;
    arguments.next().map(String::from)
}

/// `None` if it has ended.
pub(super) fn first(pid: i64) -> Option<FirstProcess> {
    let pid = u32::try_from(pid).ok()?;
    let started = start_time(pid)?;
    Some(FirstProcess { pid, started })
}

/// A line of /proc/PID/status (proc(5)).
fn status(pid: i64, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_or_none_of_podmans_tells_nothing() {
        assert!(!lacks_mknod(i64::MAX));
        for pid in [i64::MAX, i64::from(std::process::id())] {
            assert_eq!(runtime_of_podman(pid), None);
        }
        assert_eq!(first(i64::MAX), None);
    }
}
