//! What a keeper knows of the opens of its container, in a file that outlives it: memory without a
//! name (memfd_create(2)), of which the daemon has a descriptor. Another keeper goes on with it.
//!
//! The first page is for the notification that is being received, the second for the keeper itself,
//! and the third for the holds that have ended in vain. The opens follow, and then the ports, twice.
//! All but the ports are written in one system call within a page, so none is ever found half
//! written; the ports are written to the two places in turn, and one of them is whole.
//!
//! The next keeper may be of another version. So places and sizes never change, and a field that is
//! added to a record has a default.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::fs::ftruncate;
use rustix::io::{pread, pwrite};
use serde::{Deserialize, Serialize};

use crate::hold::ContainerPorts;
use crate::hold::held_opens::{LONGEST_RECORD, MOST_HELD, OpenRecord};
use crate::hold::in_vain::InVain;
use crate::hold::protocol::{LONGEST_LINE, line};
use crate::keeper::seccomp_notify::Inbox;
use crate::model::start::FirstProcess;
use crate::sys::process_lock;

/// The smallest page of any machine.
const PAGE: usize = 4096;

/// Where the keeper's record is, the holds in vain, the first of the opens, the ports, and the end.
const KEEPER: u64 = PAGE as u64;
const IN_VAIN: u64 = 2 * KEEPER;
const OPENS: u64 = 3 * KEEPER;
const PORTS: [u64; 2] = [
    place(MOST_HELD as u64),
    place(MOST_HELD as u64) + LONGEST_PORTS as u64,
];
const END: u64 = PORTS[1] + LONGEST_PORTS as u64;

/// The longest record of ports, as a line. They have come in a line.
const LONGEST_PORTS: usize = 2 * LONGEST_LINE;

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
    /// The container's first process.
    #[serde(default)]
    pub(super) process: Option<FirstProcess>,
}

/// The ports that the keeper was last told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortsRecord {
    /// That of the last one is the highest.
    pub(super) number: u64,
    pub(super) ports: ContainerPorts,
    /// When they expire, by the clock of all keepers.
    pub(super) provisional_until: Option<u64>,
}

/// All that another keeper has left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) keeper: KeeperRecord,
    pub(super) ports: PortsRecord,
    pub(super) in_vain: InVain,
    pub(super) opens: Vec<OpenRecord>,
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
        ftruncate(&file, END)?;
        process_lock::lock(&file, Duration::ZERO)?;
        let state = Self::map(file)?;
        state.write_keeper(keeper);
        Ok(state)
    }

    /// Takes over the file of another keeper, once that has ended.
    ///
    /// # Errors
    /// It does not end, or the file cannot be read.
    pub(super) fn take_over(file: OwnedFd) -> io::Result<(Self, Left)> {
        process_lock::lock(&file, LIMIT)?;
        let mut state = Self::map(file)?;
        let keeper = state.read(KEEPER, PAGE)?.unwrap_or_default();
        let opens = state.read_opens()?;
        let ports = state.read_ports()?;
        let in_vain = state.read(IN_VAIN, PAGE)?.unwrap_or_default();
        let left = Left {
            keeper,
            ports,
            in_vain,
            opens,
        };
        Ok((state, left))
    }

    fn map(file: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            inbox: Inbox::map(&file)?,
            file: Rc::new(file),
            places: BTreeMap::new(),
            free: (0..MOST_HELD as u64).map(place).collect(),
        })
    }

    fn read_opens(&mut self) -> io::Result<Vec<OpenRecord>> {
        let mut opens = Vec::new();
        for place in std::mem::take(&mut self.free) {
            match self.read::<OpenRecord>(place, LONGEST_RECORD)? {
                Some(open) => {
                    self.places.insert(open.held.open.caller.tid, place);
                    opens.push(open);
                }
                None => self.free.push(place),
            }
        }
        Ok(opens)
    }

    fn read_ports(&self) -> io::Result<PortsRecord> {
        let mut last = PortsRecord::default();
        for place in PORTS {
            let record: Option<PortsRecord> = self.read_long(place)?;
            last = record.filter(|it| it.number > last.number).unwrap_or(last);
        }
        Ok(last)
    }

    pub(super) fn file(&self) -> &Rc<OwnedFd> {
        &self.file
    }

    pub(super) fn write_keeper(&self, keeper: &KeeperRecord) {
        let without_group = KeeperRecord {
            cgroup: String::new(),
            ..keeper.clone()
        };
        if !self.write(KEEPER, PAGE, &line(keeper)) {
            self.write(KEEPER, PAGE, &line(&without_group));
        }
    }

    pub(super) fn write_in_vain(&self, in_vain: &InVain) {
        self.write(IN_VAIN, PAGE, &line(in_vain));
    }

    /// The first page, which has the number, is written last: a record that is not written to its end
    /// keeps its old number, and the other place has a higher one.
    pub(super) fn write_ports(&self, ports: &PortsRecord) {
        let [even, odd] = PORTS;
        let place = if ports.number % 2 == 0 { even } else { odd };
        let line = line(ports);
        if line.len() <= LONGEST_PORTS {
            let (head, tail) = line.split_at(line.len().min(PAGE));
            self.write(place + PAGE as u64, LONGEST_PORTS, tail);
            self.write(place, PAGE, head);
        }
    }

    /// Forgets what is known of a thread's open.
    pub(super) fn remove_open(&mut self, tid: u32) {
        if let Some(place) = self.places.remove(&tid) {
            self.write(place, LONGEST_RECORD, b"\n");
            self.free.push(place);
        }
    }

    /// Writes what is known of a thread's open. Returns whether it could.
    pub(super) fn write_open(&mut self, tid: u32, open: &OpenRecord) -> bool {
        let place = self.places.remove(&tid).or_else(|| self.free.pop());
        let Some(place) = place else {
            return false;
        };
        self.places.insert(tid, place);
        self.write(place, LONGEST_RECORD, &line(open))
    }

    /// Returns whether there was room and memory for it.
    fn write(&self, place: u64, room: usize, line: &[u8]) -> bool {
        line.len() <= room && pwrite(&self.file, line, place) == Ok(line.len())
    }

    /// `None` if nothing was written there, or nothing that is understood.
    fn read<T: for<'de> Deserialize<'de>>(&self, place: u64, room: usize) -> io::Result<Option<T>> {
        let mut record = [0; PAGE];
        let length = pread(&self.file, &mut record[..room], place)?;
        Ok(parse(&record[..length]))
    }

    /// The same of a record that may be longer than a page.
    fn read_long<T: for<'de> Deserialize<'de>>(&self, place: u64) -> io::Result<Option<T>> {
        let mut record = Vec::new();
        let mut page = [0; PAGE];
        for at in (place..place + LONGEST_PORTS as u64).step_by(PAGE) {
            let length = pread(&self.file, &mut page, at)?;
            record.extend(&page[..length]);
            // What was never written is zero.
            if page.contains(&b'\n') || page.contains(&0) {
                break;
            }
        }
        Ok(parse(&record))
    }
}

fn parse<T: for<'de> Deserialize<'de>>(record: &[u8]) -> Option<T> {
    let line = record.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

const fn place(number: u64) -> u64 {
    OPENS + number * LONGEST_RECORD as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::held_opens::{Held, Open};

    fn record(tid: u32) -> OpenRecord {
        let held = Held {
            open: Open {
                id: 7,
                ..Open::of_app(tid, "/dev/zwave")
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
            assert!(first.write_open(tid, &record(tid)));
        }
        first.remove_open(1);
        let newer = OpenRecord {
            interrupted_at: Some(9),
            ..record(2)
        };
        assert!(first.write_open(2, &newer));
        first.remove_open(4);
        // The lock keeps other processes out, of which a test is none.
        let file = first.file().try_clone().unwrap();
        let (mut next, mut left) = StateFile::take_over(file).unwrap();
        assert_eq!(left.keeper, keeper);
        assert_eq!(left.ports, PortsRecord::default());
        left.opens.sort_by_key(|open| open.held.open.caller.tid);
        assert_eq!(left.opens, [newer, record(3)]);
        // As many as can be held have a place, and no more.
        for tid in 4..1026 {
            assert!(next.write_open(tid, &record(tid)));
        }
        assert!(!next.write_open(1026, &record(1026)));
        let file = next.file().try_clone().unwrap();
        let (_, left) = StateFile::take_over(file).unwrap();
        assert_eq!(left.opens.len(), MOST_HELD);
    }

    #[test]
    fn of_the_ports_the_last_are_read_even_if_the_next_are_half_written() {
        let state = StateFile::create(&KeeperRecord::default()).unwrap();
        let ports = |number: u64| PortsRecord {
            number,
            ports: ContainerPorts {
                every_names: vec![format!("/dev/{number}").repeat(1000); 10],
                ..ContainerPorts::default()
            },
            provisional_until: Some(number),
        };
        for number in 1..=5 {
            state.write_ports(&ports(number));
            assert!(state.read_ports().unwrap() == ports(number));
        }
        let next = &line(&ports(6))[PAGE..];
        assert!(state.write(PORTS[0] + PAGE as u64, next.len(), next));
        assert!(state.read_ports().unwrap() == ports(5));
    }

    /// A keeper of a later version has to understand them.
    #[test]
    fn the_records_of_a_keeper_of_this_version_are_understood() {
        let state = StateFile::create(&KeeperRecord::default()).unwrap();
        let open = br#"{"held":{"open":{"listener":0,"id":7,"caller":{"tid":5,"instruction":1,"path":2,"flags":3},"path":"/dev/zwave","opener":{"command":"app","process":1}},"number":1,"since":2,"until":3},"interrupted_at":null}
"#;
        let keeper = br#"{"container":"c0ffee","cgroup":"0::/","let_all_go":true}
"#;
        let ports = br#"{"number":1,"ports":{"ports":[],"every":true},"provisional_until":null}
"#;
        assert!(state.write(3 * 4096, 1024, open));
        assert!(state.write(4096, 4096, keeper));
        assert!(state.write(3 * 4096 + 1024 * 1024, 4096, ports));
        let file = state.file().try_clone().unwrap();
        let (_, left) = StateFile::take_over(file).unwrap();
        assert_eq!(left.opens, [record(5)]);
        assert!(left.keeper.let_all_go);
        assert!(left.ports.ports.every);
    }
}
