//! The daemon that is measured.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::testbed::{PROGRAM, Testbed, run, until};

/// ttyplugd as an operator has it, with its log in a file.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    /// How much of the log has been read.
    read: Cell<usize>,
}

impl Daemon {
    pub(crate) fn start(bed: &Testbed) -> Self {
        let log = bed.file("log");
        let child = Command::new(PROGRAM)
            // As its unit has it.
            .env("MALLOC_ARENA_MAX", "2")
            .arg("run")
            .args(["--log-format", "text"])
            .arg("--config")
            .arg(bed.file("config.toml"))
            .arg("--run-dir")
            .arg(bed.file("run"))
            .arg("--state-dir")
            .arg(bed.file("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file can be made"))
            .spawn()
            .expect("ttyplugd can be started");
        Self {
            child,
            log,
            read: Cell::new(0),
        }
    }

    /// Waits for `count` log lines with these words, after those that have been waited for before.
    pub(crate) fn says(&self, count: usize, words: &str) {
        until(&format!("{count} log lines with {words:?}"), || {
            let log = fs::read_to_string(&self.log).expect("it was made");
            let new = &log[self.read.get()..];
            if new.matches(words).count() < count {
                return Err(format!("there is only\n{new}"));
            }
            self.read.set(log.len());
            Ok(())
        });
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(&self) {
        run("kill", &["-HUP", &self.pid().to_string()]);
        self.says(1, "configuration reloaded");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
