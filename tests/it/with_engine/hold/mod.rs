//! Opens that come before their port, the wrapper that makes containers ask, and the keepers that
//! let them wait.

mod create;
mod daemon;
mod engine;
mod keeper;
mod modes;
mod open;
mod plug;
mod profile;
mod status;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bed::{Container, Node, Port, Recipe, SOON, eventually, run};

use super::port_for;

/// One open, as the program opens.c tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opened {
    way: String,
    pub(super) result: String,
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

    /// Whether nothing has made it wait. Above what an unlucky moment of a busy machine takes, and
    /// far below any hold.
    fn was_quick(&self) -> bool {
        self.milliseconds < 700
    }

    fn waited(&self, at_least: u64, at_most: u64) {
        assert!(
            (at_least..=at_most).contains(&self.milliseconds),
            "not within {at_least} to {at_most} ms: {self:?}"
        );
    }

    pub(super) fn seconds(&self) -> f64 {
        Duration::from_millis(self.milliseconds).as_secs_f64()
    }

    pub(super) fn got(&self, port: &Port) {
        assert_eq!(self.result, "ok", "{self:?}");
        assert_eq!(self.node, Some(port.node()), "{self:?}");
    }
}

/// A Z-Wave stick as [`held_port`] wants it.
pub(super) fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

/// The port "zwave" for the container "zwave" at /dev/zwave.
pub(super) fn held_port(hold: &str) -> String {
    port_for("\"zwave\"", "/dev/zwave", &format!("hold = {hold:?}"))
}

/// The container "zwave" under the wrapper. The right to open a console does not depend on whether
/// it was there when the container was made.
pub(super) fn zwave() -> Recipe {
    unprivileged_zwave().with(&["--device-cgroup-rule", "c 4:* rmw"])
}

fn unprivileged_zwave() -> Recipe {
    Recipe::new("zwave")
        .image("opens")
        .with(&["--runtime", "ttyplug"])
}

/// What the program of a container has said of its opens.
fn said(container: &Container) -> Vec<Opened> {
    let text = run("docker", &["logs", container.name()]);
    text.lines().map(Opened::read).collect()
}

/// Waits until the program of a container has said so much.
fn says(container: &Container, lines: usize) -> Vec<Opened> {
    eventually(SOON, &format!("{lines} opens are done"), || {
        let said = said(container);
        (said.len() >= lines)
            .then(|| said.clone())
            .ok_or_else(|| format!("{said:?}"))
    })
}

/// The program opens.c, beside the container's own.
pub(super) struct Opening {
    child: Child,
    stdin: ChildStdin,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Opening {
    pub(super) fn start(container: &Container, arguments: &[&str]) -> Self {
        let name = container.name();
        let mut child = Command::new("timeout")
            .args(["100", "docker", "exec", "-i", name, "opens"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("timeout, of coreutils, runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let shared = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                shared.lock().expect("nobody panics with it").push(line);
            }
        });
        Self {
            stdin: child.stdin.take().expect("it is piped"),
            child,
            lines,
            reader: Some(reader),
        }
    }

    /// Lets a program go on that waits for it.
    fn nudge(&mut self) {
        self.stdin.write_all(b"\n").expect("it reads");
    }

    fn so_far(&self) -> Vec<Opened> {
        let lines = self.lines.lock().expect("nobody panics with it");
        lines.iter().map(|line| Opened::read(line)).collect()
    }

    /// Waits until it has said so much.
    fn says(&self, lines: usize) -> Vec<Opened> {
        eventually(SOON, &format!("{lines} opens are done"), || {
            let said = self.so_far();
            (said.len() >= lines)
                .then(|| said.clone())
                .ok_or_else(|| format!("{said:?}"))
        })
    }

    /// Waits for its end, whatever that is, and returns all that it has said.
    pub(super) fn end(mut self) -> Vec<Opened> {
        eventually(SOON, "the program ends", || {
            let ended = self.child.try_wait().expect("it is a child");
            ended.ok_or_else(|| format!("{:?}", self.so_far()))
        });
        let reader = self.reader.take().expect("it ends once");
        reader.join().expect("the reader does not panic");
        self.so_far()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens one path after the other and returns what came of it.
fn open(container: &Container, arguments: &[&str]) -> Vec<Opened> {
    let said = run(
        "docker",
        &[&["exec", container.name(), "opens"], arguments].concat(),
    );
    said.lines().map(Opened::read).collect()
}
