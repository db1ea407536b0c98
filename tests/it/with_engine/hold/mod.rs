//! Opens that come before their port, the wrapper that makes containers ask, and the keepers that
//! let them wait.

mod create;
mod daemon;
mod engine;
mod harm;
mod hostile;
mod journal;
mod keeper;
mod limits;
mod modes;
mod names;
mod off;
mod open;
mod plug;
mod profile;
mod replaced;
mod status;

use std::io::Write;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::testbed::{Container, Node, Port, Process, Recipe, Testbed, eventually, run};

use super::setup::{RULE, Setup, port_for, stick};

/// Where the container "zwave" is to have its port.
pub(super) const NODE: &str = "/dev/zwave";

/// The hold of a port whose opens end in another way, or are not held at all.
pub(super) const LONG: &str = "60s";

/// An open that is not held takes less than a sixtieth of [`LONG`]. That is above what an unlucky
/// moment of a busy machine takes, and below any time for which a part of ttyplugd waits for another.
const AT_ONCE: u64 = 1000;

/// One open, as the program opens.c tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opened {
    way: String,
    result: String,
    milliseconds: u64,
    node: Option<Node>,
}

impl Opened {
    fn read(line: &str) -> Self {
        Self::parse(line).unwrap_or_else(|| panic!("a strange line of opens: {line:?}"))
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [way, result, milliseconds, of_node @ ..] = &words[..] else {
            return None;
        };
        let node = match of_node {
            [] => None,
            [major, minor, mode, uid, gid] => Some(Node {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                mode: u32::from_str_radix(mode, 8).ok()?,
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            }),
            _ => return None,
        };
        Some(Self {
            way: (*way).into(),
            result: (*result).into(),
            milliseconds: milliseconds.parse().ok()?,
            node,
        })
    }

    #[track_caller]
    pub(super) fn is(&self, result: &str) -> &Self {
        assert_eq!(self.result, result, "{self:?}");
        self
    }

    /// Nothing has made it wait.
    #[track_caller]
    fn at_once(&self) {
        self.within(0..AT_ONCE);
    }

    /// It was held until its time was over, and for no second time.
    #[track_caller]
    pub(super) fn after_hold_of(&self, seconds: u64) {
        self.within(seconds * 1000 - 100..seconds * 2000 + 1000);
    }

    #[track_caller]
    fn within(&self, milliseconds: Range<u64>) {
        let fits = milliseconds.contains(&self.milliseconds);
        assert!(fits, "not within {milliseconds:?} ms: {self:?}");
    }

    pub(super) fn seconds(&self) -> f64 {
        Duration::from_millis(self.milliseconds).as_secs_f64()
    }

    #[track_caller]
    pub(super) fn got(&self, port: &Port) -> &Self {
        self.is("ok");
        assert_eq!(self.node, Some(port.node()), "{self:?}");
        self
    }
}

/// The port "zwave" for the container "zwave" at [`NODE`].
pub(super) fn held_port(hold: &str) -> String {
    port_for("\"zwave\"", NODE, &format!("hold = {hold:?}"))
}

/// The same port, whose link in /dev/serial/by-id is known before it is plugged in.
pub(super) fn linked_port(hold: &str) -> String {
    let by_id = stick(63).by_id();
    let name = by_id.rsplit('/').next().expect("it has a name");
    let serial = "serial = \"Z1\"";
    held_port(hold).replace(serial, &format!("{serial}, by-id = {name:?}"))
}

/// The container "zwave" under the wrapper. The right to open a console does not depend on whether
/// it was there when the container was made.
pub(super) fn zwave() -> Recipe {
    wrapped("zwave").with(&RULE)
}

/// Any container under the wrapper.
fn wrapped(name: &str) -> Recipe {
    Recipe::new(name).image("opens").wrapped()
}

/// Its program opens the port once.
fn opener() -> Recipe {
    zwave().command(&["opens", "once", NODE])
}

/// The port has this hold.
fn holding(hold: &str) -> Testbed {
    Testbed::with_runtime(&held_port(hold))
}

/// The same, and a process may have more opens held than a container.
fn holding_many(hold: &str) -> Testbed {
    Testbed::with_runtime(&format!("held-per-process = 4096\n{}", held_port(hold)))
}

/// The container "zwave" waits for its port, but nothing in it has opened it.
pub(super) fn unplugged(hold: &str) -> Setup {
    setup(holding(hold), zwave())
}

/// Its program has opened the port, and is held.
fn held(hold: &str) -> Setup {
    let setup = setup(holding(hold), opener());
    setup.0.holds(&[NODE]);
    setup
}

/// The daemon runs before the container does.
fn setup(bed: Testbed, recipe: Recipe) -> Setup {
    let daemon = bed.daemon();
    (bed, recipe.start(), daemon, stick(63))
}

/// The opens that the program of a container has made so far.
fn said(container: &Container) -> Vec<Opened> {
    container.logs().lines().map(Opened::read).collect()
}

/// Waits until the program of a container has said so much.
#[track_caller]
fn says(container: &Container, lines: usize) -> Vec<Opened> {
    let what = format!("{lines} opens are done");
    eventually(&what, || said(container), |said| said.len() >= lines)
}

/// The program opens.c, beside the container's own.
pub(super) struct Opening(Process);

impl Opening {
    /// It opens a path as a serial port.
    pub(super) fn of(container: &Container, path: &str) -> Self {
        Self::start(container, &["once", path])
    }

    pub(super) fn start(container: &Container, arguments: &[&str]) -> Self {
        Self(Process::start(
            Command::new("timeout")
                .args(["100", "docker", "exec", "-i", container.name(), "opens"])
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        ))
    }

    /// Lets a program go on that waits for it.
    fn nudge(&mut self) {
        self.0.stdin().write_all(b"\n").expect("it reads");
    }

    fn so_far(&self) -> Vec<Opened> {
        let lines = self.0.lines();
        lines.iter().map(|line| Opened::read(line)).collect()
    }

    /// Waits until it has said so much.
    #[track_caller]
    fn says(&self, lines: usize) -> Vec<Opened> {
        let what = format!("{lines} opens are done");
        eventually(&what, || self.so_far(), |said| said.len() >= lines)
    }

    /// Waits for its end, whatever that is, and returns all that it has said.
    #[track_caller]
    pub(super) fn end(mut self) -> Vec<Opened> {
        self.0.end();
        self.so_far()
    }
}

/// Opens one path after the other and returns what came of it.
#[track_caller]
fn open(container: &Container, arguments: &[&str]) -> Vec<Opened> {
    let opens = ["exec", container.name(), "opens"];
    let said = run("docker", &[&opens, arguments].concat());
    said.lines().map(Opened::read).collect()
}
