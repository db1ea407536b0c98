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

    /// Waits for a turn, and then begins the work: it needs no memory before. Work that takes longer than its
    /// turn goes on without it, and the next one begins.
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

    use futures_util::future::join_all;
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

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
        let (go_on, waits) = oneshot::channel();
        let hanging = turns.take(|| waits);
        let behind = turns.take(|| async { go_on.send(()) });
        let both = async { tokio::join!(hanging, behind) };
        let both = timeout(Duration::from_secs(60), both).await;
        assert_eq!(both, Ok((Some(Ok(())), Some(Ok(())))));
    }

    #[tokio::test]
    async fn nothing_is_begun_once_no_turns_are_given() {
        let turns = Turns::new(1, TURN);
        turns.close();
        assert_eq!(turns.take(|| async {}).await, None);
    }
}
