//! What came of each open of a container's program, and whether it may be so. Pure.
//!
//! Times are microseconds of the monotonic clock, which all processes of a machine share.

use super::history::History;
use super::oracle::{Host, ports_of};
use super::world::{Container, Stick, World};

/// How long a right may outlive its plug.
const OUTLIVES: u64 = 100_000;

/// A longer one was held.
const HELD: u64 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) path: String,
    /// `ok`, or the name of the error.
    pub(super) result: String,
    pub(super) begun: u64,
    pub(super) ended: u64,
    pub(super) minor: u64,
}

impl Open {
    /// A line of the program opens.c.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut next = || words.next();
        Some(Self {
            path: next()?.into(),
            result: next()?.into(),
            begun: next()?.parse().ok()?,
            ended: next()?.parse().ok()?,
            minor: next()?.parse().ok()?,
        })
    }

    pub(super) fn is_ok(&self) -> bool {
        self.result == "ok"
    }

    pub(super) fn was_held(&self) -> bool {
        self.ended - self.begun > HELD
    }
}

/// What an open tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// Nothing can be said of it: too much has happened at the time.
    Unknown,
    /// It has succeeded so many microseconds after the unplug, as it still may.
    Late(u64),
    Wrong(String),
}

/// Judges an open of the container with this number. In `world` the operations so far have been done.
pub(super) fn judge(
    world: &World,
    history: &History,
    host: Host,
    number: usize,
    open: &Open,
) -> Verdict {
    let container = &world.containers[number];
    let Some(stick) = stick_at(world, container, &open.path) else {
        return Verdict::Unknown;
    };
    let since = history.settled_before(open.begun);
    // The world is known as it is after all of them.
    if history.assignment_changed(number, since, u64::MAX) {
        return Verdict::Unknown;
    }
    if open.is_ok() {
        // What a process of the container has put there is its own.
        if host.socket(open.minor).is_none() {
            return Verdict::Unknown;
        }
        succeeded(history, stick, open)
    } else {
        failed(history, number, container, stick, open)
    }
}

/// Which stick a container has at a path.
pub(super) fn stick_at(world: &World, container: &Container, path: &str) -> Option<Stick> {
    if path.starts_with("/dev/serial/") {
        return container.kind.every.then_some(Stick(0));
    }
    let ports = ports_of(world, container);
    let port = ports.iter().find(|port| port.node == Some(path))?;
    Some(port.stick)
}

/// While the daemon is down nobody takes anything away.
fn succeeded(history: &History, stick: Stick, open: &Open) -> Verdict {
    let Some(gone) = history.gone_since(stick, open.begun, open.ended) else {
        return Verdict::Right;
    };
    if history.daemon_disturbed(history.settled_before(gone), open.ended) {
        return Verdict::Unknown;
    }
    let late = open.begun - gone;
    match late <= OUTLIVES {
        true => Verdict::Late(late),
        false => Verdict::Wrong(format!(
            "an open has succeeded {} ms after the unplug",
            late / 1000
        )),
    }
}

/// An early open waits, or the port has been there since everything was right: there is no reason to
/// fail.
fn failed(
    history: &History,
    number: usize,
    container: &Container,
    stick: Stick,
    open: &Open,
) -> Verdict {
    let (disturbed, stopped) = if container.kind.wrapped {
        let since = history.settled_before(open.ended);
        let unplugged = history.was_unplugged(stick, since, open.ended);
        (
            unplugged,
            history.was_stopped(number, open.begun, open.ended),
        )
    } else {
        let since = history.settled_before(open.begun);
        let plugged = history.is_plugged_throughout(stick, since, open.ended);
        (!plugged, history.was_touched(number, since, open.ended))
    };
    if disturbed || stopped {
        return Verdict::Right;
    }
    Verdict::Wrong(format!("an open has failed with {}", open.result))
}
