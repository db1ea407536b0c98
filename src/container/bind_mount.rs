//! Nodes for containers whose users are other users on the host: bound, not made.
//!
//! A tmpfs that was mounted by such a container lets nobody open a device on it (mount(2),
//! MS_NODEV is implied: kernel, fs/super.c, SB_I_NODEV). A node on a tmpfs of the host's can be
//! opened, and stays so when it is bound into the container's tree of mounts.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode as StatMode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, fchdir, setfsgid, setfsuid};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::model::{DevNum, Mode};

/// Where the host's tmpfs is for a moment, in a tree of mounts that nobody else sees.
const STAGE: &str = "/run";

/// A node as the container is to see it, with its owner in the host's numbers.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    pub devnum: DevNum,
    pub mode: Mode,
    pub uid: u32,
    pub gid: u32,
}

/// Binds a node over the file `name` in `directory`, which is in the mount namespace `mounts`.
///
/// # Errors
/// What the kernel says; CAP_SYS_ADMIN and CAP_SYS_CHROOT are needed (setns(2)).
pub fn bind(mounts: OwnedFd, directory: OwnedFd, name: String, bound: Bound) -> io::Result<()> {
    in_a_thread(move || {
        let node = detached(bound)?;
        setns(mounts, CloneFlags::CLONE_NEWNS)?;
        // The name is not followed if it is a link, without MOVE_MOUNT_T_SYMLINKS (move_mount(2)).
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(move_mount(&node, "", &directory, name, flags)?)
    })
}

/// Takes away what is mounted over `name`.
///
/// # Errors
/// What the kernel says.
pub fn unbind(mounts: OwnedFd, directory: OwnedFd, name: String) -> io::Result<()> {
    in_a_thread(move || {
        setns(mounts, CloneFlags::CLONE_NEWNS)?;
        fchdir(directory)?;
        // Who has it open may go on (umount2(2), MNT_DETACH).
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        Ok(umount2(name.as_str(), flags)?)
    })
}

/// A thread of its own can change its mount namespace, root and working directory once it does not
/// share them (setns(2), unshare(2), CLONE_FS), and ends with all that.
fn in_a_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("ttyplugd-bind".into());
    let thread = thread.spawn(|| {
        unshare(CloneFlags::CLONE_FS)?;
        // Who starts the thread may be acting as somebody else (setfsuid(2)).
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        work()
    })?;
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// A node on a new tmpfs that is mounted nowhere any more.
fn detached(bound: Bound) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("ttyplugd"),
        STAGE,
        Some("tmpfs"),
        flags,
        Some("size=64k,mode=0755"),
    )?;
    let path = Path::new(STAGE).join("node");
    let device = makedev(bound.devnum.major.into(), bound.devnum.minor.into());
    mknod(
        &path,
        SFlag::S_IFCHR,
        StatMode::S_IRUSR | StatMode::S_IWUSR,
        device,
    )?;
    set_permissions(&path, Permissions::from_mode(bound.mode.0))?;
    chown(&path, Some(bound.uid), Some(bound.gid))?;
    // A copy of one mount that is attached nowhere.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, &path, flags)?)
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "an error of ours")]
    fn a_panic_in_the_thread_is_one_of_its_caller() {
        let _ = super::in_a_thread(|| panic!("an error of ours"));
    }
}
