//! The async runtime of a command.

use std::pin::{Pin, pin};

/// Runs a future to its end. The thread stays the same because udev's types are not `Send`.
///
/// # Errors
/// The kernel gives no epoll instance.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Looking into a container may hang on its file systems; a daemon that serves dozens of
        // containers must not wait for a thread then.
        .max_blocking_threads(32)
        .build()?;
    let local = tokio::task::LocalSet::new();
    // A trait object, because tokio's code would otherwise be compiled once for every command.
    let work: Pin<&mut dyn Future<Output = T>> = pin!(work);
    let result = local.block_on(&runtime, work);
    // Do not wait for a look into a container that hangs.
    runtime.shutdown_background();
    Ok(result)
}
