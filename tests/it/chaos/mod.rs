//! The random test: operations of every kind on the real product, and after each round of them
//! everything as it must be.
//!
//! `make chaos SECONDS=600 SEED=n` runs it. The seed alone decides what happens in which order
//! (`operation`), carried out on a real engine, udevd and kernel (`machine`, `round`). What must be is
//! in `oracle`, for opens in `opens`; what is, is seen from outside (`look`).

mod api;
mod history;
mod look;
mod machine;
mod opens;
mod operation;
mod oracle;
mod pulse;
mod report;
mod round;
mod session;
mod soak;
mod udevd;
mod world;

use std::time::{Duration, Instant};

use crate::testbed::seed;

use session::Session;

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// By how much every limit is longer than on a machine that does nothing else.
fn patience() -> u64 {
    number("TTYPLUGD_TEST_PATIENCE").unwrap_or(1)
}

/// For so many seconds, or so many operations.
#[test]
#[ignore = "it takes as long as it is told to: make chaos"]
fn random_operations() {
    let seconds = number("TTYPLUGD_TEST_SECONDS").unwrap_or(600);
    let operations = number("TTYPLUGD_TEST_OPERATIONS");
    let without = std::env::var("TTYPLUGD_TEST_WITHOUT").unwrap_or_default();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut session = Session::new(seed(), &without);
    let goes_on = |done: u64| match operations {
        Some(operations) => done < operations,
        None => Instant::now() < end,
    };
    while goes_on(session.operations()) {
        session.round();
    }
    session.end();
}
