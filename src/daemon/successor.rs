//! Starts a keeper that takes over from another one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::hold::protocol::{Handover, line};
use crate::model::inventory::ContainerId;
use crate::sys::child;
use crate::sys::descriptors::send_all;

/// How long a keeper may take to be executed, and to read what is handed over.
const LIMIT: Duration = Duration::from_secs(5);

/// A keeper that was started and waits for what is handed over to it.
#[derive(Debug)]
pub(super) struct Successor(UnixStream);

impl Successor {
    /// # Errors
    /// The program cannot be executed.
    pub(super) async fn start(run_dir: &Path, id: &ContainerId, path: &Path) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_write_timeout(Some(LIMIT))?;
        let mut command = Command::new(program()?);
        command
            .env_clear()
            .arg("--run-dir")
            .arg(run_dir)
            .args(["keeper", "start", &id.0])
            .arg(path)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let started = spawn_blocking(move || child::output(&mut command, LIMIT));
        let output = started.await.map_err(io::Error::other)??;
        match output.status.success() {
            true => Ok(Self(ours)),
            false => Err(io::Error::other(output.status.to_string())),
        }
    }

    /// Hands over, and returns the connection to the keeper.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn take_over(
        self,
        handover: &Handover,
        descriptors: &[&OwnedFd],
    ) -> io::Result<tokio::net::UnixStream> {
        send_all(&self.0, &line(handover), descriptors)?;
        self.0.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(self.0)
    }
}

/// The keepers' program, which is installed beside the daemon's.
///
/// # Errors
/// /proc cannot be read.
pub(super) fn program() -> io::Result<PathBuf> {
    // If it was replaced, its name ends with " (deleted)" (proc(5)).
    Ok(std::env::current_exe()?.with_file_name("ttyplug-runtime"))
}
