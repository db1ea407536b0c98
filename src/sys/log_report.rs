//! Says how many log lines are missing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::sys::journal;
use crate::sys::log_filter::with_limit;
use crate::sys::logging::kind;

/// After what time it is tried again to say how many lines the journal has not taken, in
/// milliseconds.
const RETRY_MS: u64 = 10_000;

static DROPPED: Mutex<Dropped> = Mutex::new(Dropped {
    said: 0,
    retry_at: 0,
});

/// What was said of the lines that the journal has not taken.
struct Dropped {
    /// So many need not be said any more.
    said: u64,
    retry_at: u64,
}

/// Says how many lines are missing, if that is due. Returns after what time there is more to say.
pub fn report_missing() -> Option<Duration> {
    let now = with_limit(|_, now| now)?;
    report_suppressed(now);
    let retry = report_dropped(now);
    let suppressed = with_limit(|limit, _| limit.next_report()).flatten();
    let next = suppressed.into_iter().chain(retry).min();
    next.map(|at| Duration::from_millis(at.saturating_sub(now)))
}

/// Says how many lines were suppressed, before the program ends.
pub fn report_last() {
    report_suppressed(u64::MAX);
}

fn report_suppressed(now: u64) {
    let suppressed = with_limit(|limit, _| limit.take_suppressed(now));
    for ((container, _), missing_lines) in suppressed.into_iter().flatten() {
        tracing::warn!(
            message_id = kind::LINES_MISSING,
            container_id = Some(&*container).filter(|id| !id.is_empty()),
            missing_lines,
            "{missing_lines} log lines suppressed"
        );
    }
}

/// Says how many lines the journal has not taken. It may not take this one either: returns when to
/// try again.
fn report_dropped(now: u64) -> Option<u64> {
    let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = journal::dropped();
    let missing_lines = before.saturating_sub(dropped.said);
    if missing_lines == 0 || now < dropped.retry_at {
        return (missing_lines > 0).then_some(dropped.retry_at);
    }
    tracing::warn!(
        message_id = kind::LINES_MISSING,
        missing_lines,
        "{missing_lines} log lines were dropped because the journal did not take them"
    );
    let after = journal::dropped();
    if after == before {
        dropped.said = before;
        return None;
    }
    // This line itself need not be said.
    dropped.said += after - before;
    dropped.retry_at = now + RETRY_MS;
    Some(dropped.retry_at)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::sys::log_filter::LogFilter;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_about_a_container_hides_nothing_else_and_what_is_missing_is_said() {
        let log = Log::default();
        let writer = log.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let registry = tracing_subscriber::registry();
        let subscriber = registry.with(layer).with(LogFilter::new(20));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..1000 {
                tracing::info!(container_id = "noisy", "flood");
            }
            tracing::info!(container_id = %"quiet", "another");
            tracing::event!(tracing::Level::WARN, container_id = "noisy", "warning");
            tracing::info!("of none");
            report_last();
            report_last();
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let count = |words: &str| text.matches(words).count();
        let flood = count("flood");
        // The test may take longer than a second.
        assert!((20..30).contains(&flood), "{text}");
        assert_eq!(
            ["another", "warning", "of none"].map(count),
            [1, 1, 1],
            "{text}"
        );
        let missing = format!("{} log lines suppressed", 1000 - flood);
        assert_eq!(count(&missing), 1, "{text}");
    }
}
