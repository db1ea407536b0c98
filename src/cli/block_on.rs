//! The async runtime of a command.

use std::pin::{Pin, pin};
use std::time::Duration;

/// How long a thread without work waits for more. Each that is kept has memory of its own, its stack
/// and what malloc caches for it (mallopt(3)), and tokio wakes them in turn, so none would end in a
/// daemon that has work every few seconds.
const KEPT_FOR: Duration = Duration::from_millis(500);

/// Runs a future to its end. The thread stays the same because udev's types are not `Send`.
///
/// # Errors
/// The kernel gives no epoll instance.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A look of `ttyplugd check` into a container may hang on its file systems, and the looks into
        // others must not wait for it. The daemon has threads of its own for that (daemon::crew).
        .max_blocking_threads(32)
        .thread_keep_alive(KEPT_FOR)
        .build()?;
    let local = tokio::task::LocalSet::new();
    // A trait object, because tokio's code would otherwise be compiled once for every command.
    let work: Pin<&mut dyn Future<Output = T>> = pin!(work);
    let result = local.block_on(&runtime, work);
    // Do not wait for a look into a container that hangs.
    runtime.shutdown_background();
    Ok(result)
}
