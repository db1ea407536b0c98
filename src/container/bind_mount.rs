//! Bind-mounts nodes into containers whose users are remapped.
//!
//! The kernel refuses to open any device on a tmpfs that was mounted in a user namespace (kernel,
//! fs/super.c, SB_I_NODEV). A node on a tmpfs of the host can be opened, also after it was
//! bind-mounted into the container.

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

/// Where the new tmpfs is mounted for a moment, in a mount namespace that no other thread is in.
const STAGE: &str = "/run";

/// A character device node to make.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    pub devnum: DevNum,
    pub mode: Mode,
    pub uid: u32,
    pub gid: u32,
}

/// Bind-mounts a node over the file `name` in `directory`, which is in the mount namespace `mounts`.
/// The node's owner is in the host's numbers.
///
/// # Errors
/// The kernel's; CAP_SYS_ADMIN and CAP_SYS_CHROOT are needed (setns(2)).
pub fn bind(mounts: OwnedFd, directory: OwnedFd, name: String, node: Node) -> io::Result<()> {
    in_a_thread(move || {
        let node = detached(node)?;
        setns(mounts, CloneFlags::CLONE_NEWNS)?;
        // The name is not followed if it is a link, without MOVE_MOUNT_T_SYMLINKS (move_mount(2)).
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(move_mount(&node, "", &directory, name, flags)?)
    })
}

/// Unmounts `name` in `directory`, which is in the mount namespace `mounts`.
///
/// # Errors
/// The kernel's.
pub fn unmount(mounts: OwnedFd, directory: OwnedFd, name: String) -> io::Result<()> {
    in_a_thread(move || {
        setns(mounts, CloneFlags::CLONE_NEWNS)?;
        fchdir(directory)?;
        // A process that has the node open keeps it (umount2(2), MNT_DETACH).
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        Ok(umount2(name.as_str(), flags)?)
    })
}

/// Runs `work` in a new thread, which may change its mount namespace, root and working directory: it
/// shares them with no other thread (setns(2); unshare(2), CLONE_FS).
fn in_a_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("ttyplugd-bind".into());
    let thread = thread.spawn(|| {
        unshare(CloneFlags::CLONE_FS)?;
        // The thread inherits the caller's file system user, which may be the container's root
        // (setfsuid(2)).
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        work()
    })?;
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Makes a node on a new tmpfs, and returns a mount of that node which is attached nowhere.
fn detached(node: Node) -> io::Result<OwnedFd> {
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
    let device = makedev(node.devnum.major.into(), node.devnum.minor.into());
    mknod(
        &path,
        SFlag::S_IFCHR,
        StatMode::S_IRUSR | StatMode::S_IWUSR,
        device,
    )?;
    set_permissions(&path, Permissions::from_mode(node.mode.0))?;
    chown(&path, Some(node.uid), Some(node.gid))?;
    // A copy of one mount that is attached nowhere.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, &path, flags)?)
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "an error of ours")]
    fn a_panic_in_the_thread_reaches_the_caller() {
        let _ = super::in_a_thread(|| panic!("an error of ours"));
    }
}
