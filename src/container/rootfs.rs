//! A container's root directory, entered from the host through /proc/PID/root.
//!
//! All paths stay below it, whatever links the container has made. It is also decided here where
//! we may write at all: only in a tmpfs that belongs to this container alone.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode as StatMode, SFlag, fstat, major, minor};

use crate::model::device::printable;
use crate::model::inventory::ContainerId;
use crate::model::{DevNum, Mode, TEMPORARY_PREFIX};
use crate::plan::Found;
use crate::sys::cgroup::is_in_container;
use crate::sys::mountinfo::{HostMounts, Mount, host_mounts, mount_id, mount_with_id};

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

/// One start of a container, as it is worked on from outside. It is opened once per start; what is
/// below its root is looked up anew each time, since the container can change all of it.
#[derive(Debug)]
pub struct Rootfs {
    process: Process,
    /// Which users of the host its users are. A map is written once (user_namespaces(7)).
    pub users: Users,
    /// Where bind mounts and volumes are mounted.
    foreign: ForeignMounts,
    /// What was found out about the mount of its /dev.
    dev: Mutex<Option<JudgedMount>>,
}

/// A mount, and whether we may write on it, as long as the host's mounts stay the same.
#[derive(Debug)]
struct JudgedMount {
    /// A directory on it. While it is open the kernel gives the mount's id to no other (kernel,
    /// fs/namespace.c, cleanup_mnt).
    _pin: OwnedFd,
    id: u64,
    host: Arc<HostMounts>,
    verdict: Result<(), &'static str>,
}

impl Rootfs {
    /// # Errors
    /// The container is gone or cannot be looked into.
    pub fn open(pid: i64, id: &ContainerId, foreign: ForeignMounts) -> anyhow::Result<Self> {
        let process = Process::open(pid, id)?;
        Ok(Self {
            users: process.users()?,
            process,
            foreign,
            dev: Mutex::new(None),
        })
    }

    /// # Errors
    /// The container is gone or cannot be looked into.
    pub fn enter(&self) -> anyhow::Result<Entered<'_>> {
        Ok(Entered {
            rootfs: self,
            tree: self.process.root()?,
            host: host_mounts().context("the host's mounts cannot be read")?,
            mounts: OnceCell::new(),
        })
    }

    /// One of its namespaces, e.g. `mnt` (namespaces(7)).
    ///
    /// # Errors
    /// The container is gone.
    pub fn namespace(&self, kind: &str) -> anyhow::Result<OwnedFd> {
        self.process.namespace(kind)
    }

    /// Lets go of the container's file systems.
    pub fn leave(&self) {
        drop(self.judged().take());
    }

    fn judged(&self) -> MutexGuard<'_, Option<JudgedMount>> {
        self.dev.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A container's root directory during one look, with the answer to where we may write in it.
#[derive(Debug)]
pub struct Entered<'a> {
    pub rootfs: &'a Rootfs,
    pub tree: Tree,
    host: Arc<HostMounts>,
    /// The container's mount table; read only where it is needed.
    mounts: OnceCell<String>,
}

impl Entered<'_> {
    /// The directory, or the nearest one above it that exists, if it is one to write in.
    ///
    /// # Errors
    /// [`RootError::Forbidden`] if it is not.
    pub fn directory(&self, directory: &str) -> Result<Place, RootError> {
        let place = self.tree.directory(directory)?;
        match self.may_write(directory, &place)? {
            Ok(()) => Ok(place),
            Err(reason) => {
                // When a container has ended, what its mounts were mounted on comes to light.
                self.is_there()?;
                let directory = directory.to_owned();
                Err(Forbidden { directory, reason }.into())
            }
        }
    }

    /// A process that has ended has no root directory, be it waited for or not (kernel,
    /// fs/proc/base.c, proc_root_link).
    ///
    /// # Errors
    /// The container is gone.
    pub fn is_there(&self) -> anyhow::Result<()> {
        self.rootfs.process.root().map(drop)
    }

    /// What is known of the mount of /dev need not be found out again.
    fn may_write(
        &self,
        directory: &str,
        place: &Place,
    ) -> anyhow::Result<Result<(), &'static str>> {
        let known = |judged: &&JudgedMount| {
            judged.id == place.mount && Arc::ptr_eq(&judged.host, &self.host)
        };
        if let Some(judged) = self.rootfs.judged().as_ref().filter(known) {
            return Ok(judged.verdict);
        }
        let verdict = self.judge(place.mount)?;
        if directory == "/dev" {
            *self.rootfs.judged() = Some(JudgedMount {
                _pin: place.fd.try_clone()?,
                id: place.mount,
                host: self.host.clone(),
                verdict,
            });
        }
        Ok(verdict)
    }

    /// A tmpfs of this container alone is a tmpfs, mounted whole, that Docker did not bring in from
    /// outside and that is mounted nowhere on the host. devtmpfs is the host's own /dev, whatever
    /// part of it was mounted wherever.
    fn judge(&self, id: u64) -> anyhow::Result<Result<(), &'static str>> {
        let Some(mount) = self.mount(id)? else {
            return Ok(Err("is on a mount that the container does not show"));
        };
        Ok(match mount.kind.as_str() {
            "devtmpfs" => Err("is the host's own /dev"),
            "tmpfs" if mount.root != "/" || self.rootfs.foreign.contains(&mount.point) => {
                Err("was mounted from outside the container")
            }
            "tmpfs" if self.host.filesystems.contains(&mount.device) => {
                Err("is shared with the host")
            }
            "tmpfs" => Ok(()),
            _ => Err("is not on a tmpfs"),
        })
    }

    /// One of the container's mounts, be it one that has come since it was entered.
    fn mount(&self, id: u64) -> anyhow::Result<Option<Mount>> {
        let read = || self.rootfs.process.read("mountinfo");
        let known = match self.mounts.get() {
            Some(mounts) => mounts,
            None => {
                let mounts = read()?;
                self.mounts.get_or_init(|| mounts)
            }
        };
        match mount_with_id(known, id) {
            Some(mount) => Ok(Some(mount)),
            None => Ok(mount_with_id(&read()?, id)),
        }
    }
}

/// The first process of a container.
///
/// A descriptor of /proc/PID stays with that one process and answers ESRCH once it is gone, even
/// if its number is used again (proc(5)).
#[derive(Debug)]
pub struct Process(OwnedFd);

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

impl Process {
    /// # Errors
    /// The container is gone.
    pub fn open(pid: i64, id: &ContainerId) -> anyhow::Result<Self> {
        let process = nix::fcntl::open(
            &PathBuf::from(format!("/proc/{pid}")),
            PATH_ONLY | OFlag::O_DIRECTORY,
            StatMode::empty(),
        );
        let process =
            process.with_context(|| format!("container {id} is gone: no process {pid}"))?;
        let process = Self(process);
        anyhow::ensure!(
            is_in_container(&process.read("cgroup")?, &id.0),
            "process {pid} is not of container {id} any more; it has just ended"
        );
        Ok(process)
    }

    /// Its root directory.
    ///
    /// # Errors
    /// It has ended, or may not be looked into.
    pub fn root(&self) -> anyhow::Result<Tree> {
        let directory = PATH_ONLY | OFlag::O_DIRECTORY;
        match openat(&self.0, "root", directory, StatMode::empty()) {
            Ok(root) => Ok(Tree(root)),
            Err(Errno::ENOENT | Errno::ESRCH) => anyhow::bail!("the container has just ended"),
            Err(error) => Err(error).context(
                "the container's root directory cannot be opened; this takes root and \
                 CAP_SYS_PTRACE",
            ),
        }
    }

    /// One of its files in /proc.
    ///
    /// # Errors
    /// It has ended.
    pub fn read(&self, name: &str) -> anyhow::Result<String> {
        let read = || -> io::Result<String> {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let fd = openat(&self.0, name, flags, StatMode::empty())?;
            Ok(printable(&read_all(File::from(fd), u64::MAX)?))
        };
        read().with_context(|| format!("/proc/PID/{name} of the container cannot be read"))
    }

    /// # Errors
    /// It has ended.
    pub fn users(&self) -> anyhow::Result<Users> {
        Ok(Users {
            uid_map: parse_id_map(&self.read("uid_map")?),
            gid_map: parse_id_map(&self.read("gid_map")?),
        })
    }

    fn namespace(&self, kind: &str) -> anyhow::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let name = format!("ns/{kind}");
        openat(&self.0, name.as_str(), flags, StatMode::empty())
            .with_context(|| format!("the container's {kind} namespace cannot be opened"))
    }
}

impl Tree {
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = PATH_ONLY | OFlag::O_DIRECTORY;
        Ok(Self(nix::fcntl::open(path, flags, StatMode::empty())?))
    }

    /// A directory below it, or the nearest one above that exists.
    fn directory(&self, directory: &str) -> anyhow::Result<Place> {
        let mut existing = directory;
        loop {
            match self.resolve(existing, PATH_ONLY | OFlag::O_DIRECTORY) {
                Ok(fd) => {
                    let real = readlinkat(nix::fcntl::AT_FDCWD, &proc_path(&fd))?;
                    let real = printable(real.as_bytes());
                    let missing = &directory[existing.len()..];
                    return Ok(Place {
                        mount: mount_id(&fd).context("the mount of a directory cannot be told")?,
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

#[cfg(test)]
impl Rootfs {
    /// The root directory of the tests themselves, for tests that only need a start to have one.
    pub(crate) fn own() -> Self {
        let open = || -> anyhow::Result<Self> {
            let flags = PATH_ONLY | OFlag::O_DIRECTORY;
            let process = nix::fcntl::open("/proc/self", flags, StatMode::empty())?;
            let process = Process(process);
            Ok(Self {
                users: process.users()?,
                process,
                foreign: ForeignMounts::new(),
                dev: Mutex::new(None),
            })
        };
        open().expect("/proc is there")
    }
}
