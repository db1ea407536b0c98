//! One who is told of the held opens: of changes where it understands them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use crate::hold::changes::Told;
use crate::hold::protocol::{Descriptor, FromKeeper, ReleasedOpen, ToKeeper, line};
use crate::keeper::supervisor::Supervisor;
use crate::sys::descriptors;

/// The least time between two times that a follower is told of changes, in milliseconds: many
/// changes make few messages.
const PAUSE_MS: u64 = 200;

/// How many descriptors come with a message. The kernel sends no more than 253 (unix(7)).
const MOST_DESCRIPTORS: usize = 64;

/// It may be slow, or not read at all: of what it has not been told, one message is in memory.
#[derive(Debug, Default)]
pub(super) struct Follower {
    understands_changes: bool,
    counts: bool,
    /// The descriptors that it has got, if it wants them.
    copied: Option<BTreeSet<Descriptor>>,
    told: Told,
    /// What has changed up to the change of this number has been told.
    told_up_to: Option<u64>,
    not_before: u64,
    /// What is left of the last message, and the ends that it counts.
    unwritten: Vec<u8>,
    unwritten_ends: Vec<ReleasedOpen>,
    unwritten_descriptors: Vec<Rc<OwnedFd>>,
}

impl Follower {
    pub(super) fn take_in(&mut self, message: &ToKeeper) {
        self.understands_changes |= message.changes;
        self.counts |= message.counts;
        if message.copies {
            self.copied.get_or_insert_default();
        }
    }

    /// Whether its socket has to take something first.
    pub(super) fn is_behind(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// When there is something to tell it, as long as its socket takes that.
    pub(super) fn next(&self, last_change: u64) -> Option<u64> {
        let is_due = !self.is_behind() && self.told_up_to != Some(last_change);
        is_due.then_some(self.not_before)
    }

    /// Writes what it has not been told, as much as its socket takes.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) fn tell(
        &mut self,
        stream: &UnixStream,
        supervisor: &mut Supervisor,
        last_change: u64,
    ) -> io::Result<()> {
        let now = supervisor.now();
        while self.write(stream)? && self.next(last_change).is_some_and(|at| at <= now) {
            match self.message(supervisor, now) {
                Some(message) => {
                    self.unwritten = line(&message);
                    self.unwritten_ends = message.released;
                }
                None => {
                    self.told_up_to = Some(last_change);
                    self.not_before = now.saturating_add(PAUSE_MS);
                }
            }
        }
        Ok(())
    }

    /// Whether it has got all that it was to get.
    pub(super) fn is_done(&self) -> bool {
        self.copied.is_none() || !self.is_behind()
    }

    /// Tells it at once what the pause would have it wait for.
    pub(super) fn hurry(&mut self) {
        self.not_before = 0;
    }

    fn message(&mut self, supervisor: &mut Supervisor, now: u64) -> Option<FromKeeper> {
        let released = match self.counts {
            true => supervisor.take_ended(),
            false => Vec::new(),
        };
        let (descriptors, copies) = self.copy(supervisor).into_iter().unzip();
        let descriptors: Vec<Descriptor> = descriptors;
        let held = supervisor.held();
        if released.is_empty() && descriptors.is_empty() && self.told.is_all(held) {
            return None;
        }
        self.unwritten_descriptors = copies;
        let message = match self.understands_changes {
            true => self.told.changes(held, now),
            false => self.told.all(held, now),
        };
        Some(FromKeeper {
            released,
            descriptors,
            ..supervisor.sign(message)
        })
    }

    /// Some of the descriptors that it has not got yet.
    fn copy(&mut self, supervisor: &Supervisor) -> Vec<(Descriptor, Rc<OwnedFd>)> {
        let Some(copied) = &mut self.copied else {
            return Vec::new();
        };
        let all = supervisor.descriptors();
        copied.retain(|name| all.contains_key(name));
        let new = all.into_iter().filter(|(name, _)| !copied.contains(name));
        let new: Vec<_> = new.take(MOST_DESCRIPTORS).collect();
        copied.extend(new.iter().map(|(name, _)| *name));
        new
    }

    /// Returns whether nothing is left.
    fn write(&mut self, stream: &UnixStream) -> io::Result<bool> {
        while self.is_behind() {
            match descriptors::send(stream, &self.unwritten, &self.unwritten_descriptors) {
                Ok(length) => {
                    self.unwritten.drain(..length);
                    self.unwritten_descriptors.clear();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.unwritten_ends.clear();
        Ok(true)
    }

    /// The ends that it was to count, and of which it has not heard.
    pub(super) fn uncounted(self) -> Vec<ReleasedOpen> {
        self.unwritten_ends
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::hold::held_opens::Reason;

    fn counter() -> Follower {
        let mut follower = Follower::default();
        follower.take_in(&ToKeeper {
            counts: true,
            ..ToKeeper::default()
        });
        follower
    }

    #[test]
    fn an_end_is_counted_by_the_next_who_counts_if_the_first_does_not_read() {
        let ended = ReleasedOpen {
            waited_ms: 1,
            reason: Reason::Gone,
            count: 3,
        };
        let mut supervisor = Supervisor::for_test();
        supervisor.put_back(vec![ended]);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[b'\n'; 4096]).is_ok() {}
        let mut deaf = counter();
        deaf.tell(&ours, &mut supervisor, 1).unwrap();
        assert!(deaf.is_behind());
        assert_eq!(supervisor.take_ended(), []);
        supervisor.put_back(deaf.uncounted());

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut follower = counter();
        follower.tell(&ours, &mut supervisor, 1).unwrap();
        assert_eq!(follower.next(1), None);
        assert_eq!(follower.uncounted(), []);
        drop(ours);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).unwrap();
        let heard: FromKeeper = serde_json::from_slice(&heard).unwrap();
        assert_eq!(heard.released, [ended]);
    }
}
