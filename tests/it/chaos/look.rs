//! What is seen from outside: in a container's /dev, in what its control group lets a process open,
//! and in what its program says of its opens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::testbed::{Entry, names_below, output, test_dir};

use super::opens::Open;
use super::oracle::Host;
use super::world::SOCKETS;

/// A process may open a device for reading, for writing and for both.
const EVERY_WAY: &str = "7";

/// Everything below the /dev of a container but what its runtime puts there, and what its processes
/// have moved.
pub(super) fn entries(pid: i64) -> BTreeMap<String, Entry> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let names = names_below(&root).into_iter();
    let names = names.filter(|name| name != "/dev/moved");
    names
        .map(|name| {
            let entry = Entry::at(&root.join(&name[1..]));
            (name, entry)
        })
        .collect()
}

/// The sockets whose ttys may be opened in the control group of a process. `Err` says what is not
/// as it could be.
pub(super) fn rights(pid: i64, host: Host) -> Result<BTreeSet<usize>, String> {
    let program = test_dir().join("opens");
    let group = control_group(pid)?.join("cgroup.procs");
    let ttys = (0..SOCKETS).map(|socket| format!("/dev/tty{}", host.first + socket as u64));
    let words = ["rights".to_owned(), group.to_string_lossy().into()];
    let arguments: Vec<_> = words
        .into_iter()
        .chain(ttys)
        .chain(["/dev/null".into()])
        .collect();
    let said = output(&program.to_string_lossy(), &arguments);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let ways: Vec<&str> = said.split_whitespace().collect();
    if ways.len() != SOCKETS + 1 || ways[SOCKETS] != EVERY_WAY {
        return Err(format!("what may be opened is {said:?}"));
    }
    let mut sockets = BTreeSet::new();
    for (socket, ways) in ways[..SOCKETS].iter().enumerate() {
        match *ways {
            EVERY_WAY => drop(sockets.insert(socket)),
            "0" => {}
            other => return Err(format!("socket {socket} may be opened in the ways {other}")),
        }
    }
    Ok(sockets)
}

/// That of the devices (cgroups(7), /proc/PID/cgroup).
fn control_group(pid: i64) -> Result<PathBuf, String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    let groups = groups.map_err(|error| format!("its control group: {error}"))?;
    let of = |controllers: &str| {
        let mut lines = groups.lines();
        let line = lines.find_map(|line| line.split_once(controllers))?;
        Some(line.1.to_owned())
    };
    match (of(":devices:"), of("0::")) {
        (Some(path), _) => Ok(format!("/sys/fs/cgroup/devices{path}").into()),
        (None, Some(path)) => Ok(format!("/sys/fs/cgroup{path}").into()),
        (None, None) => Err("it has no control group".into()),
    }
}

/// Whether a process that joins a frozen group is frozen too: there is one tree of groups.
pub(super) fn has_one_tree() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// What the program of a container has written so far.
#[derive(Debug)]
pub(super) struct Log {
    file: PathBuf,
    read: u64,
}

impl Log {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            file: directory.join("log"),
            read: 0,
        }
    }

    /// The opens that have ended since the last time.
    pub(super) fn more(&mut self) -> Vec<Open> {
        let Ok(mut file) = File::open(&self.file) else {
            return Vec::new();
        };
        let mut text = String::new();
        file.seek(SeekFrom::Start(self.read)).expect("it is a file");
        file.read_to_string(&mut text).expect("it is a file");
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        let lines = text[..whole].lines();
        lines
            .map(|line| Open::read(line).unwrap_or_else(|| panic!("a strange line: {line:?}")))
            .collect()
    }
}
