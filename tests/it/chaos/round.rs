//! One round of operations: those that have no object in common happen at the same time, the others
//! in their order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::history::Done;
use super::machine::Machine;
use super::operation::{Object, Operation};

/// An operation, and how many milliseconds to wait before it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) pause: u64,
    pub(super) operation: Operation,
}

/// Microseconds of the monotonic clock.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every machine has it");
    let now = Duration::from(now).as_micros();
    u64::try_from(now).expect("no machine runs so long")
}

/// Which step is next on each object.
struct Queues {
    steps: Mutex<BTreeMap<Object, VecDeque<usize>>>,
    moved: Condvar,
}

impl Queues {
    fn new(steps: &[Step]) -> Self {
        let mut queues: BTreeMap<Object, VecDeque<usize>> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            for object in step.operation.objects() {
                queues.entry(object).or_default().push_back(number);
            }
        }
        Self {
            steps: Mutex::new(queues),
            moved: Condvar::new(),
        }
    }

    /// Waits until a step is the first on all of its objects, which it is until the turn is dropped: a
    /// step that panics must not keep the others waiting.
    fn turn(&self, step: usize, objects: Vec<Object>) -> Turn<'_> {
        let waits = |queues: &mut BTreeMap<Object, VecDeque<usize>>| {
            let first = |object| queues[object].front() == Some(&step);
            !objects.iter().all(first)
        };
        let queues = self.steps.lock().expect("nobody panics with it");
        drop(self.moved.wait_while(queues, waits));
        Turn {
            queues: self,
            objects,
        }
    }
}

struct Turn<'a> {
    queues: &'a Queues,
    objects: Vec<Object>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queues = self.queues.steps.lock().expect("nobody panics with it");
        for object in &self.objects {
            queues.get_mut(object).and_then(VecDeque::pop_front);
        }
        self.queues.moved.notify_all();
    }
}

/// Carries a round out. Returns what was done, and what could not be.
pub(super) fn carry_out(machine: &Machine, steps: &[Step]) -> (Vec<Done>, Vec<String>) {
    let queues = Queues::new(steps);
    let step = |number: usize| {
        let Step { pause, operation } = &steps[number];
        let turn = queues.turn(number, operation.objects());
        std::thread::sleep(Duration::from_millis(*pause));
        let begun = now();
        let result = machine.carry_out(operation);
        let ended = now();
        drop(turn);
        let done = Done {
            operation: operation.clone(),
            begun,
            ended,
        };
        let failed = result.map_err(|error| format!("{operation}: {error}"));
        (done, failed.err())
    };
    std::thread::scope(|scope| {
        let step = &step;
        let threads = (0..steps.len()).map(|number| scope.spawn(move || step(number)));
        let threads: Vec<_> = threads.collect();
        let ended = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let (done, failed): (Vec<_>, Vec<_>) = ended.unzip();
        (done, failed.into_iter().flatten().collect())
    })
}
