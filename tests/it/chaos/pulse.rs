//! When the machine stood still. A virtual one may get no processor for seconds, and what happens then
//! seems to take as long.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::round::now;

const BEAT: Duration = Duration::from_millis(10);

/// A longer time between two beats is a standstill, in microseconds.
const LONG: u64 = 100_000;

/// From and to, in microseconds of the monotonic clock.
pub(super) type Standstill = (u64, u64);

pub(super) struct Pulse(Receiver<Standstill>);

impl Pulse {
    pub(super) fn start() -> Self {
        let (to, standstills) = channel();
        std::thread::spawn(move || {
            let mut last = now();
            loop {
                std::thread::sleep(BEAT);
                let beat = now();
                if beat > last + LONG && to.send((last, beat)).is_err() {
                    return;
                }
                last = beat;
            }
        });
        Self(standstills)
    }

    /// Those since the last call that have ended.
    pub(super) fn standstills(&self) -> Vec<Standstill> {
        std::thread::sleep(2 * BEAT);
        self.0.try_iter().collect()
    }
}
