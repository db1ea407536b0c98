//! How an operator sees the running daemon: `status`, `wait` and the metrics.

mod metrics;
mod table;
mod wait;
mod watch;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bed::{Bed, PROGRAM, Port, SOON, eventually};

/// A command of ttyplugd on the daemon's run directory.
fn command(bed: &Bed, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["100", PROGRAM]).args(arguments);
    command.arg("--run-dir").arg(bed.file("run"));
    command
}

fn output(bed: &Bed, arguments: &[&str]) -> Output {
    let output = command(bed, arguments).output();
    output.expect("timeout, of coreutils, runs")
}

/// A command that goes on, and the lines that it has printed.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(bed: &Bed, arguments: &[&str]) -> Self {
        let mut child = command(bed, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("timeout, of coreutils, runs");
        let lines = Arc::default();
        collect(child.stdout.take().expect("it is piped"), &lines);
        collect(child.stderr.take().expect("it is piped"), &lines);
        Self { child, lines }
    }

    fn said(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }

    /// Waits until a line after the first `from` ones is as wanted, and returns how many there
    /// were up to it.
    fn says(&self, from: usize, what: &str, wanted: impl Fn(&str) -> bool) -> usize {
        eventually(SOON, what, || {
            let said = self.said();
            let found = said.iter().skip(from).position(|line| wanted(line));
            found.map(|at| from + at + 1).ok_or_else(|| said.join("\n"))
        })
    }

    fn end(&mut self) -> ExitStatus {
        eventually(SOON, "the command ends", || {
            let ended = self.child.try_wait().expect("it is a child");
            ended.ok_or_else(|| self.said().join("\n"))
        })
    }

    /// How often the program has gone to sleep and was woken. It is the child of timeout.
    fn wakes(&self) -> u64 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = fs::read_to_string(children).expect("it runs");
        wakes(children.trim())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // timeout passes this on, and could not pass on SIGKILL.
        let pid = i32::try_from(self.child.id()).expect("a process id is positive");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.lock().expect("nobody panics with it").push(line);
        }
    });
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
fn connect(bed: &Bed, request: &str) -> UnixStream {
    let stream = UnixStream::connect(bed.file("run/api.sock"));
    let mut stream = stream.expect("a daemon runs");
    let limit = stream.set_read_timeout(Some(SOON));
    limit.expect("the limit is not zero");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

/// The head and the body of an answer.
fn get(bed: &Bed, path: &str) -> (String, String) {
    let mut answer = String::new();
    let mut stream = connect(bed, &format!("GET {path} HTTP/1.0\r\n\r\n"));
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    (head.into(), body.into())
}

/// What a document says of a port in a container.
fn port<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    let ports = document["ports"].as_array()?;
    ports.iter().find(|port| port["port"] == name)
}

fn is(line: &str, name: &str, state: &str) -> bool {
    let document: Value = serde_json::from_str(line).unwrap_or_default();
    document["schema"] == 1 && port(&document, name).is_some_and(|port| port["state"] == state)
}

fn more_ports() -> String {
    r#"
[[port]]
name = "meter"
match = { serial = "M1" }
containers = ["zwave"]
node = "/dev/meter"

[[port]]
name = "blocked"
match = { sysname = "TTY" }
containers = ["zwave"]
node = "/dev/blocked"
"#
    .replace("TTY", &Port::new(62).sysname())
}
