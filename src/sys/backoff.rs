//! The pauses between retries.

use std::time::Duration;

/// How long to wait before the next try after so many failures: 1 s, doubling, at most 5 minutes.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(300.min(1 << failures.min(9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_five_minutes() {
        let seconds = [0, 1, 2, 8, 9, 40, u32::MAX].map(|n| backoff(n).as_secs());
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300, 300]);
    }
}
