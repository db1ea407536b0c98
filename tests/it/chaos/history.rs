//! What was done when. Pure.

use super::operation::Operation;
use super::pulse::Standstill;
use super::world::{SOCKETS, Stick};

/// No operation takes longer.
const LONGEST: u64 = 120_000_000;

/// An operation that was carried out between two times, in microseconds of the monotonic clock.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub(super) operation: Operation,
    pub(super) begun: u64,
    pub(super) ended: u64,
}

impl Done {
    fn overlaps(&self, from: u64, to: u64) -> bool {
        self.begun <= to && self.ended >= from
    }
}

/// A stick was plugged in, or is gone: it began to go `from` a time on, and is gone `at` another.
#[derive(Debug, Clone, Copy)]
struct Change {
    stick: Stick,
    socket: usize,
    from: u64,
    at: u64,
    plugged: bool,
}

#[derive(Debug, Default)]
pub(super) struct History {
    done: Vec<Done>,
    sticks: Vec<Change>,
    sockets: [Option<Stick>; SOCKETS],
    /// When everything was as it must be.
    settled: Vec<u64>,
    standstills: Vec<Standstill>,
}

impl History {
    /// The operations of a round, by the time at which they have ended.
    pub(super) fn add(&mut self, mut round: Vec<Done>) {
        round.sort_by_key(|done| done.begun);
        for done in &round {
            self.follow_sticks(done);
        }
        self.done.extend(round);
    }

    pub(super) fn settle(&mut self, now: u64) {
        self.settled.push(now);
    }

    pub(super) fn stand_still(&mut self, when: Vec<Standstill>) {
        self.standstills.extend(when);
    }

    /// For how long the machine went on between these.
    pub(super) fn went_on(&self, from: u64, to: u64) -> u64 {
        let overlap = |(begun, ended): &Standstill| {
            let (begun, ended) = (*begun.max(&from), *ended.min(&to));
            ended.saturating_sub(begun)
        };
        let still: u64 = self.standstills.iter().map(overlap).sum();
        to.saturating_sub(from).saturating_sub(still)
    }

    fn follow_sticks(&mut self, done: &Done) {
        let mut change = |socket, stick: Option<Stick>, (from, at), plugged| {
            let change = |stick| Change {
                stick,
                socket,
                from,
                at,
                plugged,
            };
            self.sticks.extend(stick.map(change));
        };
        match done.operation {
            Operation::Plug { socket, stick } => {
                change(socket, Some(stick), (done.begun, done.begun), true);
                self.sockets[socket] = Some(stick);
            }
            Operation::Unplug { socket } => {
                let stick = self.sockets[socket].take();
                change(socket, stick, (done.begun, done.ended), false);
            }
            Operation::Blink { socket, .. } => {
                let stick = self.sockets[socket];
                change(socket, stick, (done.begun, done.ended), false);
                change(socket, stick, (done.ended, done.ended), true);
            }
            _ => {}
        }
    }

    /// When the last of these sticks has left a socket, if none was there at any time between these.
    pub(super) fn gone_since(
        &self,
        socket: usize,
        sticks: impl Fn(Stick) -> bool,
        from: u64,
        to: u64,
    ) -> Option<u64> {
        let there = |change: &&Change| change.socket == socket && sticks(change.stick);
        let mut changes = self.sticks.iter().rev().filter(there);
        let last = changes.find(|change| change.at <= to)?;
        (!last.plugged && last.at < from).then_some(last.at)
    }

    pub(super) fn was_unplugged(&self, stick: Stick, from: u64, to: u64) -> bool {
        let changes = self.sticks.iter().rev();
        // They are in the order of what was done, and udevd may announce one after the next.
        let mut recent = changes.take_while(|change| change.at + LONGEST >= from);
        recent.any(|change| {
            change.stick == stick && !change.plugged && change.from <= to && change.at >= from
        })
    }

    pub(super) fn is_plugged_throughout(&self, stick: Stick, from: u64, to: u64) -> bool {
        let of_stick = self.sticks.iter().rev().filter(|c| c.stick == stick);
        let last = of_stick.clone().find(|change| change.from <= to);
        last.is_some_and(|last| last.plugged && last.at <= from)
    }

    /// When everything was as it must be, the last time before this one.
    pub(super) fn settled_before(&self, time: u64) -> u64 {
        let settled = self.settled.iter().rev().find(|settled| **settled < time);
        settled.copied().unwrap_or_default()
    }

    /// Whether something has happened to what a container has where.
    pub(super) fn assignment_changed(&self, container: usize, from: u64, to: u64) -> bool {
        self.any(from, to, |operation| match operation {
            Operation::Swap(a, b) => *a == container || *b == container,
            Operation::Rename(c, _) | Operation::Recreate(c) | Operation::Mess(c, ..) => {
                *c == container
            }
            Operation::Reload(_) => true,
            _ => false,
        })
    }

    /// Whether anything was done to the container itself.
    pub(super) fn was_touched(&self, container: usize, from: u64, to: u64) -> bool {
        self.any(from, to, |operation| {
            operation.container() == Some(container)
        })
    }

    /// Whether its programs were told to end, and nothing holds their opens any more.
    pub(super) fn was_stopped(&self, container: usize, from: u64, to: u64) -> bool {
        self.any(from, to, |operation| match operation {
            Operation::Stop(c)
            | Operation::Kill(c)
            | Operation::Restart(c)
            | Operation::KillShim(c) => *c == container,
            _ => false,
        })
    }

    /// When the start of a container had ended that was begun before `to` and not ended before `from`.
    pub(super) fn started(&self, container: usize, from: u64, to: u64) -> Option<u64> {
        let done = self.done.iter().rev();
        let mut recent = done.take_while(|done| done.begun + LONGEST >= from);
        let start = recent.find(|done| match done.operation {
            Operation::Start(c) | Operation::Restart(c) | Operation::Recreate(c) => {
                c == container && done.overlaps(from, to)
            }
            _ => false,
        });
        start.map(|start| start.ended)
    }

    /// Whether the daemon was down, or had only just been started.
    pub(super) fn daemon_disturbed(&self, from: u64, to: u64) -> bool {
        self.any(from, to, |operation| {
            matches!(
                operation,
                Operation::KillDaemon { .. } | Operation::StopDaemon { .. } | Operation::Upgrade
            )
        })
    }

    fn any(&self, from: u64, to: u64, fits: impl Fn(&Operation) -> bool) -> bool {
        let done = self.done.iter().rev();
        let recent = done.take_while(|done| done.begun + LONGEST >= from);
        recent
            .filter(|done| done.overlaps(from, to))
            .any(|done| fits(&done.operation))
    }
}
