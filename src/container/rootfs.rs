//! A container's root directory, entered from the host through /proc/PID/root.
//!
//! All paths stay below it, whatever links the container has made. It is also decided here where
//! we may write at all: only in a tmpfs that belongs to this container alone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode as StatMode, SFlag, fstat, major, minor};

use crate::model::device::printable;
use crate::model::inventory::ContainerId;
use crate::model::{DevNum, Mode, TEMPORARY_PREFIX};
use crate::plan::Found;
use crate::sys::mountinfo::{HostMounts, Mount, host_mounts, mount_with_id};

/// A mount that Docker made from outside: a bind mount or a volume.
pub type ForeignMounts = BTreeSet<String>;

/// A directory in which nothing may be made or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{directory} {reason}")]
pub struct Forbidden {
    pub directory: String,
    pub reason: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A container's directories, each with the answer to whether we may write in it.
#[derive(Debug)]
pub struct Grounds {
    pub root: Root,
    foreign: ForeignMounts,
    pub users: Users,
    /// The container's mount table when it was entered.
    mounts: String,
    host: Arc<HostMounts>,
}

impl Grounds {
    /// # Errors
    /// The container is gone or cannot be looked into.
    pub fn open(pid: i64, id: &ContainerId, foreign: ForeignMounts) -> anyhow::Result<Self> {
        let root = Root::open(pid, id)?;
        Ok(Self {
            mounts: root.read_process_file("mountinfo")?,
            users: root.users()?,
            host: host_mounts().context("the host's mounts cannot be read")?,
            root,
            foreign,
        })
    }

    /// The directory, or the nearest one above it that exists, if it is one to write in.
    ///
    /// # Errors
    /// [`RootError::Forbidden`] if it is not.
    pub fn directory(&self, directory: &str) -> Result<Place, RootError> {
        let place = self.root.directory(directory)?;
        let forbidden = self.may_write(directory, &place).err();
        if forbidden.is_some() {
            // What a container's mounts were mounted on is seen once it has ended.
            self.root.is_there()?;
        }
        forbidden.map_or(Ok(place), Err)
    }

    /// One of the container's mounts, be it one that has come since it was entered.
    fn mount(&self, id: u64) -> anyhow::Result<Option<Mount>> {
        match mount_with_id(&self.mounts, id) {
            Some(mount) => Ok(Some(mount)),
            None => Ok(mount_with_id(
                &self.root.read_process_file("mountinfo")?,
                id,
            )),
        }
    }

    /// A tmpfs of this container alone is a tmpfs, mounted whole, that Docker did not bring in from
    /// outside and that is mounted nowhere on the host. devtmpfs is the host's own /dev, whatever
    /// part of it was mounted wherever.
    fn may_write(&self, directory: &str, place: &Place) -> Result<(), RootError> {
        let forbid = |reason| {
            let directory = directory.to_owned();
            Err(Forbidden { directory, reason }.into())
        };
        let Some(mount) = self.mount(place.mount)? else {
            return forbid("is on a mount that the container does not show");
        };
        match mount.kind.as_str() {
            "tmpfs" => {}
            "devtmpfs" => return forbid("is the host's own /dev"),
            _ => return forbid("is not on a tmpfs"),
        }
        if mount.root != "/" || self.foreign.contains(&mount.point) {
            return forbid("was mounted from outside the container");
        }
        if self.host.filesystems.contains(&mount.device) {
            return forbid("is shared with the host");
        }
        Ok(())
    }
}

/// The root directory of a container.
///
/// A descriptor of /proc/PID stays with that one process and answers ESRCH once it is gone, even
/// if its number is used again (proc(5)).
#[derive(Debug)]
pub struct Root {
    process: OwnedFd,
    pub tree: Tree,
}

/// A directory that is the root of all paths in it, whatever links there are below.
#[derive(Debug)]
pub struct Tree(OwnedFd);

/// A directory in a container, or, where it does not exist, the nearest one above that does.
#[derive(Debug)]
pub struct Place {
    pub fd: OwnedFd,
    /// What of its path does not exist yet, e.g. `/by-id`; empty where all of it does.
    pub missing: String,
    pub real: String,
    /// The id of the mount that it is on.
    pub mount: u64,
}

pub const PATH_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Which users of the host a container's users are (user_namespaces(7), "User and group ID
/// mappings").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    uid_map: Vec<IdRange>,
    gid_map: Vec<IdRange>,
}

/// A line of such a map: first inside, first outside, how many.
type IdRange = [u32; 3];

fn parse_id_map(text: &str) -> Vec<IdRange> {
    let lines = text.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some([next()?, next()?, next()?])
    });
    lines.collect()
}

impl Users {
    /// Whether they are the same users.
    pub fn is_host(&self) -> bool {
        let all = [[0, 0, u32::MAX]];
        self.uid_map == all && self.gid_map == all
    }

    /// A user and a group of the container in the host's numbers, where they are anybody there.
    pub fn on_host(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((mapped(&self.uid_map, uid)?, mapped(&self.gid_map, gid)?))
    }
}

fn mapped(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter().find_map(|[inside, outside, count]| {
        let offset = id.checked_sub(*inside).filter(|offset| offset < count)?;
        outside.checked_add(offset)
    })
}

impl Root {
    pub fn open(pid: i64, id: &ContainerId) -> anyhow::Result<Self> {
        let directory = PATH_ONLY.union(OFlag::O_DIRECTORY);
        let process = nix::fcntl::open(
            &PathBuf::from(format!("/proc/{pid}")),
            directory,
            StatMode::empty(),
        )
        .with_context(|| format!("container {id} is gone: no process {pid}"))?;
        let root = openat(&process, "root", directory, StatMode::empty()).with_context(|| {
            format!("container {id} cannot be looked into; this takes root and CAP_SYS_PTRACE")
        })?;
        let root = Self {
            process,
            tree: Tree(root),
        };
        // Docker names a container's control group after its id, whichever driver it uses
        // (moby, daemon/oci_linux.go, WithCgroups).
        let cgroup = root.read_process_file("cgroup")?;
        anyhow::ensure!(
            cgroup.contains(&id.0),
            "process {pid} is not of container {id} any more; it has just ended"
        );
        Ok(root)
    }

    /// A process that has ended has no root directory, be it waited for or not (kernel,
    /// fs/proc/base.c, proc_root_link).
    ///
    /// # Errors
    /// The container is gone.
    pub fn is_there(&self) -> anyhow::Result<()> {
        let root = readlinkat(&self.process, "root");
        root.context("the container has just ended").map(drop)
    }

    pub fn read_process_file(&self, name: &str) -> anyhow::Result<String> {
        let read = || -> io::Result<String> {
            let fd = openat(
                &self.process,
                name,
                OFlag::O_RDONLY | OFlag::O_CLOEXEC,
                StatMode::empty(),
            )?;
            Ok(printable(&read_all(File::from(fd), u64::MAX)?))
        };
        read().with_context(|| format!("/proc/PID/{name} of the container cannot be read"))
    }

    /// # Errors
    /// The container is gone.
    pub fn users(&self) -> anyhow::Result<Users> {
        Ok(Users {
            uid_map: parse_id_map(&self.read_process_file("uid_map")?),
            gid_map: parse_id_map(&self.read_process_file("gid_map")?),
        })
    }

    /// One of its namespaces, e.g. `mnt` (namespaces(7)).
    ///
    /// # Errors
    /// The container is gone.
    pub fn namespace(&self, kind: &str) -> anyhow::Result<OwnedFd> {
        openat(
            &self.process,
            format!("ns/{kind}").as_str(),
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            StatMode::empty(),
        )
        .with_context(|| format!("the container's {kind} namespace cannot be opened"))
    }

    fn directory(&self, directory: &str) -> anyhow::Result<Place> {
        let mut existing = directory;
        loop {
            match self.tree.resolve(existing, PATH_ONLY | OFlag::O_DIRECTORY) {
                Ok(fd) => {
                    let real = readlinkat(nix::fcntl::AT_FDCWD, &proc_path(&fd))?;
                    let real = printable(real.as_bytes());
                    let missing = &directory[existing.len()..];
                    return Ok(Place {
                        mount: mount_id(&fd)?,
                        missing: missing.to_owned(),
                        real: format!("{}{missing}", real.trim_end_matches('/')),
                        fd,
                    });
                }
                // Below something that is no directory there is nothing either.
                Err(Errno::ENOENT | Errno::ENOTDIR) if existing != "/" => {
                    let up = existing.rfind('/').unwrap_or(0);
                    existing = if up == 0 { "/" } else { &existing[..up] };
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{existing} in the container is no directory"));
                }
            }
        }
    }
}

impl Tree {
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = PATH_ONLY | OFlag::O_DIRECTORY;
        Ok(Self(nix::fcntl::open(path, flags, StatMode::empty())?))
    }

    /// Opens a path as the container would, but never through the links in /proc that lead
    /// elsewhere (openat2(2), RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS).
    pub fn resolve(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // EAGAIN: something was renamed meanwhile and the path could not be proved to stay below
        // the root (openat2(2)). A container that keeps renaming is not waited for.
        for _ in 0..64 {
            match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Reads a regular file of at most 1 MiB; nothing else in a container is worth opening for
    /// reading, since to open a FIFO blocks and to open a tty changes its modem lines.
    pub fn read_small_file(&self, path: &str) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let fd = self.resolve(path, PATH_ONLY)?;
            match kind(&fstat(&fd)?) {
                SFlag::S_IFREG => read_all(File::open(proc_path(&fd))?, 1 << 20),
                _ => Ok(Vec::new()),
            }
        };
        read().map(|bytes| printable(&bytes)).unwrap_or_default()
    }
}

/// How many temporary names are swept from one directory at a time. A container can make as many
/// as it likes, and those that are left are swept the next time.
const MOST_LEFTOVERS: usize = 32;

impl Place {
    pub fn exists(&self) -> bool {
        self.missing.is_empty()
    }

    /// The paths of temporary names that a killed run has left.
    pub fn leftovers(&self, directory: &str) -> anyhow::Result<Vec<String>> {
        let entries = fs::read_dir(proc_path(&self.fd))
            .with_context(|| format!("{directory} in the container cannot be listed"))?;
        let leftovers = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let ours = name.starts_with(TEMPORARY_PREFIX) && !entry.file_type().ok()?.is_dir();
            ours.then(|| format!("{directory}/{name}"))
        });
        Ok(leftovers.take(MOST_LEFTOVERS).collect())
    }

    pub fn look(&self, name: &str) -> anyhow::Result<Found> {
        let open = |more| {
            let how = OpenHow::new()
                .flags(PATH_ONLY | OFlag::O_NOFOLLOW)
                .resolve(ResolveFlag::RESOLVE_BENEATH | more);
            openat2(&self.fd, name, how)
        };
        // EXDEV: something is mounted there (openat2(2), RESOLVE_NO_XDEV).
        let (entry, is_mount) = match open(ResolveFlag::RESOLVE_NO_XDEV) {
            Err(Errno::EXDEV) => (open(ResolveFlag::empty()), true),
            entry => (entry, false),
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::ENOENT) => return Ok(Found::Nothing),
            Err(error) => {
                return Err(error).with_context(|| format!("{name:?} cannot be looked at"));
            }
        };
        let stat = fstat(&entry)?;
        let devnum = DevNum {
            major: u32::try_from(major(stat.st_rdev))?,
            minor: u32::try_from(minor(stat.st_rdev))?,
        };
        let kind = kind(&stat);
        if is_mount {
            return Ok(Found::Mount((kind == SFlag::S_IFCHR).then_some(devnum)));
        }
        Ok(match kind {
            SFlag::S_IFCHR => Found::Node {
                devnum,
                mode: Mode(stat.st_mode & 0o7777),
                uid: stat.st_uid,
                gid: stat.st_gid,
            },
            SFlag::S_IFREG if stat.st_size == 0 => Found::EmptyFile,
            SFlag::S_IFREG => Found::Other("a file with content"),
            SFlag::S_IFDIR => Found::Other("a directory"),
            SFlag::S_IFBLK => Found::Other("a block device"),
            SFlag::S_IFIFO => Found::Other("a FIFO"),
            SFlag::S_IFSOCK => Found::Other("a socket"),
            SFlag::S_IFLNK => Found::Link {
                // An empty path means the link that the descriptor itself is (readlinkat(2)).
                target: printable(readlinkat(&entry, "")?.as_bytes()),
            },
            _ => Found::Other("something unknown"),
        })
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// How much is read at a time. What is in /proc has no size by which one could tell (proc(5)), and
/// is mostly smaller than that.
const AT_A_TIME: usize = 4096;

fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(AT_A_TIME);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The name that a descriptor has in our own /proc.
pub fn proc_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The mount that a descriptor is on, the first field of mountinfo (proc(5), /proc/PID/fdinfo).
fn mount_id(fd: &impl AsFd) -> anyhow::Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let info = File::open(&path).and_then(|file| read_all(file, u64::MAX));
    let info = printable(&info.with_context(|| format!("{path} cannot be read"))?);
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let id = id.and_then(|id| id.trim().parse().ok());
    id.with_context(|| format!("{path} names no mount"))
}
