//! What came of each open of a container's program, and whether it may be so. Pure.
//!
//! Times are microseconds of the monotonic clock, which all processes of a machine share.

use super::history::History;
use super::oracle::{Host, ports_of};
use super::world::{Container, Stick, World};

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
    /// It has succeeded so many microseconds after the unplug, in which the machine went on.
    Late(u64),
    Wrong(String),
}

/// How long a right may outlive its plug, in microseconds.
const OUTLIVES: u64 = 100_000;

impl Verdict {
    /// What is wrong, on a machine that is so many times as slow as one that does nothing else.
    pub(super) fn wrong(&self, patience: u64) -> Option<String> {
        match self {
            Self::Wrong(what) => Some(what.clone()),
            Self::Late(late) if *late > OUTLIVES * patience => Some(format!(
                "an open has succeeded {} ms after the unplug",
                late / 1000
            )),
            Self::Right | Self::Unknown | Self::Late(_) => None,
        }
    }
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
        let socket = host.socket(open.minor);
        socket.map_or(Verdict::Unknown, |socket| {
            succeeded(world, history, number, socket, open)
        })
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

/// It has opened a tty, by whatever name, that a port of the container was or had been. While the daemon
/// is down nobody takes anything away; nor from a container that was created before the unplug, until it
/// runs.
fn succeeded(
    world: &World,
    history: &History,
    number: usize,
    socket: usize,
    open: &Open,
) -> Verdict {
    let container = &world.containers[number];
    let ports = ports_of(world, container);
    let is_port = |stick| container.kind.every || ports.iter().any(|port| port.stick == stick);
    let Some(gone) = history.gone_since(socket, is_port, open.begun, open.ended) else {
        return Verdict::Right;
    };
    if history.daemon_disturbed(history.settled_before(gone), open.ended) {
        return Verdict::Unknown;
    }
    let runs = history.started(number, gone, open.begun).unwrap_or(gone);
    Verdict::Late(history.went_on(gone.max(runs), open.begun))
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
    let (disturbed, stopped) = if container.held && container.was_held {
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

#[cfg(test)]
mod tests {
    use super::super::history::Done;
    use super::super::operation::Operation;
    use super::*;

    const HOST: Host = Host {
        first: 60,
        group: 20,
    };

    const UNPLUG: Operation = Operation::Unplug { socket: 0 };

    const KILL: Operation = Operation::KillDaemon { down: 0 };

    /// The stick of the port `first` is plugged in and everything is right after 1 s. Then these
    /// happen, at so many milliseconds.
    fn after(operations: &[(u64, Operation)]) -> (World, History) {
        let (mut world, mut history) = (World::new(), History::default());
        world.apply(&Operation::Start(0));
        world.settle(true);
        world.begin_round();
        let plug = Operation::Plug {
            socket: 0,
            stick: Stick(0),
        };
        for (at, operation) in [(500, plug)].iter().chain(operations) {
            world.apply(operation);
            history.add(vec![Done {
                operation: operation.clone(),
                begun: at * 1000,
                ended: at * 1000,
            }]);
        }
        history.settle(1_000_000);
        (world, history)
    }

    /// An open of that port between two milliseconds.
    fn open(result: &str, begun: u64, ended: u64) -> Open {
        Open {
            path: "/dev/first".into(),
            result: result.into(),
            begun: begun * 1000,
            ended: ended * 1000,
            minor: 60,
        }
    }

    /// As the container `red` has the port, whose opens are held, and `green`, whose are not.
    fn verdicts(operations: &[(u64, Operation)], open: &Open) -> [Verdict; 2] {
        let (mut world, history) = after(operations);
        world.containers[1].name = "red";
        [0, 1].map(|container| judge(&world, &history, HOST, container, open))
    }

    fn is_wrong(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Wrong(_))
    }

    #[test]
    fn an_open_does_not_fail_without_a_reason() {
        let failed = open("ENOENT", 2000, 2001);
        assert!(verdicts(&[], &failed).iter().all(is_wrong));
        assert_eq!(
            verdicts(&[(1900, UNPLUG)], &failed),
            [Verdict::Right, Verdict::Right]
        );
        // A held one has no reason to, long after the unplug.
        let (mut world, mut history) = after(&[(1900, UNPLUG)]);
        history.settle(2_500_000);
        let failed = open("ENOENT", 2000, 3000);
        assert!(is_wrong(&judge(&world, &history, HOST, 0, &failed)));
        world.containers[1].name = "red";
        assert_eq!(judge(&world, &history, HOST, 1, &failed), Verdict::Right);
    }

    #[test]
    fn an_open_of_a_container_that_was_not_held_may_fail_until_that_is_started_again() {
        let (mut world, history) = after(&[(1900, Operation::Restart(0))]);
        world.containers[0].was_held = false;
        world.settle(true);
        let failed = open("ENOENT", 400, 401);
        assert_eq!(judge(&world, &history, HOST, 0, &failed), Verdict::Right);
        world.begin_round();
        assert!(is_wrong(&judge(&world, &history, HOST, 0, &failed)));
    }

    #[test]
    fn an_open_may_fail_when_its_container_is_stopped_or_loses_the_port() {
        let failed = open("ENOENT", 2000, 2100);
        let stop = verdicts(&[(2050, Operation::Stop(0))], &failed);
        assert_eq!(stop[0], Verdict::Right);
        assert!(is_wrong(&stop[1]));
        let (world, history) =
            after(&[(2050, Operation::Swap(0, 5)), (2060, Operation::Swap(0, 5))]);
        let verdict = judge(&world, &history, HOST, 0, &failed);
        assert_eq!(verdict, Verdict::Unknown);
    }

    #[test]
    fn a_right_does_not_outlive_its_plug() {
        let unplug = [(2000, UNPLUG)];
        let at = |begun| open("ok", begun, begun + 1);
        assert_eq!(verdicts(&unplug, &at(1999))[0], Verdict::Right);
        assert_eq!(verdicts(&unplug, &at(2050))[0], Verdict::Late(50_000));
        assert_eq!(Verdict::Late(100_000).wrong(1), None);
        assert!(Verdict::Late(100_001).wrong(1).is_some());
        // The daemon cannot revoke anything on a machine that stands still.
        let (world, mut history) = after(&unplug);
        history.stand_still(vec![(1_000_000, 1_500_000), (2_010_000, 2_540_000)]);
        let late = judge(&world, &history, HOST, 0, &at(2550));
        assert_eq!(late, Verdict::Late(20_000));
        // A held one that has begun before it.
        assert_eq!(
            verdicts(&unplug, &open("ok", 1900, 2500))[0],
            Verdict::Right
        );
        // It was being started at the time, and ran from then on.
        let (mut world, mut history) = after(&unplug);
        world.containers[1].name = "red";
        history.add(vec![Done {
            operation: Operation::Restart(0),
            begun: 1_900_000,
            ended: 2_600_000,
        }]);
        let late = |container| judge(&world, &history, HOST, container, &at(2700));
        assert_eq!([0, 1].map(late), [100_000, 700_000].map(Verdict::Late));
        let down = [(1990, KILL), (2000, UNPLUG)];
        assert_eq!(verdicts(&down, &at(2500))[0], Verdict::Unknown);
    }
}
