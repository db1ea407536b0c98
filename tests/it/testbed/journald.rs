//! A real journald, where programs look for it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use super::process::Process;
use super::wait::{run, until};

const SOCKET: &str = "/run/systemd/journal/socket";

/// A running journald. /run is the lane's own (tests/lane.sh). It keeps its journal in /run/log
/// while none has been asked for in /var (systemd-journald.service(8)).
#[derive(Debug)]
pub(crate) struct Journald(Process);

impl Journald {
    pub(crate) fn start() -> Self {
        let machine = fs::read_to_string("/etc/machine-id").expect("the machine has an id");
        for directory in [
            "/run/systemd/journal",
            &format!("/run/log/journal/{}", machine.trim()),
        ] {
            fs::create_dir_all(directory).expect("/run can be written to");
        }
        let mut command = Command::new("/lib/systemd/systemd-journald");
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let journald = Self(Process::start(quiet));
        until("journald listens", || Path::new(SOCKET).exists());
        journald
    }

    /// Has it read nothing any more, with a queue that is full.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let socket = UnixDatagram::unbound().expect("a socket can be made");
        socket.set_nonblocking(true).expect("it is open");
        while socket.send_to(b"MESSAGE=full\n", SOCKET).is_ok() {}
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(self.0.pid(), signal).expect("it runs");
    }

    /// What it has got from a program so far.
    pub(crate) fn messages(&self, identifier: &str) -> Vec<String> {
        let program = format!("SYSLOG_IDENTIFIER={identifier}");
        let entries = entries(&[&program]).into_iter();
        entries
            .filter_map(|entry| entry["MESSAGE"].as_str().map(String::from))
            .collect()
    }
}

/// What is in its journal so far and has these fields.
pub(crate) fn entries(fields: &[&str]) -> Vec<Value> {
    let options = ["--directory", "/run/log/journal", "--output", "json"];
    let text = run("journalctl", &[&options, fields].concat());
    let entries = text.lines().map(serde_json::from_str);
    entries.map(|entry| entry.expect("it is JSON")).collect()
}

impl Drop for Journald {
    fn drop(&mut self) {
        self.go_on();
        let _ = kill(self.0.pid(), Signal::SIGKILL);
        for left in ["/run/systemd/journal", "/run/log/journal"] {
            let _ = fs::remove_dir_all(left);
        }
    }
}
