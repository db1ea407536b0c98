//! Carries out a plan from the host, through descriptors of the container's directories. This needs
//! no program in its image, and works while it is paused.
//!
//! A directory is resolved below the container's root and checked once. Its descriptor then stays on
//! that directory whatever the container renames or links, and every later step uses plain names in
//! it.

use std::fs::{Permissions, read_dir, set_permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode as StatMode, SFlag, fstat, makedev, mkdirat, mknodat};
use nix::unistd::{
    Gid, Uid, UnlinkatFlags, fchownat, linkat, setfsgid, setfsuid, symlinkat, unlinkat,
};

use crate::container::bind_mount::{Node, bind, unmount};
use crate::container::rootfs::{Directory, Entered, PATH_ONLY, RootError, proc_path};
use crate::container::script::LOOK_IN_DEV;
use crate::model::{DevNum, Mode, NodePath, TEMPORARY_PREFIX};
use crate::plan::{Found, Made, Op};

/// A step that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct Refused {
    /// E.g. `cannot make the node`.
    step: &'static str,
    errno: Errno,
}

/// Why an operation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It has appeared since the plan was made.
    #[error("{0} is in the way")]
    InTheWay(Found),
}

impl InjectError {
    /// What the operator can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Root(RootError::Other(_)) => "wait; ttyplugd tries again",
            Self::Root(RootError::Forbidden(_)) => {
                "remove that mount from the container's definition"
            }
            Self::InTheWay(_) => LOOK_IN_DEV,
            Self::Refused(refused) => match refused.errno {
                Errno::ENOSPC => "free space in the container's /dev, or give it a larger tmpfs",
                Errno::EROFS => "mount a writable tmpfs there, or none",
                Errno::EPERM | Errno::EACCES => {
                    "run ttyplugd as root with the capabilities of its unit file"
                }
                _ => LOOK_IN_DEV,
            },
        }
    }
}

/// Carries out `ops` in order. After a failure it skips the remaining operations of the same port.
///
/// # Errors
/// The first failure; the operations of other ports have been carried out.
pub fn inject(entered: &Entered<'_>, ops: &[Op]) -> Result<(), InjectError> {
    let root = entered.on_host(0, 0)?;
    let _acting = ActingAs::new(root);
    let mut first = Ok(());
    let mut skip = false;
    for op in ops {
        if skip && !op.begins_port() {
            continue;
        }
        let done = entered.carry_out(op);
        skip = done.is_err();
        first = first.and(done);
    }
    first
}

/// This thread acts as the container's root user while this lives (setfsuid(2)).
///
/// The kernel lets only users who have an id in a user namespace create files on a file system that
/// was mounted in it (kernel, fs/namei.c, `may_create`). Without remapped users this is root.
struct ActingAs;

impl ActingAs {
    fn new((uid, gid): (u32, u32)) -> Self {
        // The group first: changing it may be forbidden once the user has changed.
        setfsgid(Gid::from_raw(gid));
        setfsuid(Uid::from_raw(uid));
        Self
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
    }
}

impl Entered<'_> {
    fn carry_out(&self, op: &Op) -> Result<(), InjectError> {
        match op {
            Op::Sweep { path } => self.sweep(path),
            Op::RemoveLink { path, target } => self.remove(path, &Made::Link(target.clone())),
            Op::RemoveNode {
                path,
                devnum,
                bound,
            } => match bound {
                true => {
                    let directory = self.directory(path.directory())?;
                    self.unmount(&directory, path.name(), *devnum)
                }
                false => self.remove(path, &Made::node(*devnum, None)),
            },
            Op::MakeNode {
                path,
                devnum,
                mode,
                uid,
                gid,
                bind,
                replaces,
                ..
            } => {
                let node = Node {
                    devnum: *devnum,
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                };
                let directory = self.enter(path.directory())?;
                match bind {
                    true => self.bind(&directory, path.name(), replaces, node),
                    false => directory.put(path.name(), replaces, |name| {
                        directory.make_node(name, node)
                    }),
                }
            }
            Op::MakeLink {
                path,
                target,
                replaces,
            } => {
                let directory = self.enter(path.directory())?;
                directory.put(path.name(), replaces, |name| {
                    symlinkat(target.as_str(), &directory.fd, name)
                        .map_err(refused("cannot make the link"))
                })
            }
        }
    }

    fn sweep(&self, path: &str) -> Result<(), InjectError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or_default();
        let directory = self.directory(directory)?;
        // If it is gone, this is a directory above it, where the name belongs to the container.
        match directory.exists() {
            true => directory.remove(name),
            false => Ok(()),
        }
    }

    /// Removes what we have made at a path, and nothing else.
    fn remove(&self, path: &NodePath, made: &Made) -> Result<(), InjectError> {
        let directory = self.directory(path.directory())?;
        if directory.exists() && made.is(&directory.find(path.name()).map_err(RootError::from)?) {
            directory.remove(path.name())?;
        }
        Ok(())
    }

    /// A user and a group of the container in the host's numbers.
    fn on_host(&self, uid: u32, gid: u32) -> Result<(u32, u32), Refused> {
        let users = self.rootfs.users.on_host(uid, gid);
        users.ok_or_else(|| refused("the owner has no id on the host")(Errno::EOVERFLOW))
    }

    /// Bind-mounts a node over an empty file, which is made for that and nobody may open. The
    /// container sees that file until the node is mounted.
    fn bind(
        &self,
        directory: &Directory,
        name: &str,
        replaces: &Found,
        mut node: Node,
    ) -> Result<(), InjectError> {
        (node.uid, node.gid) = self.on_host(node.uid, node.gid)?;
        if let Found::Mount(Some(devnum)) = replaces {
            self.unmount(directory, name, *devnum)?;
        }
        directory.put(name, replaces, |name| {
            mknodat(&directory.fd, name, SFlag::S_IFREG, StatMode::empty(), 0)
                .map_err(refused("cannot make the file to mount the node on"))
        })?;
        let (mounts, fd) = self.mount_target(directory)?;
        let done = bind(mounts, fd, name.to_owned(), node);
        if done.is_err() {
            let _ = directory.remove(name);
        }
        Ok(done.map_err(refused_io("cannot bind-mount the node"))?)
    }

    /// Unmounts a node of ours and removes the file below it.
    fn unmount(
        &self,
        directory: &Directory,
        name: &str,
        devnum: DevNum,
    ) -> Result<(), InjectError> {
        if !directory.exists() {
            return Ok(());
        }
        let found = directory.find(name).map_err(RootError::from)?;
        let bound = Made::Bound(devnum);
        if bound.is(&found) {
            let (mounts, fd) = self.mount_target(directory)?;
            unmount(mounts, fd, name.to_owned()).map_err(refused_io("cannot unmount the node"))?;
        }
        if bound.left(&found) {
            directory.remove(name)?;
        }
        Ok(())
    }

    /// The container's mount namespace, and a directory in it.
    fn mount_target(&self, directory: &Directory) -> Result<(OwnedFd, OwnedFd), InjectError> {
        let mounts = self.rootfs.namespace("mnt").map_err(RootError::from)?;
        let fd = directory.fd.try_clone();
        Ok((mounts, fd.map_err(refused_io("cannot open the directory"))?))
    }

    /// Opens a directory, and makes it if it is missing.
    fn enter(&self, path: &str) -> Result<Directory, InjectError> {
        let directory = self.directory(path)?;
        if directory.exists() {
            return Ok(directory);
        }
        let mut fd = directory.fd;
        for name in directory.missing.split('/').filter(|name| !name.is_empty()) {
            fd = make_directory(&fd, name, self.on_host(0, 0)?)?;
        }
        // It is checked anew: the container may have made it, as a link or on another mount.
        let directory = self.directory(path)?;
        match directory.exists() {
            true => Ok(directory),
            false => Err(refused("cannot make the directory")(Errno::ENOENT).into()),
        }
    }
}

impl Directory {
    /// Makes something under a temporary name and then gives it its own: it appears complete, with its
    /// mode and owner.
    fn put(
        &self,
        name: &str,
        replaces: &Found,
        make: impl FnOnce(&str) -> Result<(), Refused>,
    ) -> Result<(), InjectError> {
        let temporary = temporary_name();
        let put = make(&temporary).map_err(InjectError::from);
        let put = put.and_then(|()| self.place(&temporary, name, replaces));
        if put.is_err() {
            // If this fails too, the next try sweeps it.
            let _ = self.remove(&temporary);
        }
        put
    }

    /// Moves an entry to its own name. Where nothing is in the way, it is linked to it: programs that
    /// wait for a node in inotify(7) see IN_CREATE then, as if it had been made there.
    fn place(&self, temporary: &str, name: &str, replaces: &Found) -> Result<(), InjectError> {
        let found = self.find(name).map_err(RootError::from)?;
        // Another kind of file than the plan found is not replaced.
        let replaceable = matches!(
            found,
            Found::Nothing | Found::Node { .. } | Found::EmptyFile
        );
        if !replaceable && found != *replaces {
            return Err(InjectError::InTheWay(found));
        }
        let is_free = found == Found::Nothing;
        // One more name may be one too many (tmpfs(5), nr_inodes).
        if is_free && linkat(&self.fd, temporary, &self.fd, name, AtFlags::empty()).is_ok() {
            return self.remove(temporary);
        }
        renameat(&self.fd, temporary, &self.fd, name)
            .map_err(refused("cannot rename it into place"))?;
        Ok(())
    }

    /// Makes a node. The container may replace it at any time; mode and owner are set through a
    /// descriptor that was checked to be the node.
    fn make_node(&self, name: &str, node: Node) -> Result<(), Refused> {
        let device = makedev(node.devnum.major.into(), node.devnum.minor.into());
        let private = StatMode::S_IRUSR | StatMode::S_IWUSR;
        mknodat(&self.fd, name, SFlag::S_IFCHR, private, device)
            .map_err(refused("cannot make the node"))?;
        let made = open_made(&self.fd, name, OFlag::empty())?;
        let stat = fstat(&made).map_err(refused("cannot read the node's attributes"))?;
        if stat.st_rdev != device
            || SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFCHR
        {
            return Err(refused("the container replaced the node")(Errno::EEXIST));
        }
        set_mode_and_owner(&made, node.mode, (node.uid, node.gid))
    }

    fn remove(&self, name: &str) -> Result<(), InjectError> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(refused("cannot remove it")(errno).into()),
        }
    }
}

fn make_directory(above: &OwnedFd, name: &str, owner: (u32, u32)) -> Result<OwnedFd, Refused> {
    match mkdirat(above, name, StatMode::S_IRWXU) {
        Ok(()) => {
            let made = open_made(above, name, OFlag::O_DIRECTORY)?;
            must_be_empty(&made)?;
            set_mode_and_owner(&made, Mode(0o755), owner)?;
            Ok(made)
        }
        Err(Errno::EEXIST) => open_made(above, name, OFlag::O_DIRECTORY),
        Err(errno) => Err(refused("cannot make the directory")(errno)),
    }
}

/// A directory that was just made is empty. A user who may rename entries of the one above it may
/// have put one of root's in its place, which must not be opened to others.
fn must_be_empty(directory: &OwnedFd) -> Result<(), Refused> {
    let entries =
        read_dir(proc_path(directory)).map_err(refused_io("cannot list the directory"))?;
    match entries.count() {
        0 => Ok(()),
        _ => Err(refused("the container replaced the directory")(
            Errno::EEXIST,
        )),
    }
}

/// Opens an entry that was just made. Fails if a link or a mount is there by now.
fn open_made(directory: &OwnedFd, name: &str, flags: OFlag) -> Result<OwnedFd, Refused> {
    let how = OpenHow::new()
        .flags(PATH_ONLY | OFlag::O_NOFOLLOW | flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    openat2(directory, name, how).map_err(refused("the container replaced it while it was made"))
}

/// Sets mode and owner. fchmod(2) fails on a descriptor that was opened with O_PATH, so the mode is
/// set through its name in /proc (open(2), O_PATH).
fn set_mode_and_owner(entry: &OwnedFd, mode: Mode, (uid, gid): (u32, u32)) -> Result<(), Refused> {
    set_permissions(proc_path(entry), Permissions::from_mode(mode.0))
        .map_err(refused_io("cannot set its mode"))?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fchownat(entry, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
        .map_err(refused("cannot set its owner"))
}

fn refused(step: &'static str) -> impl FnOnce(Errno) -> Refused {
    move |errno| Refused { step, errno }
}

fn refused_io(step: &'static str) -> impl FnOnce(io::Error) -> Refused {
    move |error| Refused {
        step,
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// A name that is used once. It has the process id in it, so what an earlier daemon has left is not
/// in the way.
fn temporary_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{TEMPORARY_PREFIX}{}.{number}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_something_in_it_was_not_just_made() {
        let directory = tempfile::tempdir().unwrap();
        let above = OwnedFd::from(std::fs::File::open(directory.path()).unwrap());
        must_be_empty(&above).unwrap();
        let made = make_directory(&above, "new", (0, 0));
        assert_eq!(made.is_ok(), nix::unistd::geteuid().is_root());
        must_be_empty(&above).unwrap_err();
    }
}
