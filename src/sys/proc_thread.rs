//! What /proc tells of a thread of any process, by its number on the host (proc(5)).

use std::fs;
use std::io::Read;
use std::path::Path;

pub(crate) fn is_alive(tid: u32) -> bool {
    Path::new(&format!("/proc/{tid}")).exists()
}

/// Its name, which it may have chosen itself.
pub(crate) fn command(tid: u32) -> String {
    let mut name = String::new();
    let file = fs::File::open(format!("/proc/{tid}/comm"));
    let _ = file.and_then(|file| file.take(64).read_to_string(&mut name));
    name.trim_end().to_owned()
}

/// When it was started, in the kernel's ticks since the boot (proc(5), stat). With its number this
/// names one thread, as long as the machine runs.
pub(crate) fn start_time(tid: u32) -> Option<u64> {
    Some(stat(tid)?.1)
}

/// Whether the one that was started then has not ended: one that nobody has waited for yet is a zombie
/// (proc(5), stat).
pub(crate) fn lives(tid: u32, started: u64) -> bool {
    stat(tid).is_some_and(|(state, its)| its == started && !matches!(state, 'Z' | 'X'))
}

/// Its state, and when it was started.
fn stat(tid: u32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    // Its name is in brackets, and may have some in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Its real user.
pub(crate) fn user(tid: u32) -> Option<u32> {
    Status::of(tid)?.first_number("Uid:")
}

/// What /proc/TID/status says.
pub(crate) struct Status(String);

impl Status {
    /// `None` if there is no such thread.
    pub(crate) fn of(tid: u32) -> Option<Self> {
        fs::read_to_string(format!("/proc/{tid}/status"))
            .ok()
            .map(Self)
    }

    /// The number of the process that it belongs to.
    pub(crate) fn process(&self) -> Option<u32> {
        self.first_number("Tgid:")
    }

    /// Whether it is the only thread of its process.
    pub(crate) fn is_only_one(&self) -> bool {
        self.first_number("Threads:") == Some(1)
    }

    /// The first number of a line.
    fn first_number(&self, key: &str) -> Option<u32> {
        let numbers = self.0.lines().find_map(|line| line.strip_prefix(key))?;
        numbers.split_whitespace().next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_by_its_start() {
        let own = start_time(std::process::id());
        assert!(own.is_some_and(|own| own > 0));
        assert_eq!(own, start_time(std::process::id()));
        assert_eq!(start_time(u32::MAX), None);
    }

    #[test]
    fn a_process_that_has_ended_does_not_live_though_nobody_has_waited_for_it() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let started = start_time(pid).unwrap();
        while lives(pid, started) {
            std::thread::yield_now();
        }
        assert_eq!(start_time(pid), Some(started));
        child.wait().unwrap();
        let us = std::process::id();
        let own = start_time(us).unwrap();
        assert!(!lives(pid, started) && lives(us, own) && !lives(us, own + 1));
    }

    fn process(tid: u32) -> Option<u32> {
        Status::of(tid)?.process()
    }

    fn is_only_one(tid: u32) -> bool {
        Status::of(tid).unwrap().is_only_one()
    }

    #[test]
    fn a_thread_belongs_to_its_process() {
        let of_a_thread = || {
            let tid = nix::unistd::gettid().as_raw().unsigned_abs();
            assert!(is_alive(tid));
            (tid, process(tid))
        };
        let (tid, found) = std::thread::spawn(of_a_thread).join().unwrap();
        assert_eq!(found, Some(std::process::id()));
        assert_ne!(tid, std::process::id());
        assert_eq!(process(u32::MAX), None);
        assert!(!is_only_one(found.unwrap()));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert!(is_only_one(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let own = nix::unistd::getuid().as_raw();
        assert_eq!(user(std::process::id()), Some(own));
    }
}
