//! Limits how much is done at a time. What takes long waits for something, and others do not wait for it.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// So many turns at a time.
#[derive(Debug)]
pub struct Turns {
    free: Semaphore,
    longest: Duration,
}

impl Turns {
    /// `at_once` turns, none of which is longer than `longest` where others wait.
    pub fn new(at_once: usize, longest: Duration) -> Self {
        Self {
            free: Semaphore::new(at_once),
            longest,
        }
    }

    /// Does some work once it is its turn, and needs no memory for it before. Work that takes longer goes on
    /// without its turn, which the next one has then.
    ///
    /// `None` if no turns are given any more.
    pub async fn take<W: Future>(&self, work: impl FnOnce() -> W) -> Option<W::Output> {
        let turn = self.free.acquire().await.ok()?;
        let mut work = Box::pin(work());
        if let Ok(result) = timeout(self.longest, work.as_mut()).await {
            return Some(result);
        }
        drop(turn);
        Some(work.await)
    }

    /// Gives no turns any more.
    pub fn close(&self) {
        self.free.close();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use futures_util::future::join_all;
    use tokio::task::yield_now;
    use tokio::time::Instant;

    use super::*;

    const TURN: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn no_more_is_done_at_a_time_than_there_are_turns() {
        let turns = Turns::new(3, Duration::from_secs(60));
        let [now, most] = [const { Cell::new(0) }; 2];
        let work = || async {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            yield_now().await;
            now.set(now.get() - 1);
        };
        let all = join_all((0..20).map(|_| turns.take(work))).await;
        assert!(all.iter().all(Option::is_some));
        assert_eq!(most.get(), 3);
    }

    #[tokio::test]
    async fn what_hangs_has_one_turn_and_goes_on_after_it() {
        let turns = Turns::new(1, TURN);
        let hanging = turns.take(|| timeout(10 * TURN, pending::<()>()));
        let begin = Instant::now();
        let behind = async { (turns.take(|| async {}).await, begin.elapsed()) };
        let (hanging, (behind, waited)) = tokio::join!(hanging, behind);
        assert!(hanging.is_some_and(|ended| ended.is_err()) && behind.is_some());
        assert!(waited >= TURN && waited < 10 * TURN, "{waited:?}");
    }

    #[tokio::test]
    async fn nothing_is_begun_once_no_turns_are_given() {
        let turns = Turns::new(1, TURN);
        turns.close();
        assert_eq!(turns.take(|| async {}).await, None);
    }
}
