//! Commands in containers, as far as they are processes of this machine.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::sys::host_process::{kill_with, with_file};
use crate::sys::pidfd;

/// How long a command may take, from the first call to the engine on.
pub const EXEC_LIMIT: Duration = Duration::from_secs(10);

/// How long a runtime takes at most to start a command, unless its container is paused.
const START_LIMIT: Duration = Duration::from_secs(2);

/// How a command in a container ended.
#[derive(Debug)]
pub enum Executed {
    /// It ran to its end; its output on both streams.
    Ended { status: i64, output: String },
    /// It was killed at the time limit.
    Hung,
    /// The container was paused before its end, and it was killed, or the runtime that started it.
    Interrupted,
}

/// Kills the runtimes that still start commands of an earlier daemon after a while: their containers
/// have been paused, and nobody else lets the unpause go through. A command of ours has `text` in the
/// file by which the runtime is given it (containerd, go-runc, `Runc.Exec`).
pub async fn end_leftovers(text: &'static str) {
    let leftovers = spawn_blocking(|| with_file("--process", text)).await;
    sleep(START_LIMIT).await;
    for runtime in leftovers.unwrap_or_default() {
        // It has ended by itself, or not.
        let _ = pidfd::send(&runtime, Signal::KILL);
    }
}

/// Kills the runtime that starts a command, if it still does. It has the command's id in the name
/// of a file that it writes (containerd, runtime/v2/runc, `--pid-file`).
pub(super) async fn kill_runtime(exec: &str) -> bool {
    let exec = exec.to_owned();
    spawn_blocking(move || kill_with(&exec))
        .await
        .unwrap_or(false)
}
