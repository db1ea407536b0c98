//! The real ttyplugd, as systemd would start it: with a socket for its notifications.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{SOON, eventually, run};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ttyplugd");

/// A running daemon. It is killed when the test is done with it.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    socket: UnixDatagram,
    notified: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts it on the files in `directory`, and does not wait for anything.
    pub(crate) fn spawn(directory: &Path, docker_host: &str) -> Self {
        let socket = directory.join("notify");
        // The daemon before this one had the same.
        let _ = fs::remove_file(&socket);
        let bound = UnixDatagram::bind(&socket).expect("a socket can be made");
        let mut child = Command::new(PROGRAM)
            .arg("run")
            .arg("--config")
            .arg(directory.join("config.toml"))
            .arg("--run-dir")
            .arg(directory.join("run"))
            .arg("--state-dir")
            .arg(directory.join("state"))
            .args(["--log-format", "text"])
            .env("DOCKER_HOST", docker_host)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "2000000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ttyplugd can be started");

        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().expect("nobody panics with it").push(line);
            }
        });
        let notified = Arc::new(Mutex::new(Vec::new()));
        let (shared, reader) = (
            Arc::clone(&notified),
            bound.try_clone().expect("it is open"),
        );
        std::thread::spawn(move || read_notifications(&reader, &shared));
        Self {
            child,
            log,
            socket: bound,
            notified,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is positive"))
    }

    /// Waits for a notification, e.g. `READY=1`, and forgets those before it.
    pub(crate) fn notifies(&mut self, limit: Duration, start: &str) -> String {
        eventually(limit, &format!("ttyplugd notifies {start}"), || {
            let mut notified = self.notified.lock().expect("nobody panics with it");
            let found = notified.iter().position(|text| text.starts_with(start));
            if let Some(found) = found {
                let said = notified.drain(..=found).next_back();
                return Ok(said.expect("it is there"));
            }
            let ended = self.child.try_wait().expect("it is a child");
            assert!(
                ended.is_none(),
                "ttyplugd has ended: {ended:?}\n{}",
                self.log()
            );
            Err(format!("it said {notified:?}\n{}", self.log()))
        })
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").join("\n")
    }

    /// How many log lines so far have all of `words`.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        let log = self.log.lock().expect("nobody panics with it");
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        log.iter().filter(fits).count()
    }

    /// Waits for a log line that has all of `words`.
    pub(crate) fn logs(&self, words: &[&str]) {
        self.logs_again(0, words);
    }

    /// Waits for more than `before` log lines that have all of `words`.
    pub(crate) fn logs_again(&self, before: usize, words: &[&str]) {
        eventually(SOON, &format!("a log line with all of {words:?}"), || {
            (self.count(words) > before)
                .then_some(())
                .ok_or_else(|| self.log())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Sends a signal that ends it.
    pub(crate) fn end(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        eventually(SOON, &format!("ttyplugd ends at {signal}"), || {
            let ended = self.child.try_wait().expect("it is a child");
            ended.ok_or_else(|| self.log())
        })
    }

    /// Ends it as systemd does.
    pub(crate) fn stop(self) {
        let log = Arc::clone(&self.log);
        let status = self.end(Signal::SIGTERM);
        assert!(
            status.success(),
            "{status}\n{}",
            log.lock().expect("it ended").join("\n")
        );
    }

    /// Sets how many descriptors it may have open, and returns how many it was allowed before. Those
    /// that are open stay so (getrlimit(2), RLIMIT_NOFILE).
    pub(crate) fn limit_descriptors(&self, limit: &str) -> String {
        let process = ["--pid", &self.child.id().to_string()].map(str::to_owned);
        let show = ["--nofile", "--noheadings", "--raw", "--output=SOFT"].map(str::to_owned);
        let before = run("prlimit", &[&process[..], &show].concat());
        let set = [format!("--nofile={limit}:")];
        run("prlimit", &[&process[..], &set].concat());
        before
    }

    /// The files of this process in /proc.
    pub(crate) fn proc(&self) -> PathBuf {
        format!("/proc/{}", self.child.id()).into()
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
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.socket.shutdown(Shutdown::Both);
        if std::thread::panicking() {
            eprintln!("--- the log of ttyplugd\n{}\n---", self.log());
        }
    }
}
