//! Carries out a plan from outside the container, through descriptors of its directories: nothing
//! is needed in its image, and it may be paused.
//!
//! A directory that was resolved below the container's root and found to be one to write in stays
//! the same however the container renames or links things meanwhile; all that follows are plain
//! names in it.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode as StatMode, SFlag, fstat, makedev, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, setfsgid, setfsuid, symlinkat, unlinkat};

use crate::container::bind_mount::{Bound, bind, unbind};
use crate::container::rootfs::{Entered, PATH_ONLY, Place, RootError, proc_path};
use crate::model::{DevNum, Mode, NodePath, TEMPORARY_PREFIX};
use crate::plan::{Found, Made, Op};

/// An operation that could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {errno}")]
pub struct Refused {
    what: &'static str,
    errno: Errno,
}

#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0} has come in the way")]
    InTheWay(Found),
}

impl InjectError {
    /// What the operator can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Root(RootError::Other(_)) => "wait for the next try",
            Self::Root(RootError::Forbidden(_)) => "take that mount out of its definition",
            Self::InTheWay(_) => "look at what the container does in its /dev",
            Self::Refused(refused) => match refused.errno {
                Errno::ENOSPC => {
                    "remove what fills the container's /dev, or give it a larger tmpfs"
                }
                Errno::EROFS => "mount a writable tmpfs there, or none",
                Errno::EPERM | Errno::EACCES => {
                    "run ttyplugd as root with the capabilities of its unit file"
                }
                _ => "look at what the container does in its /dev",
            },
        }
    }
}

/// Carries out `ops` in their order. What follows a failed one of the same port is skipped.
///
/// # Errors
/// The first failure.
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

/// The container's root, as whom things are made in it: on a file system that was mounted in a user
/// namespace nobody can make anything who is nobody there (kernel, fs/namei.c, may_create).
/// Where users are not remapped that is root itself. It concerns this thread alone (setfsuid(2)).
struct ActingAs;

impl ActingAs {
    fn new((uid, gid): (u32, u32)) -> Self {
        // The group first: after the user it may not be allowed any more.
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
            Op::Sweep { path } => {
                let (directory, name) = path.rsplit_once('/').unwrap_or_default();
                let place = self.directory(directory)?;
                // What stands in for a directory that is gone is another one.
                match place.exists() {
                    true => place.remove(name),
                    false => Ok(()),
                }
            }
            Op::RemoveLink { path, target } => self.remove(path, &Made::Link(target.clone())),
            Op::RemoveNode {
                path,
                devnum,
                bound: false,
            } => self.remove(path, &Made::Node(*devnum)),
            Op::RemoveNode {
                path,
                devnum,
                bound: true,
            } => {
                let place = self.directory(path.directory())?;
                self.unbind(&place, path.name(), *devnum)
            }
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
                let place = self.enter(path.directory())?;
                if *bind {
                    let (uid, gid) = (*uid, *gid);
                    let bound = self.bound(*devnum, *mode, uid, gid)?;
                    return self.bind(&place, path.name(), replaces, bound);
                }
                place.put(path.name(), replaces, |name| {
                    place.make_node(name, *devnum, *mode, *uid, *gid)
                })
            }
            Op::MakeLink {
                path,
                target,
                replaces,
            } => {
                let place = self.enter(path.directory())?;
                place.put(path.name(), replaces, |name| {
                    symlinkat(target.as_str(), &place.fd, name)
                        .map_err(refused("the link cannot be made"))
                })
            }
        }
    }

    fn remove(&self, path: &NodePath, made: &Made) -> Result<(), InjectError> {
        let place = self.directory(path.directory())?;
        if place.exists() && made.is(&place.look(path.name()).map_err(RootError::from)?) {
            place.remove(path.name())?;
        }
        Ok(())
    }

    /// The node's owner in the host's numbers.
    fn on_host(&self, uid: u32, gid: u32) -> Result<(u32, u32), Refused> {
        let users = self.rootfs.users.on_host(uid, gid);
        users.ok_or_else(|| refused("its owner is nobody on the host")(Errno::EOVERFLOW))
    }

    fn bound(&self, devnum: DevNum, mode: Mode, uid: u32, gid: u32) -> Result<Bound, Refused> {
        let (uid, gid) = self.on_host(uid, gid)?;
        Ok(Bound {
            devnum,
            mode,
            uid,
            gid,
        })
    }

    /// A mount needs something to be mounted over: an empty file that nobody may open, which is
    /// seen for the moment between the two.
    fn bind(
        &self,
        place: &Place,
        name: &str,
        replaces: &Found,
        bound: Bound,
    ) -> Result<(), InjectError> {
        if let Found::Mount(Some(devnum)) = replaces {
            self.unbind(place, name, *devnum)?;
        }
        place.put(name, replaces, |name| {
            mknodat(&place.fd, name, SFlag::S_IFREG, StatMode::empty(), 0)
                .map_err(refused("the file to bind to cannot be made"))
        })?;
        let (mounts, directory) = self.target(place)?;
        let done = bind(mounts, directory, name.to_owned(), bound);
        if done.is_err() {
            let _ = place.remove(name);
        }
        Ok(done.map_err(because("the node cannot be bound"))?)
    }

    fn unbind(&self, place: &Place, name: &str, devnum: DevNum) -> Result<(), InjectError> {
        if !place.exists() {
            return Ok(());
        }
        let found = place.look(name).map_err(RootError::from)?;
        let bound = Made::Bound(devnum);
        if bound.is(&found) {
            let (mounts, directory) = self.target(place)?;
            unbind(mounts, directory, name.to_owned())
                .map_err(because("the node cannot be unmounted"))?;
        }
        if bound.left(&found) {
            place.remove(name)?;
        }
        Ok(())
    }

    fn target(&self, place: &Place) -> Result<(OwnedFd, OwnedFd), InjectError> {
        let mounts = self.rootfs.namespace("mnt").map_err(RootError::from)?;
        let directory = place
            .fd
            .try_clone()
            .map_err(because("it cannot be reached"))?;
        Ok((mounts, directory))
    }

    /// The directory; what is missing of it is made.
    fn enter(&self, directory: &str) -> Result<Place, InjectError> {
        let place = self.directory(directory)?;
        if place.exists() {
            return Ok(place);
        }
        let mut fd = place.fd;
        for name in place.missing.split('/').filter(|name| !name.is_empty()) {
            fd = make_directory(&fd, name, self.on_host(0, 0)?)?;
        }
        // Looked at anew: somebody else may have made it, and of another kind.
        let place = self.directory(directory)?;
        match place.exists() {
            true => Ok(place),
            false => Err(refused("the directory cannot be made")(Errno::ENOENT).into()),
        }
    }
}

impl Place {
    /// Makes something under a temporary name and renames it into place, so that it appears whole.
    fn put(
        &self,
        name: &str,
        replaces: &Found,
        make: impl FnOnce(&str) -> Result<(), Refused>,
    ) -> Result<(), InjectError> {
        let temporary = temporary_name();
        let put = make(&temporary).map_err(InjectError::from).and_then(|()| {
            // What has changed its kind since the plan was made is left alone.
            let found = self.look(name).map_err(RootError::from)?;
            let replaceable = matches!(
                found,
                Found::Nothing | Found::Node { .. } | Found::EmptyFile
            );
            if !replaceable && found != *replaces {
                return Err(InjectError::InTheWay(found));
            }
            renameat(&self.fd, temporary.as_str(), &self.fd, name)
                .map_err(refused("it cannot be put in its place"))?;
            Ok(())
        });
        if put.is_err() {
            // What is left all the same is swept at the next try.
            let _ = self.remove(&temporary);
        }
        put
    }

    /// A name that a container has swapped for another thing meanwhile is not followed: from the
    /// first look on everything is done to the node itself.
    fn make_node(
        &self,
        name: &str,
        devnum: DevNum,
        mode: Mode,
        uid: u32,
        gid: u32,
    ) -> Result<(), Refused> {
        let device = makedev(devnum.major.into(), devnum.minor.into());
        let private = StatMode::S_IRUSR | StatMode::S_IWUSR;
        mknodat(&self.fd, name, SFlag::S_IFCHR, private, device)
            .map_err(refused("the node cannot be made"))?;
        let node = open_own(&self.fd, name, OFlag::empty())?;
        let stat = fstat(&node).map_err(refused("the node cannot be looked at"))?;
        if stat.st_rdev != device
            || SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFCHR
        {
            return Err(refused("the node was replaced")(Errno::EEXIST));
        }
        give(&node, mode, uid, gid)
    }

    fn remove(&self, name: &str) -> Result<(), InjectError> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(refused("it cannot be removed")(errno).into()),
        }
    }
}

fn make_directory(above: &OwnedFd, name: &str, owner: (u32, u32)) -> Result<OwnedFd, Refused> {
    match mkdirat(above, name, StatMode::S_IRWXU) {
        Ok(()) => {
            let made = open_own(above, name, OFlag::O_DIRECTORY)?;
            give(&made, Mode(0o755), owner.0, owner.1)?;
            Ok(made)
        }
        Err(Errno::EEXIST) => open_own(above, name, OFlag::O_DIRECTORY),
        Err(errno) => Err(refused("the directory cannot be made")(errno)),
    }
}

/// Opens a name in a directory, and no link and no mount that has come in its place.
fn open_own(directory: &OwnedFd, name: &str, flags: OFlag) -> Result<OwnedFd, Refused> {
    let how = OpenHow::new()
        .flags(PATH_ONLY | OFlag::O_NOFOLLOW | flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    openat2(directory, name, how).map_err(refused("it was replaced while it was made"))
}

/// Mode and owner, whatever the umask. A descriptor that was opened with O_PATH can be changed
/// through its name in /proc alone (open(2), O_PATH).
fn give(entry: &OwnedFd, mode: Mode, uid: u32, gid: u32) -> Result<(), Refused> {
    set_permissions(proc_path(entry), Permissions::from_mode(mode.0))
        .map_err(because("its mode cannot be set"))?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fchownat(entry, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
        .map_err(refused("its owner cannot be set"))
}

fn refused(what: &'static str) -> impl FnOnce(Errno) -> Refused {
    move |errno| Refused { what, errno }
}

fn because(what: &'static str) -> impl FnOnce(io::Error) -> Refused {
    move |error| Refused {
        what,
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// New for everything that is made by this process; what another has left is no obstacle, since
/// its number is part of the name.
fn temporary_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{TEMPORARY_PREFIX}{}.{number}", std::process::id())
}
