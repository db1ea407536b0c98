//! How an operator sees the running daemon: `status`, `wait` and the metrics.

mod metrics;
mod prometheus;
mod table;
mod wait;
mod watch;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{ExitStatus, Stdio};

use serde_json::Value;

use crate::testbed::{Port, Process, SOON, Testbed, until};

use super::setup::METER;

/// A command that goes on.
struct Running(Process);

impl Running {
    fn start(bed: &Testbed, arguments: &[&str]) -> Self {
        let mut command = bed.command(arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Process::start(command))
    }

    /// Waits until a line after the first `from` ones is as wanted, and returns how many there
    /// were up to it.
    #[track_caller]
    fn says(&self, from: usize, what: &str, wanted: impl Fn(&str) -> bool) -> usize {
        until(what, || {
            let said = self.0.lines();
            let found = said.iter().skip(from).position(|line| wanted(line));
            found.map(|at| from + at + 1).ok_or_else(|| said.join("\n"))
        })
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        self.0.end()
    }

    /// How often the program has gone to sleep and was woken. It is the child of timeout.
    fn wakes(&self) -> u64 {
        let children = format!("/proc/{0}/task/{0}/children", self.0.pid());
        let children = fs::read_to_string(children).expect("it runs");
        wakes(children.trim())
    }
}

fn wakes(pid: impl std::fmt::Display) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|line| line.trim().parse().ok())
        .expect("the kernel counts them")
}

/// Connects to the daemon's socket and asks, without reading an answer.
fn connect(bed: &Testbed, request: &str) -> UnixStream {
    let stream = UnixStream::connect(bed.file("run/api.sock"));
    let mut stream = stream.expect("a daemon runs");
    let limit = stream.set_read_timeout(Some(SOON));
    limit.expect("the limit is not zero");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

/// The head and the body of an answer.
fn get(bed: &Testbed, path: &str) -> (String, String) {
    let mut answer = String::new();
    let mut stream = connect(bed, &format!("GET {path} HTTP/1.0\r\n\r\n"));
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    (head.into(), body.into())
}

/// The row of a port in a status document.
fn port<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    let ports = document["ports"].as_array()?;
    ports.iter().find(|port| port["port"] == name)
}

fn is(line: &str, name: &str, state: &str) -> bool {
    let document: Value = serde_json::from_str(line).unwrap_or_default();
    document["schema"] == 1 && port(&document, name).is_some_and(|port| port["state"] == state)
}

/// [`METER`], and a port at a place where a test puts something in its way.
fn more_ports() -> String {
    format!(
        "{METER}[[port]]\nname = \"blocked\"\nmatch = {{ sysname = {:?} }}\n\
         containers = [\"zwave\"]\nnode = \"/dev/blocked\"\n",
        blocked().sysname()
    )
}

fn blocked() -> Port {
    Port::new(62).at("/dev/blocked")
}
