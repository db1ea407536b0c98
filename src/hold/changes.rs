//! Held opens, as a keeper tells those who follow it and as these know them: all at first, and then
//! what has changed. Pure.

use std::collections::BTreeMap;

use crate::hold::held_opens::{Held, HeldOpens};
use crate::hold::protocol::{FromKeeper, HeldOpen};

/// How many changes are in a message.
const MOST_CHANGES: usize = 64;

/// What a follower has been told: the numbers of the held opens, by their threads. What it is told
/// next is the difference to what is held then, so what has come and gone meanwhile needs no queue.
#[derive(Debug, Default)]
pub struct Told {
    numbers: BTreeMap<u32, u64>,
    /// It has got a message.
    has_begun: bool,
}

impl Told {
    /// Whether that is all that there is to tell.
    pub fn is_all(&self, held: &HeldOpens) -> bool {
        let held = held.held().map(|held| (held.open.caller.tid, held.number));
        self.has_begun && held.eq(self.numbers.iter().map(|(tid, number)| (*tid, *number)))
    }

    /// Tells the next changes; the first ones are changes of nothing.
    pub fn changes(&mut self, held: &HeldOpens, now: u64) -> FromKeeper {
        let ended = self.numbers.keys().copied();
        let ended = ended.filter(|tid| held.of_thread(*tid).is_none());
        let ended: Vec<u32> = ended.take(MOST_CHANGES).collect();
        for tid in &ended {
            self.numbers.remove(tid);
        }
        let is_new = |held: &&Held| self.numbers.get(&held.open.caller.tid) != Some(&held.number);
        let new = held.held().filter(is_new);
        let new: Vec<&Held> = new.take(MOST_CHANGES - ended.len()).collect();
        let message = FromKeeper {
            changes: self.has_begun,
            held: new.iter().map(|held| told(held, now)).collect(),
            ended,
            ..FromKeeper::default()
        };
        self.note(new);
        message
    }

    /// Tells all held opens to a follower that does not understand changes.
    pub fn all(&mut self, held: &HeldOpens, now: u64) -> FromKeeper {
        self.numbers.clear();
        self.note(held.held());
        FromKeeper {
            held: held.held().map(|held| told(held, now)).collect(),
            ..FromKeeper::default()
        }
    }

    fn note<'a>(&mut self, held: impl IntoIterator<Item = &'a Held>) {
        let held = held.into_iter();
        self.numbers
            .extend(held.map(|held| (held.open.caller.tid, held.number)));
        self.has_begun = true;
    }
}

fn told(held: &Held, now: u64) -> HeldOpen {
    HeldOpen {
        tid: held.open.caller.tid,
        command: held.open.opener.command.clone(),
        pid: held.open.opener.process,
        only_thread: held.open.opener.only_thread,
        path: held.open.path.clone(),
        waited_ms: now.saturating_sub(held.since),
        left_ms: held.until.map(|until| until.saturating_sub(now)),
    }
}

/// The held opens of a container by their threads, as its keeper has told them.
#[derive(Debug, Default)]
pub struct KnownOpens(BTreeMap<u32, KnownOpen>);

/// A held open, and when its times were right, by the clock of who was told.
#[derive(Debug)]
pub struct KnownOpen {
    pub open: HeldOpen,
    pub at: u64,
}

impl KnownOpens {
    pub fn iter(&self) -> impl Iterator<Item = &KnownOpen> {
        self.0.values()
    }

    /// Takes in what has come at `at`. A keeper that does not know changes tells all every time.
    pub fn take_in(&mut self, message: FromKeeper, at: u64) {
        if !message.changes {
            self.0.clear();
        }
        for tid in &message.ended {
            self.0.remove(tid);
        }
        let held = message.held.into_iter();
        self.0
            .extend(held.map(|open| (open.tid, KnownOpen { open, at })));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hold::held_opens::Open;
    use crate::hold::protocol::{LONGEST_LINE, line};
    use crate::hold::{DEFAULT_HOLD, LONGEST_PATH};

    fn hold(holds: &mut HeldOpens, tid: u32, path: &str, now: u64) {
        holds.other_open(tid, now);
        holds.hold(Open::of_app(tid, path), now, DEFAULT_HOLD);
    }

    fn known(opens: &KnownOpens) -> Vec<(u32, String)> {
        let opens = opens.iter();
        opens
            .map(|known| (known.open.tid, known.open.path.clone()))
            .collect()
    }

    fn held(holds: &HeldOpens) -> Vec<(u32, String)> {
        let held = holds.held();
        held.map(|held| (held.open.caller.tid, held.open.path.clone()))
            .collect()
    }

    /// A message, and the same after it has gone over a socket.
    fn sent(message: FromKeeper) -> FromKeeper {
        let line = line(&message);
        let heard = serde_json::from_slice(&line).unwrap();
        assert_eq!(message, heard);
        heard
    }

    proptest! {
        /// Whatever happens between two messages, and whether a follower understands changes or
        /// not: when it has heard all, it knows what is held.
        #[test]
        fn a_follower_comes_to_know_what_is_held(
            steps: Vec<(bool, u8, u8)>,
            understands_changes: bool,
        ) {
            let (mut holds, mut told) = (HeldOpens::default(), Told::default());
            let mut opens = KnownOpens::default();
            let mut hear = |told: &mut Told, holds: &HeldOpens| {
                let message = match understands_changes {
                    true => told.changes(holds, 0),
                    false => told.all(holds, 0),
                };
                opens.take_in(sent(message), 0);
                known(&opens)
            };
            for (opens, tid, hears) in steps {
                match opens {
                    true => hold(&mut holds, tid.into(), &hears.to_string(), 0),
                    false => drop(holds.other_open(tid.into(), 0)),
                }
                if hears % 4 == 0 {
                    hear(&mut told, &holds);
                }
            }
            let mut last = hear(&mut told, &holds);
            while !told.is_all(&holds) {
                last = hear(&mut told, &holds);
            }
            prop_assert_eq!(last, held(&holds));
        }
    }

    #[test]
    fn the_first_message_replaces_what_was_known_before() {
        let mut holds = HeldOpens::default();
        let mut opens = KnownOpens::default();
        hold(&mut holds, 1, "/dev/zwave", 0);
        opens.take_in(Told::default().changes(&holds, 0), 0);
        let mut told = Told::default();
        assert!(!told.is_all(&HeldOpens::default()));
        opens.take_in(told.changes(&HeldOpens::default(), 0), 0);
        assert_eq!(known(&opens), []);
    }

    #[test]
    fn an_open_whose_link_leads_elsewhere_is_told_with_its_new_path() {
        let (mut holds, mut told) = (HeldOpens::default(), Told::default());
        hold(&mut holds, 1, "/dev/ttyUSB0", 0);
        let mut opens = KnownOpens::default();
        opens.take_in(told.changes(&holds, 0), 0);
        assert!(told.is_all(&holds));
        holds.rename([(1, "/dev/ttyUSB1".into())].into());
        assert!(!told.is_all(&holds));
        opens.take_in(told.changes(&holds, 0), 0);
        let paths: Vec<_> = opens.iter().map(|known| &known.open.path).collect();
        assert_eq!(paths, ["/dev/ttyUSB1"]);
    }

    /// A longer line would end the connection.
    #[test]
    fn all_that_can_be_held_fits_into_a_line() {
        let mut holds = HeldOpens::default();
        let path = "\"".repeat(LONGEST_PATH);
        let mut tid = 4_000_000;
        while holds.make_room() {
            hold(&mut holds, tid, &path, 0);
            tid += 1;
        }
        let mut message = Told::default().all(&holds, 0);
        for held in &mut message.held {
            // Its longest, and each of its bytes at its longest (proc(5), comm).
            held.command = "\u{1}".repeat(15);
            held.only_thread = true;
        }
        assert!(line(&message).len() < LONGEST_LINE);
        let part = Told::default().changes(&holds, 0);
        assert!(line(&part).len() < LONGEST_LINE / 16);
    }
}
