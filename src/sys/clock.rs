//! The daemon's clock, and the dates of its moments.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::sys::date::rfc3339;

/// The same moment by two clocks, in milliseconds: the daemon's own, and since 1970. The date of an
/// event is right even if the second clock was set after it, which a Raspberry Pi does some time
/// after its start.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub clock: u64,
    pub unix: u64,
}

impl Now {
    /// A moment of the daemon's clock as a date.
    pub fn date_of(self, clock: u64) -> String {
        let ago = self.clock.saturating_sub(clock);
        let seconds = self.unix.saturating_sub(ago) / 1000;
        rfc3339(i64::try_from(seconds).unwrap_or(0))
    }
}

/// Milliseconds since the daemon's start, and their dates.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// What the date was at the start.
    start_unix: Cell<u64>,
}

/// Milliseconds by the clock that is the same in all processes (clock_gettime(2), CLOCK_MONOTONIC).
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since boot, as /proc/uptime has them (proc(5); clock_gettime(2), CLOCK_BOOTTIME).
pub fn uptime() -> u64 {
    u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0)
}

/// By how many milliseconds the date must be wrong to count as set anew. It is corrected a little
/// all the time, and dates that have been told are not to change for that.
const SET_ANEW: u64 = 1000;

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            start_unix: Cell::new(0),
        }
    }
}

impl Clock {
    pub fn now(&self) -> Now {
        let clock = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let unix = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        let start = unix.saturating_sub(clock);
        if start.abs_diff(self.start_unix.get()) >= SET_ANEW {
            self.start_unix.set(start);
        }
        Now {
            clock,
            unix: self.start_unix.get().saturating_add(clock),
        }
    }
}
