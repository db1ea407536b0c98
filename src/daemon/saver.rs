//! Writes what is known for the next boot, beside the loop: the disk may be slow, full or
//! read-only, and no port waits for it.

use std::time::Duration;

use anyhow::Context;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use crate::daemon::shared::Shared;
use crate::store::Known;
use crate::sys::backoff::backoff;

/// How long a write may take before that is reported.
const SLOW: Duration = Duration::from_secs(10);

/// The longest pause before the next try: until then a container that starts without the daemon goes by
/// what was written before.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One write at a time, and the next try after one that failed.
#[derive(Debug, Default)]
pub struct Saver {
    writing: Option<JoinHandle<anyhow::Result<()>>>,
    /// When the write is reported as slow; `None` once it was.
    slow_at: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Saver {
    /// Starts to write, if something is not written yet.
    pub fn start(&mut self, known: &mut Known, now: Instant) {
        if self.writing.is_some() || self.retry_at.is_some_and(|retry| now < retry) {
            return;
        }
        if let Some(files) = known.begin_write() {
            self.writing = Some(spawn_blocking(move || files.write()));
            self.slow_at = Some(now + SLOW);
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
        self.retry_at = pause.map(|pause| Instant::now() + pause);
        self.failures = match has_failed {
            true => self.failures + 1,
            false => 0,
        };
    }

    /// When the next try is due.
    pub fn wake(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.writing.is_none())
    }

    /// Writes what is left, before the daemon ends.
    pub async fn finish(&mut self, shared: &Shared, limit: Duration) {
        let finish = async {
            if let Some(Saved::Ended(written)) = self.next().await {
                let known = &mut shared.state.borrow_mut().store.known;
                known.end_write(written.is_ok());
            }
            self.retry_at = None;
            self.start(&mut shared.state.borrow_mut().store.known, Instant::now());
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
}
