//! What several fuzz targets need.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What a decoder may cost for one input of at most 4 KiB, libFuzzer's own limit. Most take some
/// microseconds; what grows with the square of the input stays below it, and what grows faster does
/// not.
const MOST: Duration = Duration::from_millis(100);

/// Runs a decoder, which has to end soon whatever its input is. Only its own processor time counts.
///
/// # Panics
/// It takes too long.
pub fn bounded<T>(decoder: impl FnOnce() -> T) -> T {
    let begin = processor_time();
    let decoded = decoder();
    let took = processor_time() - begin;
    assert!(took < MOST, "it took {took:?}");
    decoded
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a processor time is positive")
}

/// Lines of `KEY=VALUE`.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('='))
}
