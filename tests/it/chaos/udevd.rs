//! When udevd has announced that a device is gone: what it takes before that is its own.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::testbed::{Process, until};

/// What udevd announces, as `udevadm monitor` prints it with its times.
#[derive(Debug)]
pub(super) struct Udevd {
    monitor: Process,
    read: usize,
    /// When each tty was announced to be gone, in microseconds of the monotonic clock.
    removed: BTreeMap<String, Vec<u64>>,
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

    /// When a tty was announced to be gone that was unplugged at this time.
    pub(super) fn removed(&mut self, tty: &str, unplugged: u64) -> u64 {
        until("udevd announces that a tty is gone", || {
            let lines = self.monitor.lines();
            for line in &lines[self.read..] {
                if let Some((tty, time)) = removal(line) {
                    self.removed.entry(tty).or_default().push(time);
                }
            }
            self.read = lines.len();
            let times = self.removed.get(tty)?.iter().rev();
            times.take_while(|time| **time >= unplugged).last().copied()
        })
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
