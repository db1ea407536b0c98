//! Bounds how much is logged about each container, however often something happens in it. Pure:
//! times are milliseconds of a clock that the caller keeps.

use std::collections::BTreeMap;
use std::mem::take;

/// How often there may be one more line, in milliseconds.
const REFILL_MS: u64 = 1000;

/// After what time it is said how many lines were suppressed.
const REPORT_MS: u64 = 10_000;

/// How many subjects there may be before those are forgotten of which nothing is to be remembered.
const MOST_FULL: usize = 64;

/// A token bucket for each subject.
#[derive(Debug)]
pub(super) struct LogLimit<S> {
    /// How many lines a bucket has when it is full, as the time in which it fills.
    full_ms: u64,
    buckets: BTreeMap<S, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// When it is full again.
    full_at: u64,
    suppressed: u64,
    report_at: u64,
}

impl<S: Ord + Clone> LogLimit<S> {
    /// So many lines of each subject are logged at once.
    pub(super) fn new(burst: u64) -> Self {
        Self {
            full_ms: burst * REFILL_MS,
            buckets: BTreeMap::new(),
        }
    }

    /// Whether a line is to be logged.
    pub(super) fn admit(&mut self, subject: S, now: u64) -> bool {
        if self.buckets.len() > MOST_FULL {
            let is_full = |bucket: &Bucket| bucket.full_at <= now && bucket.suppressed == 0;
            self.buckets.retain(|_, bucket| !is_full(bucket));
        }
        let bucket = self.buckets.entry(subject).or_default();
        bucket.admit(self.full_ms, now)
    }

    /// Takes out how many lines were suppressed, by subject, where it is time to say so.
    pub(super) fn take_suppressed(&mut self, now: u64) -> Vec<(S, u64)> {
        let buckets = self.buckets.iter_mut();
        let due = buckets.filter(|(_, bucket)| bucket.suppressed > 0 && bucket.report_at <= now);
        due.map(|(subject, bucket)| (subject.clone(), take(&mut bucket.suppressed)))
            .collect()
    }

    /// When there is something to say.
    pub(super) fn next_report(&self) -> Option<u64> {
        let pending = self.buckets.values().filter(|bucket| bucket.suppressed > 0);
        pending.map(|bucket| bucket.report_at).min()
    }
}

impl Bucket {
    fn admit(&mut self, full_ms: u64, now: u64) -> bool {
        let full_at = self.full_at.max(now) + REFILL_MS;
        if full_at - now <= full_ms {
            self.full_at = full_at;
            return true;
        }
        if self.suppressed == 0 {
            self.report_at = now + REPORT_MS;
        }
        self.suppressed += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(limit: &mut LogLimit<String>, subject: &str, lines: u64, now: u64) -> usize {
        (0..lines)
            .filter(|_| limit.admit(subject.into(), now))
            .count()
    }

    #[test]
    fn a_burst_is_logged_and_then_a_line_a_second() {
        let mut limit = LogLimit::new(20);
        assert_eq!(admitted(&mut limit, "a", 1000, 5000), 20);
        assert_eq!(admitted(&mut limit, "a", 1000, 5999), 0);
        assert_eq!(admitted(&mut limit, "a", 1000, 6000), 1);
        assert_eq!(admitted(&mut limit, "b", 1000, 6000), 20);
        assert_eq!(admitted(&mut limit, "a", 1000, 60_000), 20);
    }

    #[test]
    fn every_line_that_is_missing_is_counted_once() {
        let mut limit = LogLimit::new(20);
        admitted(&mut limit, "a", 20, 0);
        assert_eq!(limit.next_report(), None);
        admitted(&mut limit, "a", 70, 100);
        admitted(&mut limit, "b", 21, 5000);
        assert_eq!(limit.next_report(), Some(10_100));
        assert_eq!(limit.take_suppressed(10_099), []);
        assert_eq!(limit.take_suppressed(10_100), [("a".into(), 70)]);
        assert_eq!(limit.next_report(), Some(15_000));
        assert_eq!(limit.take_suppressed(20_000), [("b".into(), 1)]);
        assert_eq!(limit.take_suppressed(90_000), []);
    }

    #[test]
    fn only_what_may_still_matter_is_remembered() {
        let mut limit = LogLimit::new(2);
        admitted(&mut limit, "flood", 10, 0);
        for number in 0..10_000 {
            limit.admit(number.to_string(), number * 100);
            assert!(limit.buckets.len() <= MOST_FULL + 2);
        }
        assert_eq!(limit.take_suppressed(10_000), [("flood".into(), 8)]);
    }
}
