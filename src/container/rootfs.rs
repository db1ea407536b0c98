//! Enters a container's root directory from the host, through /proc/PID/root.
//!
//! All paths stay below it, whatever links the container has made. This file also decides where
//! ttyplugd may write: only on a tmpfs that belongs to this container alone.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode as StatMode, SFlag, fstat, major, minor};
use rustix::fs::{AtFlags, FileType, RawDir, StatVfsMountFlags, StatxFlags, fstatvfs, statx};

use crate::model::device::printable;
use crate::model::inventory::ContainerId;
use crate::model::{DevNum, Mode, TEMPORARY_PREFIX};
use crate::plan::{Forbidden, Found, Mounted};
use crate::sys::cgroup::is_in_container;
use crate::sys::mountinfo::{HostMounts, Mount, host_mounts, mount_id, mount_with_id};

/// The paths in a container at which Docker has mounted a bind mount or a volume.
pub type ForeignMounts = BTreeSet<String>;

/// Why a container cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// It has ended, or cannot be read.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// The file systems of one start of a container. It is opened once per start. Everything below its
/// root is looked up anew each time, since the container can change all of it.
#[derive(Debug)]
pub struct Rootfs {
    process: Process,
    /// How its users are mapped to the host's. A map is written once (user_namespaces(7)).
    pub users: Users,
    /// Its bind mounts and volumes.
    foreign: ForeignMounts,
    /// The mount of its /dev, once it was checked.
    dev: Mutex<Option<JudgedMount>>,
}

/// A mount, and whether ttyplugd may write on it. This holds until the host's mounts change.
#[derive(Debug)]
struct JudgedMount {
    /// A directory on it. While it is open, the kernel gives the mount's id to no other mount
    /// (kernel, fs/namespace.c, `cleanup_mnt`).
    _pin: OwnedFd,
    id: u64,
    host: Arc<HostMounts>,
    verdict: Result<(), &'static str>,
}

impl Rootfs {
    /// Opens the container whose first process is `pid`.
    ///
    /// # Errors
    /// The container has ended or cannot be read.
    pub fn open(pid: i64, id: &ContainerId, foreign: ForeignMounts) -> anyhow::Result<Self> {
        let process = Process::open(pid, id)?;
        Ok(Self {
            users: process.users()?,
            process,
            foreign,
            dev: Mutex::new(None),
        })
    }

    /// Opens its root directory for one look.
    ///
    /// # Errors
    /// The container has ended or cannot be read.
    pub fn enter(&self) -> anyhow::Result<Entered<'_>> {
        Ok(Entered {
            rootfs: self,
            tree: self.process.root()?,
            host: host_mounts().context("cannot read the host's mounts")?,
            mounts: OnceCell::new(),
        })
    }

    /// Opens one of its namespaces, e.g. `mnt` (namespaces(7)).
    ///
    /// # Errors
    /// The container has ended.
    pub fn namespace(&self, kind: &str) -> anyhow::Result<OwnedFd> {
        self.process.namespace(kind)
    }

    /// Closes the descriptor that keeps its /dev in memory.
    pub fn leave(&self) {
        drop(self.judged().take());
    }

    fn judged(&self) -> MutexGuard<'_, Option<JudgedMount>> {
        self.dev.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A container's root directory during one look. It knows where ttyplugd may write.
#[derive(Debug)]
pub struct Entered<'a> {
    pub rootfs: &'a Rootfs,
    pub tree: Tree,
    host: Arc<HostMounts>,
    /// The container's /proc/PID/mountinfo, read when it is first needed.
    mounts: OnceCell<String>,
}

impl Entered<'_> {
    /// Opens a directory in which ttyplugd may write, or the nearest one above it that exists.
    ///
    /// # Errors
    /// [`RootError::Forbidden`] if ttyplugd may not write there.
    pub fn directory(&self, path: &str) -> Result<Directory, RootError> {
        let directory = self.tree.directory(path);
        let directory = directory.map_err(|error| match error.downcast_ref() {
            Some(errno) if !is_the_machines(*errno) => {
                self.forbidden(path, format!("cannot be entered ({})", errno.desc()), true)
            }
            _ => error.into(),
        })?;
        match self.may_write(path, &directory)? {
            Ok(()) => Ok(directory),
            Err(reason) => Err(self.forbidden(path, reason.to_owned(), false)),
        }
    }

    fn forbidden(&self, directory: &str, reason: String, may_pass: bool) -> RootError {
        // The end of a container unmounts its tmpfs, and the image's /dev appears.
        if let Err(error) = self.is_there() {
            return error.into();
        }
        let directory = directory.to_owned();
        let forbidden = Forbidden {
            directory,
            reason,
            may_pass,
        };
        forbidden.into()
    }

    /// The device that an open of a path reaches, as far as its mounts decide: through links, and not
    /// on a file system whose nodes the kernel does not open.
    ///
    /// # Errors
    /// The container has ended, or the machine lacks something.
    pub fn device(&self, path: &str) -> anyhow::Result<Option<DevNum>> {
        let entry = match self.tree.resolve(path, PATH_ONLY) {
            Err(errno) if is_the_machines(errno) => return Err(errno.into()),
            Err(_) => return Ok(None),
            Ok(entry) => entry,
        };
        let stat = fstat(&entry)?;
        if kind(&stat) != SFlag::S_IFCHR || mounted(&entry)?.nodev || self.is_unopenable(&entry)? {
            return Ok(None);
        }
        devnum(&stat).map(Some)
    }

    /// Whether a node is on a tmpfs that was mounted in a user namespace (kernel, fs/super.c,
    /// SB_I_NODEV). statfs(2) does not say so.
    fn is_unopenable(&self, node: &OwnedFd) -> anyhow::Result<bool> {
        let remapped = !self.rootfs.users.is_host();
        Ok(remapped && self.judge(mount_of(node)?)?.is_ok())
    }

    /// Checks that the container still runs: an ended process has no root directory, not even as a
    /// zombie (kernel, fs/proc/base.c, `proc_root_link`).
    ///
    /// # Errors
    /// The container has ended.
    pub fn is_there(&self) -> anyhow::Result<()> {
        self.rootfs.process.root().map(drop)
    }

    /// Whether ttyplugd may write in a directory, or why not. The answer for the mount of /dev is
    /// kept.
    fn may_write(
        &self,
        path: &str,
        directory: &Directory,
    ) -> anyhow::Result<Result<(), &'static str>> {
        let known = |judged: &&JudgedMount| {
            judged.id == directory.mount && Arc::ptr_eq(&judged.host, &self.host)
        };
        if let Some(judged) = self.rootfs.judged().as_ref().filter(known) {
            return Ok(judged.verdict);
        }
        let verdict = self.judge(directory.mount)?;
        if path == "/dev" {
            *self.rootfs.judged() = Some(JudgedMount {
                _pin: directory.fd.try_clone()?,
                id: directory.mount,
                host: self.host.clone(),
                verdict,
            });
        }
        Ok(verdict)
    }

    /// Whether a mount is a tmpfs of this container alone: the whole of a tmpfs that is neither a
    /// bind mount nor a volume, and is mounted nowhere on the host. A devtmpfs is always the host's
    /// own /dev or a part of it (kernel, drivers/base/devtmpfs.c).
    fn judge(&self, id: u64) -> anyhow::Result<Result<(), &'static str>> {
        let Some(mount) = self.mount(id)? else {
            return Ok(Err(
                "is on a mount that is missing in the container's mountinfo",
            ));
        };
        Ok(match mount.kind.as_str() {
            "devtmpfs" => Err("is the host's own /dev"),
            "tmpfs" if mount.root != "/" || self.rootfs.foreign.contains(&mount.point) => {
                Err("is a bind mount or a volume")
            }
            "tmpfs" if self.host.filesystems.contains(&mount.device) => {
                Err("is shared with the host")
            }
            "tmpfs" => Ok(()),
            _ => Err("is not on a tmpfs"),
        })
    }

    /// One of the container's mounts. If it is new, the mount table is read again.
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
/// A descriptor of /proc/PID belongs to that one process: its files fail with ESRCH once it has
/// ended, even if its number is used again (proc(5)).
#[derive(Debug)]
pub struct Process(OwnedFd);

/// A directory as the root of all paths below it, absolute links included.
#[derive(Debug)]
pub struct Tree(OwnedFd);

/// A directory in a container or, if it does not exist, the nearest one above it that does.
#[derive(Debug)]
pub struct Directory {
    pub fd: OwnedFd,
    /// The part of the path that does not exist, e.g. `/by-id`; empty if all of it exists.
    pub missing: String,
    /// The id of its mount (mountinfo).
    pub mount: u64,
}

/// Opens a file as a reference alone: no driver's `open` is called (open(2), O_PATH).
pub const PATH_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// How a container's users are mapped to the host's (user_namespaces(7), "User and group ID
/// mappings").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    uid_map: Vec<IdRange>,
    gid_map: Vec<IdRange>,
}

/// A line of a map: the first id inside, the first id outside, how many.
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
    /// Reads both maps.
    pub fn parse(uid_map: &str, gid_map: &str) -> Self {
        Self {
            uid_map: parse_id_map(uid_map),
            gid_map: parse_id_map(gid_map),
        }
    }

    /// Whether every id is the same on the host.
    pub fn is_host(&self) -> bool {
        let all = [[0, 0, u32::MAX]];
        self.uid_map == all && self.gid_map == all
    }

    /// A user and a group of the container in the host's numbers; `None` if one is not mapped.
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
    /// Opens a process, and checks that it belongs to the container.
    ///
    /// # Errors
    /// The container has ended.
    pub fn open(pid: i64, id: &ContainerId) -> anyhow::Result<Self> {
        let process = nix::fcntl::open(
            &PathBuf::from(format!("/proc/{pid}")),
            PATH_ONLY | OFlag::O_DIRECTORY,
            StatMode::empty(),
        );
        let process =
            process.with_context(|| format!("container {id} has ended: no process {pid}"))?;
        let process = Self(process);
        anyhow::ensure!(
            is_in_container(&process.read("cgroup")?, &id.engine.control_group(), &id.id),
            "container {id} has ended: process {pid} belongs to something else"
        );
        Ok(process)
    }

    /// Opens its root directory.
    ///
    /// # Errors
    /// It has ended, or root or CAP_SYS_PTRACE is missing.
    pub fn root(&self) -> anyhow::Result<Tree> {
        let directory = PATH_ONLY | OFlag::O_DIRECTORY;
        match openat(&self.0, "root", directory, StatMode::empty()) {
            Ok(root) => Ok(Tree(root)),
            Err(Errno::ENOENT | Errno::ESRCH) => anyhow::bail!("the container has ended"),
            Err(error) => Err(error).context(
                "cannot open the container's root directory; this takes root and CAP_SYS_PTRACE",
            ),
        }
    }

    /// Reads one of its files in /proc.
    ///
    /// # Errors
    /// It has ended.
    pub fn read(&self, name: &str) -> anyhow::Result<String> {
        let read = || -> io::Result<String> {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let fd = openat(&self.0, name, flags, StatMode::empty())?;
            Ok(printable(&read_all(File::from(fd), u64::MAX)?))
        };
        read().with_context(|| format!("cannot read /proc/PID/{name} of the container"))
    }

    /// Reads how its users are mapped to the host's.
    ///
    /// # Errors
    /// It has ended.
    pub fn users(&self) -> anyhow::Result<Users> {
        Ok(Users::parse(&self.read("uid_map")?, &self.read("gid_map")?))
    }

    fn namespace(&self, kind: &str) -> anyhow::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let name = format!("ns/{kind}");
        openat(&self.0, name.as_str(), flags, StatMode::empty())
            .with_context(|| format!("cannot open the container's {kind} namespace"))
    }
}

impl Tree {
    /// Opens a directory of the host.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = PATH_ONLY | OFlag::O_DIRECTORY;
        Ok(Self(nix::fcntl::open(path, flags, StatMode::empty())?))
    }

    /// Opens a directory, or the nearest one above it that exists.
    fn directory(&self, path: &str) -> anyhow::Result<Directory> {
        let mut existing = path;
        loop {
            match self.resolve(existing, PATH_ONLY | OFlag::O_DIRECTORY) {
                Ok(fd) => {
                    return Ok(Directory {
                        mount: mount_of(&fd).context("cannot read a directory's mount id")?,
                        missing: path[existing.len()..].to_owned(),
                        fd,
                    });
                }
                // ENOTDIR: something else than a directory is on the way, so nothing is below it.
                Err(Errno::ENOENT | Errno::ENOTDIR) if existing != "/" => {
                    let up = existing.rfind('/').unwrap_or(0);
                    existing = if up == 0 { "/" } else { &existing[..up] };
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot open the directory {existing} in the container")
                    });
                }
            }
        }
    }

    /// Opens a path as the container would, but never through a magic link in /proc, which can lead
    /// out of it (openat2(2), RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS).
    pub fn resolve(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // EAGAIN: something was renamed during the walk, so the kernel could not prove that the path
        // stays below the root (openat2(2)). The tries are limited: a container can rename for ever.
        for _ in 0..64 {
            match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Reads the link at a path. `None` if there is none, or nothing at all.
    ///
    /// # Errors
    /// The path cannot be looked up, or the link is not UTF-8.
    pub fn read_link(&self, path: &str) -> io::Result<Option<String>> {
        let entry = match self.resolve(path, PATH_ONLY | OFlag::O_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(None),
            entry => entry?,
        };
        if kind(&fstat(&entry)?) != SFlag::S_IFLNK {
            return Ok(None);
        }
        // An empty path reads the link of the descriptor itself (readlinkat(2)).
        let target = readlinkat(&entry, "")?.into_string();
        target
            .map(Some)
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Reads the first MiB of a regular file; empty for anything else. Opening a FIFO would block
    /// (fifo(7)), and opening a tty raises its modem lines (kernel, drivers/tty/tty_port.c,
    /// `tty_port_raise_dtr_rts`).
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

/// Whether an error says nothing of the container: this process or the machine lacks something, or a
/// look-up has to be tried again.
fn is_the_machines(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM
    )
}

/// The id of the mount that an entry is on (statx(2), STATX_MNT_ID), without asking the server of a network
/// file system (AT_STATX_DONT_SYNC). Before Linux 5.8 /proc alone has it.
fn mount_of(entry: &OwnedFd) -> io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match statx(entry, "", flags, StatxFlags::MNT_ID) {
        Ok(stat) if stat.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Ok(stat.stx_mnt_id),
        _ => mount_id(entry),
    }
}

/// How the file system of an entry is mounted (statfs(2)).
fn mounted(entry: &OwnedFd) -> io::Result<Mounted> {
    let flags = fstatvfs(entry)?.f_flag;
    Ok(Mounted {
        nodev: flags.contains(StatVfsMountFlags::NODEV),
        read_only: flags.contains(StatVfsMountFlags::RDONLY),
    })
}

/// How many temporary names are swept from one directory at a time. A container can make any number
/// of them; the rest is swept the next time.
const MOST_LEFTOVERS: usize = 32;

impl Directory {
    /// Whether it exists itself.
    pub fn exists(&self) -> bool {
        self.missing.is_empty()
    }

    /// How it is mounted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mounted(&self) -> io::Result<Mounted> {
        mounted(&self.fd)
    }

    /// The path in the container without links, with the missing part.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn real(&self) -> io::Result<String> {
        let existing = readlinkat(nix::fcntl::AT_FDCWD, &proc_path(&self.fd))?;
        let existing = printable(existing.as_bytes());
        Ok(format!(
            "{}{}",
            existing.trim_end_matches('/'),
            self.missing
        ))
    }

    /// The paths of temporary files that a killed daemon has left in it.
    pub fn leftovers(&self, path: &str) -> anyhow::Result<Vec<String>> {
        self.temporary_names()
            .map(|names| names.iter().map(|name| format!("{path}/{name}")).collect())
            .with_context(|| format!("cannot list {path} in the container"))
    }

    fn temporary_names(&self) -> io::Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let list = openat(&self.fd, ".", flags, StatMode::empty())?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(list, &mut buffer);
        let mut names = Vec::new();
        while names.len() < MOST_LEFTOVERS {
            let entry = match entries.next() {
                Some(Ok(entry)) => entry,
                // ENOENT: the directory was removed (getdents(2)).
                None | Some(Err(rustix::io::Errno::NOENT)) => break,
                Some(Err(error)) => return Err(error.into()),
            };
            let name = entry.file_name().to_str().ok();
            let ours = name.filter(|name| name.starts_with(TEMPORARY_PREFIX));
            names.extend(
                ours.filter(|_| entry.file_type() != FileType::Directory)
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    /// Looks up a name in it. A link is not followed.
    pub fn find(&self, name: &str) -> anyhow::Result<Found> {
        let open = |more| {
            let how = OpenHow::new()
                .flags(PATH_ONLY | OFlag::O_NOFOLLOW)
                .resolve(ResolveFlag::RESOLVE_BENEATH | more);
            openat2(&self.fd, name, how)
        };
        // EXDEV: a mount is there (openat2(2), RESOLVE_NO_XDEV).
        let (entry, is_mount) = match open(ResolveFlag::RESOLVE_NO_XDEV) {
            Err(Errno::EXDEV) => (open(ResolveFlag::empty()), true),
            entry => (entry, false),
        };
        match entry {
            Ok(entry) if is_mount => found_mount(&fstat(&entry)?),
            Ok(entry) => found_entry(&entry),
            Err(Errno::ENOENT) => Ok(Found::Nothing),
            Err(error) => {
                Err(error).with_context(|| format!("cannot open {name:?} in the container"))
            }
        }
    }
}

fn found_mount(stat: &FileStat) -> anyhow::Result<Found> {
    Ok(Found::Mount(match kind(stat) {
        SFlag::S_IFCHR => Some(devnum(stat)?),
        _ => None,
    }))
}

fn found_entry(entry: &OwnedFd) -> anyhow::Result<Found> {
    let stat = fstat(entry)?;
    Ok(match kind(&stat) {
        SFlag::S_IFCHR => Found::Node {
            devnum: devnum(&stat)?,
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
            // An empty path reads the link of the descriptor itself (readlinkat(2)).
            target: printable(readlinkat(entry, "")?.as_bytes()),
        },
        _ => Found::Other("something unknown"),
    })
}

fn devnum(stat: &FileStat) -> anyhow::Result<DevNum> {
    Ok(DevNum {
        major: u32::try_from(major(stat.st_rdev))?,
        minor: u32::try_from(minor(stat.st_rdev))?,
    })
}

pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// The first size of a buffer, in bytes. Files in /proc report no size (proc(5)), and most are
/// smaller than this.
const BUFFER: usize = 4096;

fn read_all(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(BUFFER);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The path of an open descriptor in /proc (proc(5), /proc/pid/fd).
pub fn proc_path(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
impl Rootfs {
    /// The root directory of the test process, for tests in which a start only needs to have one.
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
