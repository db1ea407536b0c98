//! What outlives the daemon.
//!
//! - [`Records`], in /run/ttyplugd: what we made in which container, and what we granted it. It is
//!   memory, as every container's /dev is, so no disk that is full or read-only stands between a
//!   port and its container.
//! - [`Known`], in /var/lib/ttyplugd: who the containers are and what they are assigned, and the
//!   device that each port had last, for the next boot.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `sys`.

use std::path::{Path, PathBuf};

mod document;
mod known;
mod records;

pub use known::{Files, Known};
pub use records::{Created, LastPlug, Records};

/// Both of them. One process at a time writes their files.
#[derive(Debug)]
pub struct Store {
    pub records: Records,
    pub known: Known,
    pub run_dir: PathBuf,
}

impl Store {
    /// Reads both, and moves what an earlier version has written elsewhere. A file that cannot be
    /// read is logged and replaced.
    pub fn open(run_dir: &Path, state_dir: &Path) -> Self {
        let mut store = Self::read(run_dir, state_dir);
        document::sweep(run_dir);
        document::sweep(state_dir);
        store.records.take_over(state_dir);
        store
    }

    /// Reads both, and writes nothing. What is missing is empty.
    pub fn read(run_dir: &Path, state_dir: &Path) -> Self {
        Self {
            records: Records::read(run_dir),
            known: Known::read(state_dir),
            run_dir: run_dir.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
