//! The real ttyplugd, as systemd would start it: with a socket for its notifications.

use std::fs;
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::Process;
use super::wait::{run, until};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ttyplugd");

/// A running daemon. It is killed when the test is done with it.
pub(crate) struct Daemon {
    process: Process,
    socket: UnixDatagram,
    notified: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts it on the files in `directory`, and does not wait for anything.
    pub(crate) fn spawn(directory: &Path, docker_host: &str) -> Self {
        Self::spawn_by(Command::new(PROGRAM), "text", directory, docker_host)
    }

    /// The same by another file of the program.
    pub(crate) fn spawn_as(program: &Path, directory: &Path, docker_host: &str) -> Self {
        Self::spawn_by(Command::new(program), "text", directory, docker_host)
    }

    /// The same with its log in the journal.
    pub(crate) fn spawn_with_journal(directory: &Path, docker_host: &str) -> Self {
        Self::spawn_by(Command::new(PROGRAM), "journal", directory, docker_host)
    }

    /// The same without a capability, e.g. `sys_admin` (setpriv(1)).
    pub(crate) fn spawn_without(capability: &str, directory: &Path, docker_host: &str) -> Self {
        let without = format!("-{capability}");
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps", &without, "--bounding-set", &without, PROGRAM]);
        Self::spawn_by(command, "text", directory, docker_host)
    }

    /// The same by this command, with its log as `text` or in the `journal`.
    pub(crate) fn spawn_by(
        mut command: Command,
        log: &str,
        directory: &Path,
        docker_host: &str,
    ) -> Self {
        let address = directory.join("notify");
        // The daemon before this one had the same.
        let _ = fs::remove_file(&address);
        let socket = UnixDatagram::bind(&address).expect("a socket can be made");
        let process = Process::start(
            command
                .arg("run")
                .arg("--config")
                .arg(directory.join("config.toml"))
                .arg("--run-dir")
                .arg(directory.join("run"))
                .arg("--state-dir")
                .arg(directory.join("state"))
                .args(["--log-format", log])
                .env("DOCKER_HOST", docker_host)
                .env("NOTIFY_SOCKET", &address)
                .env("MALLOC_ARENA_MAX", "2")
                .env("WATCHDOG_USEC", "2000000")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        );
        let notified = Arc::default();
        let (reader, shared) = (socket.try_clone(), Arc::clone(&notified));
        let reader = reader.expect("it is open");
        std::thread::spawn(move || read_notifications(&reader, &shared));
        Self {
            process,
            socket,
            notified,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Waits for a notification, e.g. `READY=1`, and forgets those before it.
    #[track_caller]
    pub(crate) fn notifies(&mut self, start: &str) -> String {
        until(&format!("ttyplugd notifies {start}"), || {
            let mut notified = self.notified.lock().expect("nobody panics with it");
            let found = notified.iter().position(|text| text.starts_with(start));
            if let Some(found) = found {
                let said = notified.drain(..=found).next_back();
                return Ok(said.expect("it is there"));
            }
            let ended = self.process.has_ended();
            assert_eq!(ended, None, "ttyplugd has ended\n{}", self.log());
            Err(format!("it said {notified:?}"))
        })
    }

    pub(crate) fn log(&self) -> String {
        self.process.text()
    }

    /// How many log lines so far have all of `words`.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        self.process.count(words)
    }

    /// Waits for a log line that has all of `words`.
    #[track_caller]
    pub(crate) fn logs(&self, words: &[&str]) {
        self.logs_again(0, words);
    }

    /// Waits for more than `before` log lines that have all of `words`.
    #[track_caller]
    pub(crate) fn logs_again(&self, before: usize, words: &[&str]) {
        until(&format!("a log line with all of {words:?}"), || {
            self.count(words) > before
        });
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Has it read its configuration again, as `systemctl reload` does.
    pub(crate) fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Sends a signal that ends it.
    #[track_caller]
    pub(crate) fn end(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.process.end()
    }

    /// Ends it as systemd does.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.process.end();
        assert!(status.success(), "{status}");
    }

    /// Sets how many descriptors it may have open, and returns how many it was allowed before. Those
    /// that are open stay so (getrlimit(2), RLIMIT_NOFILE).
    pub(crate) fn limit_descriptors(&self, limit: &str) -> String {
        let process = ["--pid", &self.pid().to_string()].map(str::to_owned);
        let show = ["--nofile", "--noheadings", "--raw", "--output=SOFT"].map(str::to_owned);
        let before = run("prlimit", &[&process[..], &show].concat());
        let set = [format!("--nofile={limit}:")];
        run("prlimit", &[&process[..], &set].concat());
        before
    }

    /// The files of this process in /proc.
    pub(crate) fn proc(&self) -> PathBuf {
        format!("/proc/{}", self.pid()).into()
    }
}

/// Reads as systemd does, without a pause: the queue of a datagram socket is short
/// (net.unix.max_dgram_qlen), and who writes to a full one waits (unix(7)).
fn read_notifications(socket: &UnixDatagram, notified: &Mutex<Vec<String>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        let mut notified = notified.lock().expect("nobody panics with it");
        notified.extend(text.lines().map(String::from));
    }
}

impl Drop for Daemon {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if std::thread::panicking() {
            eprintln!("--- the log of ttyplugd\n{}\n---", self.log());
        }
    }
}
