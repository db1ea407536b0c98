//! Threads that take work from one queue, so a batch of it wakes few of them. There are so many that they
//! need not wait for each other. One whose work takes long counts no more, and another takes its place.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, available_parallelism};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long a thread without work waits for more. Each that is kept has memory of its own, its stack
/// and what malloc caches for it (mallopt(3)).
const KEPT_FOR: Duration = Duration::from_millis(500);

/// How many threads may be blocked at a time. Each has a stack, and a host has few containers that hang.
const MOST_OVERDUE: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Crew {
    queue: Arc<Mutex<Queue>>,
    more: Arc<Condvar>,
    /// How many threads take work.
    most: usize,
    /// Work that takes longer waits for something, and others do not wait for it.
    turn: Duration,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Task>,
    /// The work that is not overdue, and when it was begun.
    begun: Vec<(Stage, Instant)>,
    /// The threads that take work, and which of them have none.
    threads: usize,
    idle: usize,
    /// The threads that were replaced.
    overdue: usize,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut queue = f.debug_struct("Queue");
        queue.field("waiting", &self.waiting.len());
        queue.field("threads", &self.threads);
        queue.field("overdue", &self.overdue).finish()
    }
}

struct Task {
    work: Box<dyn FnOnce() + Send>,
    stage: Stage,
}

/// Work that was put into the queue.
#[derive(Debug)]
pub(super) struct Queued<T> {
    pub(super) result: oneshot::Receiver<T>,
    pub(super) stage: Stage,
}

/// How far some work has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage(Arc<AtomicU8>);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
/// Its thread was replaced.
const OVERDUE: u8 = 2;
const ENDED: u8 = 3;
/// Nobody wants it done any more.
const WITHDRAWN: u8 = 4;

impl Stage {
    pub(super) fn is_overdue(&self) -> bool {
        self.0.load(Ordering::Acquire) == OVERDUE
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) == ENDED
    }

    /// Keeps the work from being begun. Returns whether that is so.
    pub(super) fn withdraw(&self) -> bool {
        self.change(WAITING, WITHDRAWN)
    }

    fn begin(&self) -> bool {
        self.change(WAITING, BEGUN)
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let changed = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        changed.is_ok()
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Crew {
    /// One for work that needs the processor.
    pub(super) fn by_cores(turn: Duration) -> Self {
        Self::new(available_parallelism().map_or(1, usize::from), turn)
    }

    pub(super) fn new(most: usize, turn: Duration) -> Self {
        Self {
            queue: Arc::default(),
            more: Arc::default(),
            most,
            turn,
        }
    }

    /// Puts work at the end of the queue.
    pub(super) fn put<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Queued<T> {
        let (done, result) = oneshot::channel();
        let stage = Stage::default();
        let task = Task {
            work: Box::new(move || drop(done.send(work()))),
            stage: stage.clone(),
        };
        let mut queue = self.queue();
        queue.waiting.push_back(task);
        self.fill(&mut queue);
        let has_idle = queue.idle > 0;
        // The thread that is woken needs the lock at once.
        drop(queue);
        if has_idle {
            self.more.notify_one();
        }
        Queued { result, stage }
    }

    /// Replaces the threads whose work takes long: what is behind it does not wait for its end.
    pub(super) fn replace_overdue(&self) {
        let mut queue = self.queue();
        while queue.overdue < MOST_OVERDUE {
            let mut begun = queue.begun.iter();
            let Some(at) = begun.position(|(_, since)| since.elapsed() >= self.turn) else {
                break;
            };
            let (stage, _) = queue.begun.swap_remove(at);
            stage.0.store(OVERDUE, Ordering::Release);
            queue.threads -= 1;
            queue.overdue += 1;
            self.fill(&mut queue);
        }
    }

    /// Starts a thread if more waits than the idle ones can begin.
    fn fill(&self, queue: &mut Queue) {
        if queue.waiting.len() > queue.idle && queue.threads < self.most {
            let crew = self.clone();
            // Without memory for a thread, what is put next tries again.
            let started = Builder::new().spawn(move || crew.work());
            queue.threads += usize::from(started.is_ok());
        }
    }

    /// Works until there has been nothing to do for a while, or this thread was replaced.
    fn work(&self) {
        while let Some(Task { work, stage }) = self.next() {
            work();
            if !self.end(&stage) {
                return;
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.queue();
        loop {
            match queue.waiting.pop_front() {
                Some(task) if task.stage.begin() => {
                    queue.begun.push((task.stage.clone(), Instant::now()));
                    return Some(task);
                }
                Some(_withdrawn) => {}
                None => queue = self.wait(queue)?,
            }
        }
    }

    /// Some work has ended. Returns whether its thread goes on.
    fn end(&self, stage: &Stage) -> bool {
        let mut queue = self.queue();
        stage.0.store(ENDED, Ordering::Release);
        let own = queue.begun.iter().position(|(its, _)| its.is(stage));
        match own {
            Some(at) => drop(queue.begun.swap_remove(at)),
            None => queue.overdue -= 1,
        }
        own.is_some()
    }

    /// `None` if there is nothing to do, and this thread is not counted any more.
    fn wait<'a>(&self, mut queue: MutexGuard<'a, Queue>) -> Option<MutexGuard<'a, Queue>> {
        queue.idle += 1;
        let waited = self.more.wait_timeout(queue, KEPT_FOR);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
        if waited.timed_out() && queue.waiting.is_empty() {
            queue.threads -= 1;
            return None;
        }
        Some(queue)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Work that hangs until the sender is dropped.
    fn hang(crew: &Crew) -> (Sender<()>, Queued<bool>) {
        let (go_on, waits): (_, Receiver<()>) = channel();
        (go_on, crew.put(move || waits.recv().is_err()))
    }

    fn counts(crew: &Crew) -> (usize, usize) {
        let queue = crew.queue();
        (queue.threads, queue.overdue)
    }

    async fn is_overdue(crew: &Crew, stage: &Stage) {
        while !stage.is_overdue() {
            tokio::time::sleep(crew.turn).await;
            crew.replace_overdue();
        }
    }

    #[tokio::test]
    async fn work_that_hangs_delays_no_other_and_its_thread_leaves_at_its_end() {
        let crew = Crew::new(2, Duration::from_millis(1));
        let hanging = [(); 2].map(|()| hang(&crew));
        let behind = crew.put(|| 7);
        for (_, work) in &hanging {
            is_overdue(&crew, &work.stage).await;
        }
        assert_eq!(behind.result.await, Ok(7));
        assert_eq!(counts(&crew).1, 2);
        for (go_on, work) in hanging {
            drop(go_on);
            assert_eq!(work.result.await, Ok(true));
        }
        while counts(&crew).1 > 0 {
            tokio::time::sleep(crew.turn).await;
        }
        assert!(counts(&crew).0 <= 2);
        assert_eq!(crew.put(|| 8).result.await, Ok(8));
    }

    #[tokio::test]
    async fn what_was_withdrawn_is_not_begun() {
        let crew = Crew::new(1, Duration::from_secs(60));
        let (go_on, first) = hang(&crew);
        let second = crew.put(|| 7);
        assert!(second.stage.withdraw());
        drop(go_on);
        assert!(first.result.await.is_ok());
        assert!(second.result.await.is_err());
        assert!(!first.stage.withdraw());
    }

    #[tokio::test]
    async fn threads_without_work_leave() {
        let crew = Crew::new(2, Duration::from_secs(60));
        let all = [1, 2, 3].map(|number| crew.put(move || number));
        for (number, work) in (1..).zip(all) {
            assert_eq!(work.result.await, Ok(number));
        }
        while counts(&crew).0 > 0 {
            tokio::time::sleep(KEPT_FOR / 10).await;
        }
        assert_eq!(crew.put(|| 7).result.await, Ok(7));
    }
}
