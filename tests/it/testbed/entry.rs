//! The file at a path, as a value that tests compare.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::stat::{major, minor};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Absent,
    Node(Node),
    Link(PathBuf),
    File { size: u64 },
    Directory,
    Other,
}

/// A character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Entry {
    /// Looks at a path, not through a link at its end.
    pub(crate) fn at(path: &Path) -> Self {
        let Ok(found) = fs::symlink_metadata(path) else {
            return Self::Absent;
        };
        let kind = found.file_type();
        if kind.is_char_device() {
            Self::Node(Node {
                major: major(found.rdev()),
                minor: minor(found.rdev()),
                mode: found.mode() & 0o7777,
                uid: found.uid(),
                gid: found.gid(),
            })
        } else if kind.is_symlink() {
            fs::read_link(path).map_or(Self::Absent, Self::Link)
        } else if kind.is_file() {
            Self::File { size: found.len() }
        } else if kind.is_dir() {
            Self::Directory
        } else {
            Self::Other
        }
    }

    pub(crate) fn link(target: &str) -> Self {
        Self::Link(target.into())
    }
}

/// Looks at one path without a pause and remembers every change.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<Vec<Entry>>>,
}

impl Watch {
    pub(crate) fn start(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watcher = std::thread::spawn(move || {
            let mut seen = Vec::new();
            loop {
                // Read before the last look, which then misses nothing that was there at the end.
                let last = stopped.load(Ordering::Relaxed);
                let now = Entry::at(&path);
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
                if last {
                    return seen;
                }
            }
        });
        Self {
            stop,
            watcher: Some(watcher),
        }
    }

    /// Every state that it saw, in their order.
    pub(crate) fn stop(mut self) -> Vec<Entry> {
        self.stop.store(true, Ordering::Relaxed);
        let watcher = self.watcher.take().expect("a watch is stopped once");
        watcher.join().expect("the watcher does not panic")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
