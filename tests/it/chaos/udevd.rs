//! When udevd has announced that a device is gone: what it takes before that is its own.

use std::collections::{BTreeMap, VecDeque};
use std::process::{Command, Stdio};

use crate::testbed::{Process, until};

/// What udevd announces, as `udevadm monitor` prints it with its times.
#[derive(Debug)]
pub(super) struct Udevd {
    monitor: Process,
    read: usize,
    /// When each tty was announced to be gone, in microseconds of the monotonic clock, and that is not
    /// taken yet.
    removed: BTreeMap<String, VecDeque<u64>>,
}

impl Udevd {
    pub(super) fn listen() -> Self {
        let mut command = Command::new("udevadm");
        let arguments = ["monitor", "--udev", "--subsystem-match=tty"];
        let command = command.args(arguments).stdin(Stdio::null());
        let monitor = Process::start(command.stdout(Stdio::piped()));
        until("udevadm listens", || monitor.text().contains("UDEV"));
        Self {
            monitor,
            read: 0,
            removed: BTreeMap::new(),
        }
    }

    /// When a tty was announced to be gone the last of so many times, after those that were asked for
    /// before. udevd announces each of them, in their order, and may be late by many.
    pub(super) fn removed(&mut self, tty: &str, times: u64) -> u64 {
        let last = until("udevd announces that a tty is gone", || {
            self.read();
            let removed = self.removed.get_mut(tty)?;
            let all = removed.len() as u64 >= times;
            all.then(|| (0..times).filter_map(|_| removed.pop_front()).last())
        });
        last.expect("it was asked for one at least")
    }

    fn read(&mut self) {
        let lines = self.monitor.lines();
        for line in &lines[self.read..] {
            if let Some((tty, time)) = removal(line) {
                self.removed.entry(tty).or_default().push_back(time);
            }
        }
        self.read = lines.len();
    }
}

/// Of a line like this the last word but one, and the time:
/// UDEV  [28007.608650] remove   /devices/virtual/tty/tty63 (tty)
fn removal(line: &str) -> Option<(String, u64)> {
    let (time, rest) = line.strip_prefix("UDEV  [")?.split_once(']')?;
    let device = rest
        .trim()
        .strip_prefix("remove")?
        .split_whitespace()
        .next()?;
    let (seconds, fraction) = time.split_once('.')?;
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, fraction.parse().ok()?);
    let name = device.rsplit('/').next()?;
    Some((name.to_owned(), 1_000_000 * seconds + micros))
}
