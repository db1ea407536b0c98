//! A directory in which something appears (inotify(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

use crate::sys::async_fd::readable;

pub(crate) struct Arrivals(AsyncFd<Watch>);

impl Arrivals {
    /// Watches for these kinds of events from now on.
    ///
    /// # Errors
    /// The directory is not there, or cannot be read.
    pub(crate) fn watch(directory: &Path, kinds: AddWatchFlags) -> io::Result<Self> {
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        watch.add_watch(directory, kinds)?;
        Ok(Self(readable(Watch(watch))?))
    }

    /// Waits for an event. The caller then reads the directory.
    ///
    /// # Errors
    /// The tokio runtime is shutting down.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        while self.0.get_ref().0.read_events().is_ok() {}
        ready.clear_ready();
        Ok(())
    }
}

/// `Inotify` has its descriptor by AsFd alone, and tokio asks for it by number.
struct Watch(Inotify);

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
