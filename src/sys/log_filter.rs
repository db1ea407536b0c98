//! Suppresses lines about a container of which too many come.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::sys::log_limit::LogLimit;

/// That of the process, once it logs.
static STATE: Mutex<Option<State>> = Mutex::new(None);

struct State {
    clock: Instant,
    /// By container, and whether they are warnings: a flood of others hides none.
    limit: LogLimit<(String, bool)>,
}

/// Uses the limit of this process and its clock. `None` if the process does not log.
pub(super) fn with_limit<T>(
    use_it: impl FnOnce(&mut LogLimit<(String, bool)>, u64) -> T,
) -> Option<T> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = state.as_mut()?;
    let now = u64::try_from(state.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    Some(use_it(&mut state.limit, now))
}

/// Passes so many lines at once about each container, and later one a second.
pub(super) struct LogFilter(());

impl LogFilter {
    pub(super) fn new(burst: u64) -> Self {
        let state = State {
            clock: Instant::now(),
            limit: LogLimit::new(burst),
        };
        *STATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        Self(())
    }
}

impl<S: Subscriber> Layer<S> for LogFilter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let mut subject = Subject::default();
        event.record(&mut subject);
        if subject.is_report {
            return true;
        }
        let key = (subject.container, *event.metadata().level() <= Level::WARN);
        let admitted = with_limit(|limit, now| limit.admit(key, now));
        admitted.unwrap_or(true)
    }
}

/// What a line is about.
#[derive(Default)]
struct Subject {
    container: String,
    /// It says how many lines are missing.
    is_report: bool,
}

impl Visit for Subject {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "container_id" {
            value.clone_into(&mut self.container);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "container_id" => self.container = format!("{value:?}"),
            "missing_lines" => self.is_report = true,
            _ => {}
        }
    }
}
