//! A program on a terminal of its own, made by script(1), and what it shows there.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

use super::wait::until;

pub(crate) struct Terminal {
    script: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// How much of it the test has seen.
    seen: usize,
}

impl Terminal {
    /// Starts a program with its arguments, in which the shell finds nothing to do.
    pub(crate) fn start(words: &[String]) -> Self {
        // A shell without job control has its background processes ignore SIGINT (POSIX, 2.12), and so
        // would the program.
        let command = format!("exec env --default-signal=INT {}", words.join(" "));
        // It ends with the program's own status (--return).
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command"])
            .args([&command, "/dev/null"])
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script, of util-linux, runs");
        let mut output = script.stdout.take().expect("it is piped");
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let reader = spawn({
            let shown = Arc::clone(&shown);
            move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = output.read(&mut buffer) {
                    let mut shown = shown.lock().expect("nobody panics with it");
                    shown.extend(&buffer[..length]);
                }
            }
        });
        Self {
            script,
            shown,
            reader: Some(reader),
            seen: 0,
        }
    }

    /// All that was shown.
    pub(crate) fn text(&self) -> String {
        let shown = self.shown.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until a text is shown, after what the test has seen before.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) {
        self.seen = until(&format!("the terminal shows {text:?}"), || {
            let shown = self.text();
            let found = shown.get(self.seen..).and_then(|rest| rest.find(text));
            found.map(|at| self.seen + at + text.len()).ok_or(shown)
        });
    }

    /// Waits for a question, and types an answer.
    #[track_caller]
    pub(crate) fn answer(&mut self, question: &str, answer: &str) {
        self.shows(question);
        self.types(&format!("{answer}\n"));
    }

    /// `\u{3}` is Ctrl-C, and `\u{4}` Ctrl-D (termios(3), VINTR and VEOF).
    #[track_caller]
    pub(crate) fn types(&mut self, text: &str) {
        let keyboard = self.script.stdin.as_mut().expect("it is piped");
        keyboard.write_all(text.as_bytes()).expect("script runs");
    }

    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let status = until("the program ends", || {
            let ended = self.script.try_wait().expect("it is a child");
            ended.ok_or_else(|| self.text())
        });
        let reader = self.reader.take().expect("it has not ended before");
        reader.join().expect("the reader does not panic");
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program gets a SIGHUP from its terminal, which goes with script.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
