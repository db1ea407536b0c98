//! What a keeper knows of the opens of its container, in a file that outlives it: memory without a
//! name (memfd_create(2)), of which the daemon has a descriptor. Another keeper goes on with it.
//!
//! A page for each of notifications that are being received and of the keeper itself, and then the
//! opens. Each is written in one system call, within a page, so none is ever found half written.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::fs::ftruncate;
use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};

use crate::hold::held_opens::{LONGEST_RECORD, MOST_HELD, OpenRecord};
use crate::hold::protocol::line;
use crate::keeper::seccomp_notify::Inbox;
use crate::sys::process_lock;

/// The smallest page of any machine.
const PAGE: usize = 4096;

/// Where the keeper's record is, and the first of the opens.
const KEEPER: u64 = PAGE as u64;
const OPENS: u64 = 2 * PAGE as u64;

/// How long the keeper before may take to end.
const LIMIT: Duration = Duration::from_secs(5);

/// What is known of the keeper itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeeperRecord {
    pub(super) container: String,
    /// The control groups of the first keeper (/proc/PID/cgroup), those of the container's shim.
    pub(super) cgroup: String,
    /// The container is being stopped, and nothing is held any more.
    pub(super) let_all_go: bool,
}

/// Used by one keeper at a time.
#[derive(Debug)]
pub(super) struct StateFile {
    /// Never closed before the keeper ends: that would unlock it (fcntl(2)).
    file: Rc<OwnedFd>,
    pub(super) inbox: Inbox,
    /// Where the opens of threads are.
    places: BTreeMap<u32, u64>,
    free: Vec<u64>,
}

impl StateFile {
    /// # Errors
    /// There is no memory for it.
    pub(super) fn create(keeper: &KeeperRecord) -> io::Result<Self> {
        let file = memfd_create("ttyplugd-keeper", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&file, place(MOST_HELD as u64))?;
        process_lock::lock(&file, Duration::ZERO)?;
        let state = Self::map(file)?;
        state.write_keeper(keeper);
        Ok(state)
    }

    /// Takes over the file of another keeper, once that has ended.
    ///
    /// # Errors
    /// It does not end, or the file cannot be read.
    pub(super) fn take_over(file: OwnedFd) -> io::Result<(Self, KeeperRecord, Vec<OpenRecord>)> {
        process_lock::lock(&file, LIMIT)?;
        let mut state = Self::map(file)?;
        let keeper = state.read(KEEPER)?.unwrap_or_default();
        let places = std::mem::take(&mut state.free);
        let mut opens = Vec::new();
        for place in places {
            match state.read::<OpenRecord>(place)? {
                Some(open) => {
                    state.places.insert(open.held.open.caller.tid, place);
                    opens.push(open);
                }
                None => state.free.push(place),
            }
        }
        Ok((state, keeper, opens))
    }

    fn map(file: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            inbox: Inbox::map(&file)?,
            file: Rc::new(file),
            places: BTreeMap::new(),
            free: (0..MOST_HELD as u64).map(place).collect(),
        })
    }

    pub(super) fn file(&self) -> &Rc<OwnedFd> {
        &self.file
    }

    pub(super) fn write_keeper(&self, keeper: &KeeperRecord) {
        self.write(KEEPER, &line(keeper));
    }

    /// Writes what is known of a thread's open, or that nothing is.
    pub(super) fn write_open(&mut self, tid: u32, open: Option<&OpenRecord>) {
        let place = self.places.remove(&tid).or_else(|| self.free.pop());
        let Some(place) = place else {
            return;
        };
        match open {
            Some(open) => {
                self.write(place, &line(open));
                self.places.insert(tid, place);
            }
            None => {
                self.write(place, b"\n");
                self.free.push(place);
            }
        }
    }

    /// Without memory for it the next keeper does not know it, and nothing else is wrong.
    fn write(&self, place: u64, line: &[u8]) {
        let _ = pwrite(&self.file, line, place);
    }

    /// `None` if nothing was written there, or nothing that is understood.
    fn read<T: for<'de> Deserialize<'de>>(&self, place: u64) -> io::Result<Option<T>> {
        let mut record = [0; PAGE];
        let length = if place < OPENS {
            record.len()
        } else {
            LONGEST_RECORD
        };
        let length = pread(&self.file, &mut record[..length], place)?;
        let record = record[..length].split(|byte| *byte == b'\n').next();
        Ok(record.and_then(|record| serde_json::from_slice(record).ok()))
    }
}

fn place(number: u64) -> u64 {
    OPENS + number * LONGEST_RECORD as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::held_opens::{Caller, Held, Open, Opener};

    fn record(tid: u32) -> OpenRecord {
        let caller = Caller {
            tid,
            instruction: 1,
            path: 2,
            flags: 3,
        };
        let opener = Opener {
            command: "app".into(),
            process: Some(1),
        };
        let held = Held {
            open: Open {
                listener: 0,
                id: 7,
                caller,
                path: "/dev/zwave".into(),
                opener,
            },
            number: 1,
            since: 2,
            until: Some(3),
        };
        OpenRecord {
            held,
            interrupted_at: None,
        }
    }

    #[test]
    fn the_next_keeper_reads_what_was_written_last() {
        let keeper = KeeperRecord {
            container: "c0ffee".into(),
            ..KeeperRecord::default()
        };
        let mut first = StateFile::create(&keeper).unwrap();
        for tid in 1..=3 {
            first.write_open(tid, Some(&record(tid)));
        }
        first.write_open(1, None);
        let newer = OpenRecord {
            interrupted_at: Some(9),
            ..record(2)
        };
        first.write_open(2, Some(&newer));
        first.write_open(4, None);
        // The lock keeps other processes out, of which a test is none.
        let file = first.file().try_clone().unwrap();
        let (mut next, read, mut opens) = StateFile::take_over(file).unwrap();
        assert_eq!(read, keeper);
        opens.sort_by_key(|open| open.held.open.caller.tid);
        assert_eq!(opens, [newer, record(3)]);
        // As many as can be held have a place.
        for tid in 4..1026 {
            next.write_open(tid, Some(&record(tid)));
        }
        let file = next.file().try_clone().unwrap();
        let (_, _, opens) = StateFile::take_over(file).unwrap();
        assert_eq!(opens.len(), MOST_HELD);
    }
}
