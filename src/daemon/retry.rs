//! Decides when to work on a container: immediately after a change, and after a failure again, with
//! pauses as long as it has been failing. This file is the whole retry policy.
//!
//! It reads no clock; the caller passes the time.

use std::time::{Duration, Instant};

/// The pauses between tries. One is as long as the work has been failing by then: each try that only
/// waited for its time doubles it, and many changes within a second, each of which is tried at once,
/// do not make it longer.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How soon work is done again that expects something of its own to change.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What follows from the end of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Nothing,
    /// It failed in a way that may pass.
    Retry,
    /// A command may still make something, which has to be looked for.
    LookAgain,
}

/// The work for one container.
#[derive(Debug, Default)]
pub struct Work {
    stage: Stage,
    /// When the first of the failures since its last success was.
    failing_since: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is due.
    #[default]
    Idle,
    /// Work has been due since then.
    Due { since: Instant },
    /// The work has failed, and is tried again at that time.
    Waiting { until: Instant },
    /// The work has succeeded, and is done again at that time.
    Expecting { until: Instant },
    /// The work is running. `again` is the time of the first change since it began, which has to be
    /// worked on afterwards.
    Running { again: Option<Instant> },
}

impl Work {
    /// Something has changed for this container. The work is due now, even if it waits after a failure.
    pub fn changed(&mut self, now: Instant) {
        self.stage = match self.stage {
            Stage::Idle | Stage::Waiting { .. } | Stage::Expecting { .. } => {
                Stage::Due { since: now }
            }
            Stage::Due { since } => Stage::Due { since },
            Stage::Running { again } => Stage::Running {
                again: again.or(Some(now)),
            },
        };
    }

    /// Everything is looked at again, and this container with it. Nothing has changed for it, so it
    /// goes on waiting after a failure.
    pub fn revisit(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Waiting { .. }) {
            self.changed(now);
        }
    }

    /// Since when the work is due.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Due { since } => Some(since),
            Stage::Waiting { until } | Stage::Expecting { until } if until <= now => Some(now),
            _ => None,
        }
    }

    /// The work begins.
    pub fn begin(&mut self) {
        self.stage = Stage::Running { again: None };
    }

    /// The work has ended.
    pub fn end(&mut self, now: Instant, next: Next) {
        self.failing_since = match next {
            Next::Retry => self.failing_since.or(Some(now)),
            Next::LookAgain | Next::Nothing => None,
        };
        self.stage = match (self.stage, next) {
            (Stage::Running { again: Some(since) }, _) => Stage::Due { since },
            (_, Next::Retry) => Stage::Waiting {
                until: now + self.pause(now),
            },
            (_, Next::LookAgain) => Stage::Expecting {
                until: now + LOOK_AGAIN,
            },
            (_, Next::Nothing) => Stage::Idle,
        };
    }

    fn pause(&self, now: Instant) -> Duration {
        let since = self.failing_since.unwrap_or(now);
        let failing = now.saturating_duration_since(since);
        failing.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// Whether it is due, or waits for a time.
    pub fn is_pending(&self) -> bool {
        !matches!(self.stage, Stage::Idle | Stage::Running { .. })
    }

    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// The time of the next try, if it is in the future. A try that is due and was not begun waits for
    /// the engine or for the end of a pause, and the event of that wakes the loop.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Waiting { until } | Stage::Expecting { until } if until > now => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins the work if it is due.
    fn begin(work: &mut Work, now: Instant) -> Option<Instant> {
        let since = work.due(now)?;
        work.begin();
        Some(since)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_change_during_the_work_is_worked_on_after_it() {
        let start = Instant::now();
        let mut work = Work::default();
        assert_eq!(begin(&mut work, start), None);
        work.changed(start);
        assert_eq!(begin(&mut work, start + SECOND), Some(start));
        assert_eq!(begin(&mut work, start + SECOND), None);
        work.changed(start + SECOND);
        work.changed(start + 2 * SECOND);
        work.end(start + 3 * SECOND, Next::Nothing);
        assert_eq!(begin(&mut work, start + 3 * SECOND), Some(start + SECOND));
        work.end(start + 4 * SECOND, Next::Nothing);
        assert_eq!(begin(&mut work, start + 9 * SECOND), None);
    }

    #[test]
    fn a_failure_is_waited_out_unless_something_changes() {
        let start = Instant::now();
        let mut work = Work::default();
        work.changed(start);
        begin(&mut work, start);
        work.end(start, Next::Retry);
        assert_eq!(work.wake(start), Some(start + SECOND));
        assert_eq!(work.wake(start + SECOND), None);
        work.revisit(start);
        assert_eq!(begin(&mut work, start), None);
        assert_eq!(begin(&mut work, start + SECOND), Some(start + SECOND));
        work.end(start + SECOND, Next::Retry);
        assert_eq!(work.wake(start), Some(start + 2 * SECOND));
        work.changed(start + SECOND);
        assert_eq!(begin(&mut work, start + SECOND), Some(start + SECOND));
        work.end(start + SECOND, Next::Nothing);
        assert_eq!(work.wake(start), None);
        work.changed(start);
        begin(&mut work, start);
        work.end(start, Next::Retry);
        assert_eq!(work.wake(start), Some(start + SECOND));
    }

    #[test]
    fn pauses_double_up_to_five_minutes_however_often_something_changes_meanwhile() {
        let start = Instant::now();
        let mut work = Work::default();
        let mut tries = Vec::new();
        let mut now = start;
        for _ in 0..13 {
            for _ in 0..9 {
                work.changed(now);
                begin(&mut work, now);
                work.end(now, Next::Retry);
            }
            let next = work.wake(now).unwrap();
            tries.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(tries, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn a_look_for_what_a_command_may_make_keeps_no_other_work_waiting() {
        let start = Instant::now();
        let mut work = Work::default();
        work.changed(start);
        begin(&mut work, start);
        work.end(start, Next::LookAgain);
        assert_eq!(begin(&mut work, start), None);
        assert_eq!(work.wake(start), Some(start + LOOK_AGAIN));
        assert_eq!(
            begin(&mut work, start + LOOK_AGAIN),
            Some(start + LOOK_AGAIN)
        );
        work.end(start, Next::LookAgain);
        work.revisit(start);
        assert_eq!(begin(&mut work, start), Some(start));
        // The first failure is followed by the shortest pause.
        work.end(start, Next::Retry);
        assert_eq!(work.wake(start), Some(start + SECOND));
    }
}
