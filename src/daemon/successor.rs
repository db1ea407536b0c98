//! Starts a keeper that takes over from another one.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::hold::protocol::{Handover, line};
use crate::model::inventory::ContainerId;
use crate::sys::child;
use crate::sys::descriptors::send_all;

/// How long a keeper may take until it waits for what is handed over, and how long it waits.
const LIMIT: Duration = Duration::from_secs(5);

/// A keeper that was started and waits for what is handed over to it. Without that it ends.
#[derive(Debug)]
pub(super) struct Successor {
    connection: UnixStream,
    /// When it waits no longer.
    ends: Instant,
}

impl Successor {
    /// # Errors
    /// The program cannot be executed, or does not come as far.
    pub(super) async fn start(run_dir: &Path, id: &ContainerId, path: &Path) -> io::Result<Self> {
        let mut command = Command::new(program()?);
        command
            .env_clear()
            .arg("--run-dir")
            .arg(run_dir)
            .args(["keeper", "start", &id.id])
            .arg(path);
        // A thread of its own: those of the pool may hang in containers.
        let (answer, started) = oneshot::channel();
        thread::Builder::new().spawn(move || answer.send(start(command)))?;
        let started = started.await;
        started.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
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
        // The socket takes more than that.
        self.connection.set_nonblocking(true)?;
        send_all(&self.connection, &line(handover), descriptors)?;
        tokio::net::UnixStream::from_std(self.connection)
    }

    /// Whether it waits no longer.
    pub(super) fn has_ended(&self) -> bool {
        self.ends <= Instant::now()
    }
}

fn start(mut command: Command) -> io::Result<Successor> {
    let (mut ours, theirs) = UnixStream::pair()?;
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    let output = child::output(&mut command, LIMIT)?;
    // It has a copy of the keeper's end.
    drop(command);
    if !output.status.success() {
        return Err(io::Error::other(output.status.to_string()));
    }
    ours.set_read_timeout(Some(LIMIT))?;
    ours.read_exact(&mut [0])?;
    Ok(Successor {
        connection: ours,
        ends: Instant::now() + LIMIT,
    })
}

/// The keepers' program, which is installed beside the daemon's.
///
/// # Errors
/// /proc cannot be read.
pub(super) fn program() -> io::Result<PathBuf> {
    // If it was replaced, its name ends with " (deleted)" (proc(5)).
    Ok(std::env::current_exe()?.with_file_name("ttyplug-runtime"))
}
