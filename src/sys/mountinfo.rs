//! Mount tables as /proc has them (proc(5), /proc/PID/mountinfo).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// One line of a mountinfo file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// No two mounts have the same at a time, in whichever mount namespaces they are (proc(5)).
    pub id: u64,
    /// `major:minor` of the file system; two mounts with the same one show the same files.
    pub device: String,
    /// Which part of the file system is mounted; `/` is all of it.
    pub root: String,
    /// Where, below the root of the process.
    pub point: String,
    /// The file system's type, e.g. `tmpfs`.
    pub kind: String,
    /// The file system's own options, e.g. `rw,devices`.
    pub options: String,
}

impl Mount {
    /// Whether the file system has this option. Every one has the empty one.
    pub fn has_option(&self, option: &str) -> bool {
        option.is_empty() || self.options.split(',').any(|own| own == option)
    }
}

/// Reads a mountinfo file; lines that are not understood are passed over.
pub fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// The line of a mountinfo file that is about the mount with this id.
pub fn mount_with_id(text: &str, id: u64) -> Option<Mount> {
    let is_it = |line: &&str| {
        line.split(' ')
            .next()
            .is_some_and(|first| first.parse() == Ok(id))
    };
    text.lines().find(is_it).and_then(parse_line)
}

/// The mount's id and the file system's type, for callers that need no more of a line.
pub fn id_and_kind(line: &str) -> Option<(u64, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let id = before.split(' ').next()?.parse().ok()?;
    Some((id, after.split(' ').next()?))
}

/// The id of the mount that a file is on (proc(5), /proc/PID/fdinfo). No file system is asked.
///
/// # Errors
/// /proc cannot be read.
pub fn mount_id(file: &impl AsFd) -> io::Result<u64> {
    let mut info = [0; 1024];
    let path = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
    let length = File::open(path)?.read(&mut info)?;
    let info = String::from_utf8_lossy(&info[..length]);
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let id = id.and_then(|id| id.trim().parse().ok());
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_line(line: &str) -> Option<Mount> {
    // id parent major:minor root point options [optional…] - type source options
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let mut fields = before.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?.to_owned();
    Some(Mount {
        id,
        device,
        root: unescape(fields.next()?),
        point: unescape(fields.next()?),
        kind: after.next()?.to_owned(),
        options: after.nth(1).unwrap_or_default().to_owned(),
    })
}

/// Space, tab, newline and backslash appear as `\ooo` (proc(5)).
fn unescape(field: &str) -> String {
    let mut text = field.to_owned();
    for (escape, plain) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        if text.contains('\\') {
            text = text.replace(escape, plain);
        }
    }
    text
}

/// The host's mounts. Each container adds some, and each container is compared with all of them.
#[derive(Debug)]
pub struct HostMounts {
    /// As this process sees them.
    pub own: Vec<Mount>,
    /// The `major:minor` of every file system that is mounted in the mount namespace of the first
    /// process, or in our own, which the service manager may have made.
    pub filesystems: BTreeSet<String>,
}

/// # Errors
/// A table cannot be read.
pub fn host_mounts() -> io::Result<Arc<HostMounts>> {
    static FOLLOWED: Mutex<Option<Followed>> = Mutex::new(None);
    let mut followed = FOLLOWED.lock().unwrap_or_else(PoisonError::into_inner);
    // Taken out: one that could not be read is not used again.
    let mut now = match followed.take() {
        Some(now) => now,
        None => Followed::open()?,
    };
    now.read_if_changed()?;
    let mounts = now.mounts.clone();
    *followed = Some(now);
    Ok(mounts)
}

/// Tables that are read again when they have changed.
#[derive(Debug)]
struct Followed {
    tables: [File; 2],
    mounts: Arc<HostMounts>,
}

impl Followed {
    fn open() -> io::Result<Self> {
        let open = |process| File::open(format!("/proc/{process}/mountinfo"));
        let tables = [open("self")?, open("1")?];
        let mounts = Arc::new(read(&tables)?);
        Ok(Self { tables, mounts })
    }

    /// poll(2) reports every mount and unmount since the table was opened or last polled
    /// (proc(5), /proc/PID/mounts; kernel, fs/proc_namespace.c, `mounts_poll`).
    fn read_if_changed(&mut self) -> io::Result<()> {
        let polled = |table| PollFd::new(table, PollFlags::POLLPRI);
        let mut polled = self.tables.each_ref().map(|table| polled(table.as_fd()));
        if poll(&mut polled, PollTimeout::ZERO)? > 0 {
            self.mounts = Arc::new(read(&self.tables)?);
        }
        Ok(())
    }
}

fn read(tables: &[File; 2]) -> io::Result<HostMounts> {
    let read = |mut table: &File| -> io::Result<Vec<Mount>> {
        let mut text = String::with_capacity(1 << 16);
        table.rewind()?;
        table.read_to_string(&mut text)?;
        Ok(parse_mountinfo(&text))
    };
    let [own, first] = [read(&tables[0])?, read(&tables[1])?];
    let filesystems = own.iter().chain(&first);
    Ok(HostMounts {
        filesystems: filesystems.map(|mount| mount.device.clone()).collect(),
        own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n\
                    37 35 0:45 / /dev rw - tmpfs tmpfs rw,size=65536k\nnonsense\n";
        let mounts = parse_mountinfo(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, "/mnt 2");
        assert_eq!(mounts[0].root, "/mnt1");
        assert_eq!((mounts[1].id, mounts[1].device.as_str()), (37, "0:45"));
        assert_eq!(mounts[1].kind, "tmpfs");
        assert_eq!(mount_with_id(text, 37).as_ref(), mounts.get(1));
        assert_eq!(mount_with_id(text, 35), None);
        let kinds: Vec<_> = text.lines().map(id_and_kind).collect();
        assert_eq!(kinds, [Some((36, "ext3")), Some((37, "tmpfs")), None]);
    }

    #[test]
    fn the_hosts_mounts_are_read_once_while_they_do_not_change() {
        let mounts = host_mounts().unwrap();
        let root = mounts.own.iter().find(|mount| mount.point == "/").unwrap();
        assert!(mounts.filesystems.contains(&root.device));
        let file = File::open("/").unwrap();
        assert_eq!(mount_id(&file).unwrap(), root.id);
        let _ = host_mounts().unwrap();
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_the_parser_panic(text in ".*") {
            let _ = parse_mountinfo(&text);
        }
    }
}
