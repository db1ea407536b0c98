//! The opens of one container that are held, and for how long. Pure: times are milliseconds of a
//! clock that the caller keeps.

use serde::{Deserialize, Serialize};

use crate::hold::ContainerPorts;
use crate::model::Hold;

/// The call by which a thread opens something. An open that the kernel restarts after a signal
/// comes from the same call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub tid: u32,
    pub instruction: u64,
    pub path: u64,
    pub flags: u64,
}

/// Who opens, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opener {
    /// The name of the thread.
    pub command: String,
    /// The process that the thread belongs to, where that could still be seen.
    pub process: Option<u32>,
}

/// An open that a listener has announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub listener: u64,
    /// Its notification at that listener.
    pub id: u64,
    pub caller: Caller,
    pub path: String,
    pub opener: Opener,
}

/// An open that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub open: Open,
    pub since: u64,
    /// `None` is for ever.
    pub until: Option<u64>,
}

impl Held {
    fn reason_to_go_on(&self, now: u64, ports: &ContainerPorts) -> Option<Reason> {
        let path = &self.open.path;
        if self.until.is_some_and(|until| until <= now) {
            Some(Reason::Timeout)
        } else if ports.hold(path).is_some() {
            None
        } else if ports.is_ready(path) {
            Some(Reason::Ready)
        } else {
            Some(Reason::LetGo)
        }
    }
}

/// Why an open waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its port is ready.
    Ready,
    /// Its deadline has passed.
    Timeout,
    /// The port is not held any longer, or nothing in the container is.
    LetGo,
    /// It was interrupted, or its program was killed. A reason that only later versions know counts
    /// as this one.
    #[serde(other)]
    Gone,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::Ready, Self::Timeout, Self::LetGo, Self::Gone];

    /// Its name in the metrics, which never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Timeout => "timeout",
            Self::LetGo => "let_go",
            Self::Gone => "gone",
        }
    }
}

/// All held opens of one container, and those that were interrupted and may be restarted.
#[derive(Debug, Default)]
pub struct HeldOpens {
    held: Vec<Held>,
    interrupted: Vec<Interrupted>,
    gone: Vec<u64>,
}

/// A held open that was interrupted, or whose program was killed, and when that was seen.
#[derive(Debug)]
struct Interrupted {
    held: Held,
    at: u64,
}

impl HeldOpens {
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Holds an open. One that was interrupted and restarted keeps its first deadline: a program
    /// with a timer would wait for ever otherwise.
    pub fn hold(&mut self, open: Open, now: u64, hold: Hold) {
        let until = match hold {
            Hold::Off => Some(now),
            Hold::Seconds(seconds) => Some(now.saturating_add(seconds.saturating_mul(1000))),
            Hold::Forever => None,
        };
        let mut interrupted = self.interrupted.iter();
        let before = interrupted.position(|before| before.held.open.caller == open.caller);
        let before = before.map(|at| self.interrupted.remove(at).held);
        let (since, until) = before.map_or((now, until), |held| (held.since, held.until));
        self.other_open(open.caller.tid);
        self.held.push(Held { open, since, until });
    }

    /// The thread has opened something else, or has ended: its interrupted open is not restarted.
    pub fn other_open(&mut self, tid: u32) {
        self.give_up(|held| held.open.caller.tid == tid);
    }

    /// Counts interrupted opens that are not restarted as gone.
    fn give_up(&mut self, is_gone: impl Fn(&Held) -> bool) {
        let (gone, interrupted): (Vec<_>, Vec<_>) = self
            .interrupted
            .drain(..)
            .partition(|interrupted| is_gone(&interrupted.held));
        self.interrupted = interrupted;
        let gone = gone.into_iter();
        self.gone
            .extend(gone.map(|Interrupted { held, at }| at.saturating_sub(held.since)));
    }

    /// Takes out those that are gone: for how long each has waited.
    pub fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    /// Takes out those that go on now, with the reason.
    pub fn release(
        &mut self,
        now: u64,
        ports: &ContainerPorts,
        let_all_go: bool,
    ) -> Vec<(Held, Reason)> {
        let mut released = Vec::new();
        self.held.retain(|held| {
            let reason = match let_all_go {
                true => Some(Reason::LetGo),
                false => held.reason_to_go_on(now, ports),
            };
            released.extend(reason.map(|reason| (held.clone(), reason)));
            reason.is_none()
        });
        released
    }

    /// Finds out which held opens were interrupted, by `waits`, and which of those are not
    /// restarted, since their thread is not `alive`. Returns whether any was interrupted.
    pub fn sweep(
        &mut self,
        now: u64,
        waits: impl Fn(&Held) -> bool,
        alive: impl Fn(u32) -> bool,
    ) -> bool {
        let (held, interrupted): (Vec<_>, Vec<_>) = self.held.drain(..).partition(waits);
        self.held = held;
        let changed = !interrupted.is_empty();
        let interrupted = interrupted.into_iter();
        self.interrupted
            .extend(interrupted.map(|held| Interrupted { held, at: now }));
        self.give_up(|held| !alive(held.open.caller.tid));
        changed
    }

    /// When the next deadline is.
    pub fn next_deadline(&self) -> Option<u64> {
        self.held.iter().filter_map(|held| held.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::{ContainerPort, DEFAULT_HOLD};

    fn ports(ready: bool, hold: Hold) -> ContainerPorts {
        ContainerPorts {
            ports: vec![ContainerPort {
                port: "zwave".into(),
                names: vec!["/dev/zwave".into(), "/dev/serial/by-id/x".into()],
                ready,
                hold,
            }],
            every: false,
        }
    }

    fn caller(tid: u32) -> Caller {
        Caller {
            tid,
            instruction: 1,
            path: 2,
            flags: 3,
        }
    }

    fn hold(holds: &mut HeldOpens, id: u64, caller: Caller, now: u64) {
        let open = Open {
            listener: 0,
            id,
            caller,
            path: "/dev/zwave".into(),
            opener: Opener {
                command: "app".into(),
                process: Some(1),
            },
        };
        holds.hold(open, now, Hold::Seconds(10));
    }

    #[test]
    fn a_held_open_goes_on_when_its_port_is_ready_or_its_time_is_over() {
        let mut holds = HeldOpens::default();
        hold(&mut holds, 1, caller(1), 1000);
        let waiting = ports(false, DEFAULT_HOLD);
        assert_eq!(holds.release(10_999, &waiting, false), []);
        assert_eq!(holds.next_deadline(), Some(11_000));
        let released = holds.release(11_000, &waiting, false);
        assert_eq!(released[0].1, Reason::Timeout);
        hold(&mut holds, 2, caller(1), 20_000);
        let released = holds.release(20_001, &ports(true, DEFAULT_HOLD), false);
        assert_eq!(released[0].1, Reason::Ready);
        hold(&mut holds, 3, caller(1), 20_000);
        assert_eq!(holds.release(20_001, &waiting, true)[0].1, Reason::LetGo);
        assert_eq!(holds.next_deadline(), None);
    }

    #[test]
    fn a_restarted_open_keeps_its_first_deadline_and_a_retry_starts_a_new_one() {
        let mut holds = HeldOpens::default();
        hold(&mut holds, 1, caller(1), 1000);
        assert!(holds.sweep(2000, |_| false, |_| true));
        hold(&mut holds, 2, caller(1), 5000);
        assert_eq!(holds.held()[0].until, Some(11_000));
        assert_eq!(holds.held()[0].since, 1000);
        // Answered, and opened again by the program itself.
        holds.release(11_000, &ports(false, DEFAULT_HOLD), false);
        hold(&mut holds, 3, caller(1), 12_000);
        assert_eq!(holds.held()[0].until, Some(22_000));
        // Interrupted, and then the thread opens something else, or ends.
        for end in [0, 1] {
            holds.sweep(30_000, |_| false, |_| end == 0);
            if end == 0 {
                holds.other_open(1);
            }
            hold(&mut holds, 4, caller(1), 50_000);
            assert_eq!(holds.held()[0].until, Some(60_000));
        }
        // Another place in the program is another open.
        holds.sweep(52_000, |_| false, |_| true);
        let elsewhere = Caller {
            instruction: 9,
            ..caller(1)
        };
        hold(&mut holds, 5, elsewhere, 55_000);
        assert_eq!(holds.held()[0].until, Some(65_000));
    }

    #[test]
    fn an_interrupted_open_that_is_not_restarted_is_gone_once() {
        let mut holds = HeldOpens::default();
        // Restarted: it goes on to wait.
        hold(&mut holds, 1, caller(1), 1000);
        holds.sweep(2000, |_| false, |_| true);
        hold(&mut holds, 2, caller(1), 5000);
        assert!(holds.take_gone().is_empty());
        // Its thread opens something else.
        holds.sweep(6000, |_| false, |_| true);
        assert!(holds.take_gone().is_empty());
        holds.other_open(1);
        assert_eq!(holds.take_gone(), [5000]);
        assert!(holds.take_gone().is_empty());
        // Killed.
        hold(&mut holds, 3, caller(2), 7000);
        holds.sweep(7500, |_| false, |_| false);
        assert_eq!(holds.take_gone(), [500]);
        // Released: that is said by `release` alone.
        hold(&mut holds, 4, caller(3), 8000);
        holds.release(8100, &ports(true, DEFAULT_HOLD), false);
        holds.other_open(3);
        assert!(holds.take_gone().is_empty());
    }
}
