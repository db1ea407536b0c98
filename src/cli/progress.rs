//! How long a command has waited for what, in one line on a terminal that is always drawn anew.

use std::io::{IsTerminal, Write, stderr};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Does work that waits for something, and shows every second for how long it has, and for `what`.
pub(super) async fn shown<T>(work: impl Future<Output = T>, what: impl Fn() -> String) -> T {
    if !stderr().is_terminal() {
        return work.await;
    }
    let (mut work, mut line, begun) = (pin!(work), Line::default(), Instant::now());
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(SECOND) => line.draw(begun.elapsed().as_secs(), &what()),
        }
    }
}

/// The line that the cursor is in. What was drawn is erased at the end.
#[derive(Default)]
struct Line {
    is_drawn: bool,
}

impl Line {
    /// Without the automatic margin (DECAWM), a line that is too long goes on in its last column, and
    /// not in the next line, from where the cursor would not come back. Errors are not shown: this is
    /// all that would be.
    fn draw(&mut self, seconds: u64, what: &str) {
        self.is_drawn = true;
        let _ = write!(
            stderr(),
            "\r\x1b[?7lwaiting {seconds} s {what}\x1b[K\x1b[?7h"
        );
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_drawn {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
