//! Processes that run beside the test.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::wait::until;

/// A running process and what it has printed to each stream that is piped. It is killed when the
/// test is done with it, with what it has started.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_owned();
        let child = command.process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let mut process = Self {
            child,
            lines: Arc::default(),
            readers: Vec::new(),
        };
        if let Some(stdout) = process.child.stdout.take() {
            process.read(stdout);
        }
        if let Some(stderr) = process.child.stderr.take() {
            process.read(stderr);
        }
        process
    }

    fn read(&mut self, stream: impl Read + Send + 'static) {
        let lines = Arc::clone(&self.lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.lock().expect("nobody panics with it").push(line);
            }
        });
        self.readers.push(reader);
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is positive"))
    }

    /// The other end of its standard input, where that is piped.
    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("it is piped")
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }

    /// All that it has printed so far.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// How many lines so far have all of `words`.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        let lines = self.lines();
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        lines.iter().filter(fits).count()
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is a child")
    }

    /// Waits for its end, whatever that is, and for the last line.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let status = until("the process ends", || {
            self.has_ended().ok_or_else(|| self.text())
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader does not panic");
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended().is_none() {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}
