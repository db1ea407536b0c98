//! Bind-mounts nodes into containers whose users are remapped.
//!
//! The kernel refuses to open any device on a tmpfs that was mounted in a user namespace (kernel,
//! fs/super.c, SB_I_NODEV). A node on a tmpfs of the host can be opened, also after it was
//! bind-mounted into the container.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode as StatMode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, fchdir, setfsgid, setfsuid};

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
        move_mount(&node, &directory, &name)
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
    open_tree(c"/run/node")
}

/// Copies one mount; the copy is attached nowhere (open_tree(2), OPEN_TREE_CLONE).
fn open_tree(path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string that outlives the call, which touches no other memory.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a mount at `name` in a directory (move_mount(2)). It does not follow a link there, since
/// MOVE_MOUNT_T_SYMLINKS is not set.
fn move_mount(tree: &impl AsFd, directory: &impl AsFd, name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: both names are C strings that outlive the call, and both descriptors are open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            directory.as_fd().as_raw_fd(),
            name.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "an error of ours")]
    fn a_panic_in_the_thread_reaches_the_caller() {
        let _ = super::in_a_thread(|| panic!("an error of ours"));
    }
}
