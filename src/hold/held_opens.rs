//! The opens of one container that are held, and for how long. Pure: times are milliseconds of a
//! clock that the caller keeps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::hold::ContainerPorts;
use crate::model::Hold;

/// The call by which a thread opens something. An open that the kernel restarts after a signal
/// comes from the same call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub tid: u32,
    pub instruction: u64,
    /// Where a relative path begins.
    #[serde(default = "working_directory")]
    pub directory: i32,
    pub path: u64,
    pub flags: u64,
}

/// `AT_FDCWD` (linux/fcntl.h), which a keeper that does not know of it does not say.
fn working_directory() -> i32 {
    -100
}

/// Who opens, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opener {
    /// The name of the thread.
    pub command: String,
    /// The process that the thread belongs to, where that could still be seen.
    pub process: Option<u32>,
    /// The process has no other thread: it does nothing else while it waits.
    #[serde(default)]
    pub only_thread: bool,
}

/// An open that a listener has announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub listener: u64,
    /// Its notification at that listener.
    pub id: u64,
    pub caller: Caller,
    pub path: String,
    pub opener: Opener,
}

#[cfg(test)]
impl Open {
    /// One of a thread of the program "app".
    pub fn of_app(tid: u32, path: &str) -> Self {
        let caller = Caller {
            tid,
            instruction: 1,
            directory: working_directory(),
            path: 2,
            flags: 3,
        };
        let opener = Opener {
            command: "app".into(),
            process: Some(1),
            only_thread: false,
        };
        Self {
            listener: 0,
            id: 1,
            caller,
            path: path.into(),
            opener,
        }
    }
}

/// An open that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub open: Open,
    /// No other open of the container has the same. It keeps its number when it is restarted, and
    /// gets another one with another name.
    pub number: u64,
    pub since: u64,
    /// `None` is for ever.
    pub until: Option<u64>,
}

impl Held {
    fn reason_to_go_on(&self, ports: &ContainerPorts) -> Option<Reason> {
        let path = &self.open.path;
        if ports.hold(path).is_some() {
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

/// How many opens of a container are held at once, with those that were interrupted and may be
/// restarted.
pub const MOST_HELD: usize = 1024;

/// The longest [`OpenRecord`], as a line of JSON.
pub const LONGEST_RECORD: usize = 1024;

/// All held opens of one container, and those that were interrupted and may be restarted. Both are
/// known by their thread, since a thread waits in one call at a time.
#[derive(Debug, Default)]
pub struct HeldOpens {
    held: BTreeMap<u32, Held>,
    /// The deadlines of those, with their threads.
    deadlines: BTreeSet<(u64, u32)>,
    interrupted: BTreeMap<u32, Interrupted>,
    last_number: u64,
    gone: Vec<u64>,
    /// The threads whose records have to be written anew, see [`Self::record`].
    changed: BTreeSet<u32>,
}

/// A held open that was interrupted, or whose program was killed, and when that was seen.
#[derive(Debug)]
struct Interrupted {
    held: Held,
    at: u64,
}

/// All that is known of a thread's open, for a keeper that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecord {
    pub held: Held,
    /// `None` while it waits.
    pub interrupted_at: Option<u64>,
}

impl HeldOpens {
    /// By thread, in ascending order.
    pub fn held(&self) -> impl ExactSizeIterator<Item = &Held> {
        self.held.values()
    }

    /// Whether there is none, and none has ended of which [`Self::take_gone`] is still to tell.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.interrupted.is_empty() && self.gone.is_empty()
    }

    /// The open in which a thread waits.
    pub fn of_thread(&self, tid: u32) -> Option<&Held> {
        self.held.get(&tid)
    }

    /// How many opens of a process are held.
    pub fn of_process(&self, process: u32) -> usize {
        let held = self.held.values();
        held.filter(|held| held.open.opener.process == Some(process))
            .count()
    }

    /// Whether one more open can be held. The oldest of those that were interrupted makes room for
    /// it.
    pub fn make_room(&mut self) -> bool {
        if self.held.len() + self.interrupted.len() < MOST_HELD {
            return true;
        }
        let by_age = self.interrupted.iter().map(|(tid, it)| (it.at, *tid));
        let oldest = by_age.min();
        if let Some((_, tid)) = oldest {
            self.give_up(tid);
        }
        oldest.is_some()
    }

    /// Holds an open of a thread that has no other.
    pub fn hold(&mut self, open: Open, now: u64, hold: Hold) {
        let until = match hold {
            Hold::Off => Some(now),
            Hold::Seconds(seconds) => Some(now.saturating_add(seconds.saturating_mul(1000))),
            Hold::Forever => None,
        };
        let number = self.next_number();
        self.insert(Held {
            open,
            number,
            since: now,
            until,
        });
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Gives the opens of threads the names that they come to by now. Returns whether any is another.
    pub fn rename(&mut self, names: BTreeMap<u32, String>) -> bool {
        let mut any = false;
        for (tid, name) in names {
            let held = self.held.get(&tid);
            if held.is_none_or(|held| held.open.path == name) {
                continue;
            }
            if let Some(mut held) = self.take(tid) {
                held.open.path = name;
                held.number = self.next_number();
                self.insert(held);
                any = true;
            }
        }
        any
    }

    /// Holds an open again if it is one that was interrupted, with its first deadline: a program
    /// with a timer would wait for ever otherwise. It has another notification now.
    pub fn restart(&mut self, caller: Caller, path: &str, listener: u64, id: u64) -> bool {
        let before = self.held.get(&caller.tid);
        let before = before.or(self.interrupted.get(&caller.tid).map(|it| &it.held));
        let is_it = |before: &Held| before.open.caller == caller && before.open.path == path;
        if !before.is_some_and(is_it) {
            return false;
        }
        let interrupted = self.interrupted.remove(&caller.tid).map(|it| it.held);
        if let Some(mut held) = self.take(caller.tid).or(interrupted) {
            (held.open.listener, held.open.id) = (listener, id);
            self.insert(held);
        }
        true
    }

    fn insert(&mut self, held: Held) {
        let tid = held.open.caller.tid;
        self.changed.insert(tid);
        self.deadlines.extend(held.until.map(|until| (until, tid)));
        self.held.insert(tid, held);
    }

    fn take(&mut self, tid: u32) -> Option<Held> {
        let held = self.held.remove(&tid)?;
        self.changed.insert(tid);
        if let Some(until) = held.until {
            self.deadlines.remove(&(until, tid));
        }
        Some(held)
    }

    /// The thread has opened something else: what it has opened before is not restarted. Returns
    /// whether that was held until now.
    pub fn other_open(&mut self, tid: u32, now: u64) -> bool {
        let was_held = self.interrupt(tid, now);
        self.give_up(tid);
        was_held
    }

    fn interrupt(&mut self, tid: u32, now: u64) -> bool {
        let held = self.take(tid);
        let interrupted = held.map(|held| (tid, Interrupted { held, at: now }));
        let was_held = interrupted.is_some();
        self.interrupted.extend(interrupted);
        was_held
    }

    /// Counts an interrupted open as gone.
    fn give_up(&mut self, tid: u32) {
        if let Some(Interrupted { held, at }) = self.interrupted.remove(&tid) {
            self.changed.insert(tid);
            self.gone.push(at.saturating_sub(held.since));
        }
    }

    /// Takes out those that are gone: for how long each has waited.
    pub fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    /// Takes out those whose deadline has passed.
    pub fn expire(&mut self, now: u64) -> Vec<Held> {
        let mut expired = Vec::new();
        while let Some((until, tid)) = self.deadlines.pop_first() {
            if until > now {
                self.deadlines.insert((until, tid));
                break;
            }
            expired.extend(self.take(tid));
        }
        expired
    }

    /// Takes out those that have no reason to wait any more, after the ports have changed.
    pub fn release(&mut self, ports: &ContainerPorts, let_all_go: bool) -> Vec<(Held, Reason)> {
        let reason = |held: &Held| match let_all_go {
            true => Some(Reason::LetGo),
            false => held.reason_to_go_on(ports),
        };
        let held = self.held.iter();
        let go_on: Vec<_> = held
            .filter_map(|(tid, held)| Some((*tid, reason(held)?)))
            .collect();
        let go_on = go_on.into_iter();
        go_on
            .filter_map(|(tid, reason)| Some((self.take(tid)?, reason)))
            .collect()
    }

    /// Finds out which held opens were interrupted, by `waits`, and which of those are not
    /// restarted, since their thread is not `alive`. Returns whether any was interrupted.
    pub fn sweep(
        &mut self,
        now: u64,
        waits: impl Fn(&Held) -> bool,
        alive: impl Fn(u32) -> bool,
    ) -> bool {
        let is_interrupted = |held: &&Held| !waits(held);
        let interrupted = self.held.values().filter(is_interrupted);
        let interrupted: Vec<u32> = interrupted.map(|held| held.open.caller.tid).collect();
        for tid in &interrupted {
            self.interrupt(*tid, now);
        }
        let threads = self.interrupted.keys().copied();
        let ended: Vec<u32> = threads.filter(|tid| !alive(*tid)).collect();
        for tid in ended {
            self.give_up(tid);
        }
        !interrupted.is_empty()
    }

    /// Takes out the threads of whose opens something else is known than at the last call.
    pub fn take_changed(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed)
    }

    /// What is known of a thread's open; `None` if nothing is any more.
    pub fn record(&self, tid: u32) -> Option<OpenRecord> {
        let waits = self.held.get(&tid).map(|held| (held, None));
        let interrupted = self.interrupted.get(&tid);
        let known = waits.or(interrupted.map(|it| (&it.held, Some(it.at))));
        known.map(|(held, interrupted_at)| OpenRecord {
            held: held.clone(),
            interrupted_at,
        })
    }

    /// Takes over what another keeper has recorded.
    pub fn restore(&mut self, record: OpenRecord) {
        let OpenRecord {
            held,
            interrupted_at,
        } = record;
        self.last_number = self.last_number.max(held.number);
        match interrupted_at {
            None => self.insert(held),
            Some(at) => {
                let tid = held.open.caller.tid;
                self.interrupted.insert(tid, Interrupted { held, at });
            }
        }
    }

    /// When the next deadline is.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::protocol::line;
    use crate::hold::{ContainerPort, DEFAULT_HOLD, LONGEST_PATH};

    fn ports(ready: bool, hold: Hold) -> ContainerPorts {
        ContainerPorts {
            ports: vec![ContainerPort {
                port: "zwave".into(),
                names: vec!["/dev/zwave".into(), "/dev/serial/by-id/x".into()],
                ready,
                hold,
            }],
            ..ContainerPorts::default()
        }
    }

    fn caller(tid: u32) -> Caller {
        Open::of_app(tid, "").caller
    }

    /// As the supervisor does it.
    fn hold(holds: &mut HeldOpens, id: u64, caller: Caller, now: u64) {
        let path = "/dev/zwave";
        if holds.restart(caller, path, 0, id) {
            return;
        }
        holds.other_open(caller.tid, now);
        assert!(holds.make_room());
        let open = Open {
            id,
            caller,
            ..Open::of_app(caller.tid, path)
        };
        holds.hold(open, now, Hold::Seconds(10));
    }

    fn first(holds: &HeldOpens) -> &Held {
        holds.held().next().unwrap()
    }

    #[test]
    fn a_held_open_goes_on_when_its_port_is_ready_or_its_time_is_over() {
        let mut holds = HeldOpens::default();
        hold(&mut holds, 1, caller(1), 1000);
        let waiting = ports(false, DEFAULT_HOLD);
        assert_eq!(holds.release(&waiting, false), []);
        assert_eq!(holds.expire(10_999), []);
        assert_eq!(holds.next_deadline(), Some(11_000));
        assert_eq!(holds.expire(11_000)[0].open.id, 1);
        hold(&mut holds, 2, caller(1), 20_000);
        let released = holds.release(&ports(true, DEFAULT_HOLD), false);
        assert_eq!(released[0].1, Reason::Ready);
        hold(&mut holds, 3, caller(1), 20_000);
        assert_eq!(holds.release(&waiting, true)[0].1, Reason::LetGo);
        assert_eq!(holds.next_deadline(), None);
        assert_eq!(holds.held().len(), 0);
    }

    /// Those who were told of it know it by its number.
    #[test]
    fn an_open_that_comes_to_another_name_waits_for_that_until_its_deadline() {
        let mut holds = HeldOpens::default();
        hold(&mut holds, 1, caller(1), 1000);
        holds.take_changed();
        let name = |name: &str| BTreeMap::from([(1, name.to_owned())]);
        let before = first(&holds).open.path.clone();
        assert!(!holds.rename(BTreeMap::new()) && !holds.rename(name(&before)));
        assert_eq!((first(&holds).number, holds.take_changed().len()), (1, 0));
        assert!(holds.rename(name("/dev/serial/by-id/x")));
        assert_eq!((first(&holds).number, holds.take_changed().len()), (2, 1));
        assert_eq!(first(&holds).open.path, "/dev/serial/by-id/x");
        assert_eq!(holds.next_deadline(), Some(11_000));
        let elsewhere = ContainerPorts::default();
        assert_eq!(holds.release(&elsewhere, false)[0].1, Reason::LetGo);
    }

    #[test]
    fn a_restarted_open_keeps_its_first_deadline_and_a_retry_starts_a_new_one() {
        let mut holds = HeldOpens::default();
        hold(&mut holds, 1, caller(1), 1000);
        let number = first(&holds).number;
        assert!(holds.sweep(2000, |_| false, |_| true));
        hold(&mut holds, 2, caller(1), 5000);
        // The next one comes before the end of the one before it was noticed.
        hold(&mut holds, 3, caller(1), 5000);
        let held = first(&holds);
        assert_eq!((held.since, held.until), (1000, Some(11_000)));
        assert_eq!((held.open.id, held.number), (3, number));
        // Answered, and opened again by the program itself.
        holds.expire(11_000);
        hold(&mut holds, 3, caller(1), 12_000);
        assert_eq!(first(&holds).until, Some(22_000));
        assert_ne!(first(&holds).number, number);
        // Interrupted, and then the thread opens something else, or ends.
        for end in [0, 1] {
            holds.sweep(30_000, |_| false, |_| end == 0);
            if end == 0 {
                holds.other_open(1, 30_000);
            }
            hold(&mut holds, 4, caller(1), 50_000);
            assert_eq!(first(&holds).until, Some(60_000));
        }
        // Another place in the program is another open.
        holds.sweep(52_000, |_| false, |_| true);
        let elsewhere = Caller {
            instruction: 9,
            ..caller(1)
        };
        hold(&mut holds, 5, elsewhere, 55_000);
        assert_eq!(first(&holds).until, Some(65_000));
        // So is another path at the same place of its memory.
        assert!(!holds.restart(elsewhere, "/dev/other", 0, 6));
        assert_eq!(holds.next_deadline(), Some(65_000));
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
        assert!(!holds.other_open(1, 6500));
        assert_eq!(holds.take_gone(), [5000]);
        assert!(holds.take_gone().is_empty());
        // Killed.
        hold(&mut holds, 3, caller(2), 7000);
        holds.sweep(7500, |_| false, |_| false);
        assert_eq!(holds.take_gone(), [500]);
        // Released: that is said by `release` alone.
        hold(&mut holds, 4, caller(3), 8000);
        holds.release(&ports(true, DEFAULT_HOLD), false);
        holds.other_open(3, 8000);
        assert!(holds.take_gone().is_empty());
        // It opens something else before its interruption was noticed.
        hold(&mut holds, 5, caller(4), 9000);
        assert!(holds.other_open(4, 9300));
        assert_eq!(holds.take_gone(), [300]);
        assert_eq!(holds.next_deadline(), None);
    }

    /// Every change is written down, so whoever has read all records knows the same.
    #[test]
    fn a_keeper_that_takes_over_goes_on_with_the_same_opens() {
        let mut holds = HeldOpens::default();
        let mut records = BTreeMap::new();
        let mut write = |holds: &mut HeldOpens| {
            for tid in holds.take_changed() {
                match holds.record(tid) {
                    Some(record) => records.insert(tid, record),
                    None => records.remove(&tid),
                };
            }
            let mut other = HeldOpens::default();
            records.values().cloned().for_each(|r| other.restore(r));
            assert_eq!(other.held, holds.held);
            assert_eq!(other.deadlines, holds.deadlines);
            let interrupted = |it: &HeldOpens| format!("{:?}", it.interrupted);
            assert_eq!(interrupted(&other), interrupted(holds));
            other
        };
        for tid in 1..8 {
            hold(&mut holds, 1, caller(tid), 1000 + u64::from(tid));
            write(&mut holds);
        }
        holds.other_open(1, 2000);
        write(&mut holds);
        holds.sweep(2000, |held| held.open.caller.tid > 4, |tid| tid != 3);
        let mut other = write(&mut holds);
        // One that was interrupted keeps its deadline, and a new one its own number.
        hold(&mut other, 9, caller(2), 3000);
        assert_eq!(other.of_thread(2).unwrap().until, Some(11_002));
        hold(&mut other, 9, caller(9), 3000);
        assert_eq!(other.of_thread(9).unwrap().number, 8);
        holds.expire(11_005);
        write(&mut holds);
        holds.release(&ports(true, DEFAULT_HOLD), false);
        assert_eq!(write(&mut holds).held().len(), 0);
    }

    #[test]
    fn the_record_of_any_open_is_short() {
        let mut holds = HeldOpens::default();
        let most = u64::MAX;
        let caller = Caller {
            tid: u32::MAX,
            instruction: most,
            directory: i32::MIN,
            path: most,
            flags: most,
        };
        let open = Open {
            listener: most,
            id: most,
            caller,
            // No path of a port has control characters, and a name has 15 bytes (proc(5), comm).
            path: "\"".repeat(LONGEST_PATH),
            opener: Opener {
                command: "\u{1}".repeat(15),
                process: Some(u32::MAX),
                only_thread: false,
            },
        };
        holds.last_number = most - 1;
        holds.hold(open, most - 1, Hold::Seconds(most));
        let record = OpenRecord {
            interrupted_at: Some(most),
            ..holds.record(u32::MAX).unwrap()
        };
        let length = line(&record).len();
        assert!(length <= LONGEST_RECORD, "{length}");
    }

    #[test]
    fn interrupted_opens_make_room_and_those_that_wait_do_not() {
        let mut holds = HeldOpens::default();
        for tid in 0..1000 {
            hold(&mut holds, 1, caller(tid), u64::from(tid));
        }
        holds.sweep(5000, |_| false, |_| true);
        for tid in 1000..2024 {
            hold(&mut holds, 1, caller(tid), 6000);
        }
        assert_eq!(holds.take_gone().len(), 1000);
        assert_eq!(holds.held().len(), MOST_HELD);
        assert!(!holds.make_room());
        // A restarted one needs none.
        assert!(holds.restart(caller(1500), "/dev/zwave", 0, 2));
        holds.other_open(1500, 7000);
        assert!(holds.make_room());
    }
}
