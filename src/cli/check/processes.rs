//! The processes of the host and the devices that they have open, from /proc below a root directory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};

use super::credentials::Credentials;
use super::kernel::text;
use crate::model::DevNum;
use crate::sys::cgroup::{containers, memberships};
use crate::sys::host_process::is_of_host;

/// A process of the host, in a container or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i64,
    /// Its name in /proc/PID/comm, which it can change.
    pub(super) command: String,
    /// The id of its container.
    pub(super) container: Option<String>,
    /// Whether it is the host's own. A container can name its processes and groups as it likes.
    pub(super) is_of_host: bool,
    /// The user below whose service manager it is (user@.service(5)).
    pub(super) user: Option<u32>,
    /// Its systemd unit on the host, e.g. `ser2net.service`.
    pub(super) unit: Option<String>,
    pub(super) credentials: Option<Credentials>,
    /// The character devices in a /dev that it has open.
    pub(super) open: Vec<DevNum>,
}

/// Reads the number of the character device at a path. Golden tests have files in place of devices.
pub(super) type NumberOf<'a> = &'a dyn Fn(&Path) -> Option<DevNum>;

/// Reads the number without opening the device: opening a tty changes its modem lines.
pub(super) fn number_of(path: &Path) -> Option<DevNum> {
    let found = fs::metadata(path).ok()?;
    let devnum = DevNum {
        major: u32::try_from(major(found.rdev())).ok()?,
        minor: u32::try_from(minor(found.rdev())).ok()?,
    };
    found.file_type().is_char_device().then_some(devnum)
}

/// All processes, ordered by pid. A process that ends meanwhile is left out.
pub(super) fn processes(root: &Path, number_of: NumberOf) -> Vec<Process> {
    let entries = fs::read_dir(root.join("proc")).into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pids: BTreeSet<u32> = pids.collect();
    let process = |pid: u32| {
        let directory = root.join(format!("proc/{pid}"));
        let cgroup = text(&directory, "cgroup");
        let command = text(&directory, "comm").trim_end().to_owned();
        let is_of_host = is_of_host(&directory);
        (!command.is_empty()).then(|| Process {
            pid: pid.into(),
            command,
            container: containers(&cgroup).next().map(str::to_owned),
            user: user(&cgroup),
            unit: unit(&cgroup).filter(|_| is_of_host),
            is_of_host,
            credentials: Credentials::parse(&text(&directory, "status")),
            open: open_devices(&directory, number_of),
        })
    };
    pids.into_iter().filter_map(process).collect()
}

/// The command line of a process.
pub(super) fn arguments(root: &Path, pid: i64) -> Vec<String> {
    let text = text(root, &format!("proc/{pid}/cmdline"));
    text.split_terminator('\0').map(String::from).collect()
}

fn open_devices(process: &Path, number_of: NumberOf) -> Vec<DevNum> {
    let entries = fs::read_dir(process.join("fd")).into_iter().flatten();
    let number = |entry: fs::DirEntry| {
        // Reading the link never blocks. Following it does if it leads to a file system that hangs,
        // so only links into a /dev are followed.
        let target = fs::read_link(entry.path()).ok()?;
        let in_dev = target
            .as_os_str()
            .as_bytes()
            .windows(5)
            .any(|w| w == b"/dev/");
        in_dev.then(|| number_of(&entry.path())).flatten()
    };
    entries.flatten().filter_map(number).collect()
}

fn user(cgroup: &str) -> Option<u32> {
    memberships(cgroup).find_map(|its| {
        let mut names = its.path.split('/');
        names.find_map(|name| {
            name.strip_prefix("user@")?
                .strip_suffix(".service")?
                .parse()
                .ok()
        })
    })
}

/// The systemd unit of a process. Services of a user are below that user's `user@UID.service`,
/// which is not the unit to stop.
fn unit(cgroup: &str) -> Option<String> {
    memberships(cgroup).find_map(|its| {
        let unit = its
            .path
            .split('/')
            .find(|name| name.ends_with(".service"))?;
        (!unit.starts_with("user@")).then(|| unit.to_owned())
    })
}

/// The character devices in /dev of the file system at `root` and in the directories of /dev, with
/// their paths in that file system.
pub(super) fn nodes(root: &Path, number_of: NumberOf) -> Vec<(String, DevNum)> {
    let dev = root.join("dev");
    // A symlink would lead out of the file system.
    let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let mut paths = Vec::new();
    if is_directory(&dev) {
        list(&dev, "/dev", &mut paths);
    }
    paths.sort();
    let node = |path: String| {
        let devnum = number_of(&root.join(path.trim_start_matches('/')))?;
        Some((path, devnum))
    };
    paths.into_iter().filter_map(node).collect()
}

/// How many entries of a directory are read. A container can create any number.
const MAX_ENTRIES: usize = 4096;

/// Adds the entries that are neither directories nor symlinks.
fn list(directory: &Path, name: &str, paths: &mut Vec<String>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.take(MAX_ENTRIES) {
        let (Ok(kind), Ok(entry_name)) = (entry.file_type(), entry.file_name().into_string())
        else {
            continue;
        };
        let path = format!("{name}/{entry_name}");
        if kind.is_dir() && name == "/dev" {
            list(&entry.path(), &path, paths);
        } else if !kind.is_dir() && !kind.is_symlink() {
            paths.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_tells_container_and_unit() {
        let id = "5".repeat(64);
        for cgroup in [
            format!("12:devices:/docker/{id}\n1:name=systemd:/docker/{id}\n"),
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("0::/docker/{id}/init\n"),
        ] {
            assert_eq!(containers(&cgroup).next(), Some(&*id), "{cgroup}");
            assert_eq!(unit(&cgroup), None, "{cgroup}");
        }
        let getty = "0::/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyAMA0.service\n";
        assert_eq!(unit(getty).as_deref(), Some("serial-getty@ttyAMA0.service"));
        assert_eq!(containers(getty).next(), None);
        let user = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n";
        assert_eq!(unit(user), None);
        assert_eq!(
            unit("0::/user.slice/user-1000.slice/session-1.scope\n"),
            None
        );
    }
}
