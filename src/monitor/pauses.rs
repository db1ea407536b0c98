//! Pauses in the work on messages: a flood of them takes its sender more time than the daemon. The kernel
//! drops what does not fit into the buffer meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How many times as long as the work the pauses are.
const TIMES: u32 = 4;

/// How long pauses may be put off. A plug has some ten messages, the kernel's and udevd's, and none of
/// them is to wait for the pause after the one before.
const PUT_OFF: Duration = Duration::from_millis(10);

/// The longest pause for one time of work, however long other processes made it.
const LONGEST: Duration = Duration::from_millis(50);

/// The pause after an error.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The pauses that are due.
#[derive(Debug)]
pub(super) struct Pauses {
    /// When they would end if none was put off.
    end: Instant,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            end: Instant::now(),
        }
    }
}

impl Pauses {
    /// Waits until messages may be read.
    pub(super) async fn pause(&self) {
        if let Some(end) = self.next(Instant::now()) {
            sleep_until(end).await;
        }
    }

    /// The end of the pause that cannot be put off any more.
    fn next(&self, now: Instant) -> Option<Instant> {
        (self.end > now + PUT_OFF).then(|| self.end - PUT_OFF)
    }

    /// Some work has taken so long. In that time no other pause passes.
    pub(super) fn after_work(&mut self, begin: Instant, took: Duration) {
        self.add(begin, took + LONGEST.min(TIMES * took));
    }

    pub(super) fn after_error(&mut self, now: Instant) {
        self.add(now, AFTER_ERROR);
    }

    fn add(&mut self, since: Instant, pause: Duration) {
        self.end = self.end.max(since) + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Duration = Duration::from_micros(200);

    #[test]
    fn the_messages_of_a_plug_do_not_wait_for_each_other() {
        let mut pauses = Pauses::default();
        let mut now = pauses.end;
        for _ in 0..10 {
            assert_eq!(pauses.next(now), None);
            pauses.after_work(now, WORK);
            now += WORK;
        }
    }

    #[test]
    fn a_flood_is_worked_on_for_a_fifth_of_the_time() {
        let mut pauses = Pauses::default();
        let begin = pauses.end;
        let (mut now, mut worked) = (begin, Duration::ZERO);
        while worked < Duration::from_secs(1) {
            now = pauses.next(now).unwrap_or(now);
            pauses.after_work(now, WORK);
            now += WORK;
            worked += WORK;
        }
        assert_eq!(pauses.end, begin + worked * (TIMES + 1));
        assert!(pauses.end - now <= PUT_OFF + WORK * TIMES);
    }

    #[test]
    fn a_machine_that_stood_still_makes_no_long_pause() {
        let mut pauses = Pauses::default();
        let (begin, took) = (pauses.end, Duration::from_secs(5));
        pauses.after_work(begin, took);
        let now = begin + took;
        assert!(pauses.next(now).is_some_and(|end| end < now + LONGEST));
    }

    #[test]
    fn there_is_a_pause_after_an_error() {
        let mut pauses = Pauses::default();
        let now = pauses.end;
        pauses.after_error(now);
        assert_eq!(pauses.next(now), Some(now + AFTER_ERROR - PUT_OFF));
    }
}
