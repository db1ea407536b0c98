//! Writes what is known for the next boot, beside the loop: the disk may be slow, full or
//! read-only, and no port waits for it.

use std::time::Duration;

use anyhow::Context;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use crate::daemon::shared::Shared;
use crate::store::Known;
use crate::sys::backoff::backoff;

/// How long a write waits for what changes at the same time, and for the containers, whose ports are more
/// urgent.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a write may take before that is reported.
const SLOW: Duration = Duration::from_secs(10);

/// The longest pause before the next try: until then a container that starts without the daemon goes by
/// what was written before.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One write at a time, and when the next one is.
#[derive(Debug, Default)]
pub struct Saver {
    writing: Option<JoinHandle<anyhow::Result<()>>>,
    /// When the write is reported as slow; `None` once it was.
    slow_at: Option<Instant>,
    failures: u32,
    /// When the next write begins, if something is not written; `None` during a write.
    next: Option<Instant>,
}

impl Saver {
    /// Starts to write what is not written, once its time has come.
    pub fn start(&mut self, known: &mut Known, now: Instant) {
        if self.writing.is_some() || !known.has_unwritten() {
            return;
        }
        let next = *self.next.get_or_insert(now + PAUSE);
        if next <= now {
            self.begin(known);
        }
    }

    /// Starts to write at once what is not written.
    pub fn begin(&mut self, known: &mut Known) {
        if self.writing.is_some() {
            return;
        }
        self.next = None;
        if let Some(files) = known.begin_write() {
            self.writing = Some(spawn_blocking(move || files.write()));
            self.slow_at = Some(Instant::now() + SLOW);
        }
    }

    /// Waits until a write has ended, or has taken too long. `None` if there is none.
    pub async fn next(&mut self) -> Option<Saved> {
        let writing = self.writing.as_mut()?;
        let ended = match self.slow_at {
            Some(slow_at) => timeout_at(slow_at, writing).await,
            None => Ok(writing.await),
        };
        let Ok(ended) = ended else {
            self.slow_at = None;
            return Some(Saved::Slow);
        };
        self.writing = None;
        let written = ended
            .context("writing panicked")
            .and_then(|written| written);
        self.plan_retry(written.is_err());
        Some(Saved::Ended(written))
    }

    fn plan_retry(&mut self, has_failed: bool) {
        let pause = has_failed.then(|| backoff(self.failures).min(LONGEST_PAUSE));
        self.next = pause.map(|pause| Instant::now() + pause);
        self.failures = match has_failed {
            true => self.failures + 1,
            false => 0,
        };
    }

    /// When the next write is due.
    pub fn wake(&self) -> Option<Instant> {
        self.next
    }

    /// Writes what is left, before the daemon ends.
    pub async fn finish(&mut self, shared: &Shared, limit: Duration) {
        let finish = async {
            if let Some(Saved::Ended(written)) = self.next().await {
                let known = &mut shared.state.borrow_mut().store.known;
                known.end_write(written.is_ok());
            }
            self.begin(&mut shared.state.borrow_mut().store.known);
            self.next().await;
        };
        let _ = timeout(limit, finish).await;
    }
}

/// What has become of a write.
#[derive(Debug)]
pub enum Saved {
    Ended(anyhow::Result<()>),
    Slow,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;
    use crate::daemon::state::State;
    use crate::model::fixtures::container;
    use crate::model::inventory::{ContainerId, Inventory};
    use crate::plan::assign::Assignments;
    use crate::store::Store;

    #[test]
    fn a_disk_that_was_full_for_long_is_written_to_soon_after_it_has_room() {
        let mut saver = Saver::default();
        for _ in 0..20 {
            saver.plan_retry(true);
        }
        let wake = saver.wake().unwrap();
        assert!(wake <= Instant::now() + Duration::from_secs(10));
        saver.plan_retry(false);
        assert_eq!(saver.wake(), None);
    }

    #[tokio::test]
    async fn what_changes_at_the_same_time_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut known = Store::read(directory.path(), directory.path()).known;
        let (mut saver, now) = (Saver::default(), Instant::now());
        saver.start(&mut known, now);
        assert_eq!(saver.wake(), None);
        for ids in [1, 2] {
            let containers = (0..ids).map(|id| {
                let id = ContainerId::of_docker(id.to_string());
                (id, container("app", &[]))
            });
            let inventory = Inventory {
                containers: containers.collect(),
                ..Inventory::default()
            };
            known.put(&inventory, &Assignments::default(), |_| true, |_| false);
            saver.start(&mut known, now);
            assert_eq!(saver.wake(), Some(now + PAUSE));
        }
        saver.start(&mut known, now + PAUSE);
        assert_eq!(saver.wake(), None);
        assert!(matches!(saver.next().await, Some(Saved::Ended(Ok(())))));
        known.end_write(true);
        saver.start(&mut known, now + PAUSE);
        assert!(saver.next().await.is_none());
        let written = Store::read(directory.path(), directory.path()).known;
        assert_eq!(written.ids().count(), 2);
    }

    #[tokio::test]
    async fn what_has_just_changed_is_written_before_the_daemon_ends() {
        let directory = tempfile::tempdir().unwrap();
        let store = || Store::read(directory.path(), directory.path());
        let state = State::new(Settings::default(), Inventory::default(), store());
        let shared = Shared::new(state);
        let app = (ContainerId::of_docker("1".into()), container("app", &[]));
        let inventory = Inventory {
            containers: [app].into(),
            ..Inventory::default()
        };
        let mut saver = Saver::default();
        {
            let known = &mut shared.state.borrow_mut().store.known;
            known.put(&inventory, &Assignments::default(), |_| true, |_| false);
            saver.start(known, Instant::now());
        }
        saver.finish(&shared, SLOW).await;
        assert_eq!(store().known.ids().count(), 1);
    }
}
