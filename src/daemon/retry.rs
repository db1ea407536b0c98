//! When to work on a container: at once when something has changed, and after a failure again,
//! with pauses that grow. The retry policy is here and nowhere else.
//!
//! There is no clock in here; whoever calls says what time it is.

use std::time::Instant;

use crate::sys::backoff::backoff;

/// The work for one container.
#[derive(Debug, Default)]
pub struct Work {
    stage: Stage,
    failures: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is nothing to do.
    #[default]
    Idle,
    /// There has been something to do since then.
    Due { since: Instant },
    /// It has failed, and is tried again at that time.
    Waiting { until: Instant },
    /// It is being done. What has changed since it began is not in it, and has to be done after.
    Running { again: Option<Instant> },
}

impl Work {
    /// Something has changed for this container: now is the time to try, whatever failed before.
    pub fn changed(&mut self, now: Instant) {
        self.stage = match self.stage {
            Stage::Idle | Stage::Waiting { .. } => Stage::Due { since: now },
            Stage::Due { since } => Stage::Due { since },
            Stage::Running { again } => Stage::Running {
                again: again.or(Some(now)),
            },
        };
    }

    /// Everything is looked at again, and this container with it. That is no news of the
    /// container: if it is waiting after a failure it waits on.
    pub fn revisit(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Waiting { .. }) {
            self.changed(now);
        }
    }

    /// Begins the work if it is time to. Returns since when there has been something to do.
    pub fn begin(&mut self, now: Instant) -> Option<Instant> {
        let since = match self.stage {
            Stage::Due { since } => since,
            Stage::Waiting { until } if until <= now => now,
            _ => return None,
        };
        self.stage = Stage::Running { again: None };
        Some(since)
    }

    /// The work has come to its end; `retry` if it failed in a way that may pass.
    pub fn end(&mut self, now: Instant, retry: bool) {
        let pause = backoff(self.failures);
        self.failures = if retry { self.failures + 1 } else { 0 };
        self.stage = match self.stage {
            Stage::Running { again: Some(since) } => Stage::Due { since },
            _ if retry => Stage::Waiting { until: now + pause },
            _ => Stage::Idle,
        };
    }

    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// When it will be time for the next try, if one is waited for. One whose time has come and
    /// that was not begun waits for something else, an engine or the end of a pause, and what
    /// brings that brings it here again.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Waiting { until } if until > now => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_change_during_the_work_is_worked_on_after_it() {
        let start = Instant::now();
        let mut work = Work::default();
        assert_eq!(work.begin(start), None);
        work.changed(start);
        assert_eq!(work.begin(start + SECOND), Some(start));
        assert_eq!(work.begin(start + SECOND), None);
        work.changed(start + SECOND);
        work.changed(start + 2 * SECOND);
        work.end(start + 3 * SECOND, false);
        assert_eq!(work.begin(start + 3 * SECOND), Some(start + SECOND));
        work.end(start + 4 * SECOND, false);
        assert_eq!(work.begin(start + 9 * SECOND), None);
    }

    #[test]
    fn a_failure_is_waited_out_unless_something_changes() {
        let start = Instant::now();
        let mut work = Work::default();
        work.changed(start);
        work.begin(start);
        work.end(start, true);
        assert_eq!(work.wake(start), Some(start + SECOND));
        assert_eq!(work.wake(start + SECOND), None);
        work.revisit(start);
        assert_eq!(work.begin(start), None);
        assert_eq!(work.begin(start + SECOND), Some(start + SECOND));
        work.end(start + SECOND, true);
        assert_eq!(work.wake(start), Some(start + 3 * SECOND));
        work.changed(start + SECOND);
        assert_eq!(work.begin(start + SECOND), Some(start + SECOND));
        work.end(start + SECOND, false);
        assert_eq!(work.wake(start), None);
        work.changed(start);
        work.begin(start);
        work.end(start, true);
        assert_eq!(work.wake(start), Some(start + SECOND));
    }
}
