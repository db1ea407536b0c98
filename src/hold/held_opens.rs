//! Which opens are held, and for how long. Pure; times are milliseconds of a clock that the
//! caller keeps.

use serde::{Deserialize, Serialize};

use crate::hold::ContainerPorts;
use crate::model::Hold;

/// One place in one thread's program that opens one thing: by this an open that the kernel
/// restarted after a signal is known again.
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

/// An open that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which listener, and its notification there.
    pub listener: u64,
    pub id: u64,
    pub caller: Caller,
    pub path: String,
    pub opener: Opener,
    pub since: u64,
    /// `None` is for ever.
    pub until: Option<u64>,
}

/// Why an open goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its port is there.
    Ready,
    /// Its time is over.
    Timeout,
    /// The port is not to be held any more, or nothing in the container is.
    LetGo,
    /// It does not wait any more, and nobody let it go on: it was interrupted or its program
    /// killed. So is whatever a later keeper may have to say.
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

/// All opens of one container that wait, and those that have vanished and may come again.
#[derive(Debug, Default)]
pub struct HeldOpens {
    held: Vec<Held>,
    vanished: Vec<Vanished>,
    gone: Vec<u64>,
}

/// One that was interrupted or killed, and when that was seen.
#[derive(Debug)]
struct Vanished {
    held: Held,
    at: u64,
}

impl HeldOpens {
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// An open is to be held. If it is one that was interrupted and restarted, it keeps its
    /// first deadline: otherwise a program with a timer would wait for ever.
    pub fn hold(
        &mut self,
        (listener, id): (u64, u64),
        caller: Caller,
        (path, opener): (String, Opener),
        now: u64,
        hold: Hold,
    ) {
        let until = match hold {
            Hold::Off => Some(now),
            Hold::Seconds(seconds) => Some(now.saturating_add(seconds.saturating_mul(1000))),
            Hold::Forever => None,
        };
        let before = self.vanished.iter().position(|v| v.held.caller == caller);
        let before = before.map(|at| self.vanished.remove(at).held);
        let (since, until) = before.map_or((now, until), |held| (held.since, held.until));
        self.other_open(caller.tid);
        self.held.push(Held {
            listener,
            id,
            caller,
            path,
            opener,
            since,
            until,
        });
    }

    /// The thread has opened something else, or has ended: what it had opened before does not
    /// come again.
    pub fn other_open(&mut self, tid: u32) {
        self.bury(|held| held.caller.tid == tid);
    }

    fn bury(&mut self, is_gone: impl Fn(&Held) -> bool) {
        self.vanished.retain(|vanished| {
            let is_gone = is_gone(&vanished.held);
            if is_gone {
                let waited = vanished.at.saturating_sub(vanished.held.since);
                self.gone.push(waited);
            }
            !is_gone
        });
    }

    /// Takes out those that have vanished and do not come again: for how long each has waited.
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
            let reason = if let_all_go {
                Reason::LetGo
            } else if held.until.is_some_and(|until| until <= now) {
                Reason::Timeout
            } else if ports.hold(&held.path).is_none() {
                let known = ports
                    .ports
                    .iter()
                    .any(|p| p.ready && p.names.contains(&held.path));
                if known { Reason::Ready } else { Reason::LetGo }
            } else {
                return true;
            };
            released.push((held.clone(), reason));
            false
        });
        released
    }

    /// Takes out those that were interrupted or killed. `alive` says whether a thread lives.
    pub fn sweep(
        &mut self,
        now: u64,
        waits: impl Fn(&Held) -> bool,
        alive: impl Fn(u32) -> bool,
    ) -> bool {
        let before = self.held.len();
        let (held, gone): (Vec<_>, Vec<_>) = self.held.drain(..).partition(waits);
        self.held = held;
        let vanished = gone.into_iter().map(|held| Vanished { held, at: now });
        self.vanished.extend(vanished);
        self.bury(|held| !alive(held.caller.tid));
        self.held.len() != before
    }

    /// When the next one's time is over.
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

    fn opener() -> Opener {
        Opener {
            command: "app".into(),
            process: Some(1),
        }
    }

    fn hold(holds: &mut HeldOpens, id: u64, caller: Caller, now: u64) {
        holds.hold(
            (0, id),
            caller,
            ("/dev/zwave".into(), opener()),
            now,
            Hold::Seconds(10),
        );
    }

    #[test]
    fn only_names_of_ports_that_are_not_ready_are_held() {
        let waiting = ports(false, DEFAULT_HOLD);
        assert_eq!(waiting.hold("/dev/zwave"), Some(DEFAULT_HOLD));
        assert_eq!(waiting.hold("/dev/serial/by-id/x"), Some(DEFAULT_HOLD));
        assert_eq!(waiting.hold("/dev/ttyUSB0"), None);
        assert_eq!(ports(true, DEFAULT_HOLD).hold("/dev/zwave"), None);
        assert_eq!(ports(false, Hold::Off).hold("/dev/zwave"), None);
        let every = ContainerPorts {
            every: true,
            ..ports(true, DEFAULT_HOLD)
        };
        for path in [
            "/dev/ttyUSB0",
            "/dev/ttyACM12",
            "/dev/serial/by-id/y",
            "/dev/serial/by-path/y",
        ] {
            assert_eq!(every.hold(path), Some(DEFAULT_HOLD), "{path}");
        }
        for path in [
            "/dev/ttyUSB",
            "/dev/ttyUSBx",
            "/dev/ttyS0",
            "/dev/ptmx",
            "/dev/pts/0",
            "/dev/tty",
            "/dev/serial/by-id/",
            "/dev/serial/by-id/a/b",
            "/dev/zwave",
        ] {
            assert_eq!(every.hold(path), None, "{path}");
        }
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
    fn one_that_vanished_is_gone_when_it_cannot_come_again_and_only_once() {
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
