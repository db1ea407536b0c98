//! Sends uevents about a container's ports to the applications in it, as udevd does on the host.
//!
//! They are sent in the container's network namespace, which udevd's own messages do not reach
//! (udev(7), netlink(7)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket,
};

use crate::container::rootfs::Rootfs;
use crate::container::uevent::{Action, Announcement};

/// The multicast group of udevd's messages; the kernel's is 1 (systemd,
/// src/libsystemd/sd-device/device-monitor-private.h).
const UDEV: u32 = 2;

/// Sends one uevent per announcement in a container's network namespace. It sends nothing in the
/// host's, where udevd has sent its own.
///
/// The calling thread enters that namespace, and must be one that announces alone: it may fail to return.
///
/// # Errors
/// The container has ended, or CAP_SYS_ADMIN or CAP_NET_ADMIN is missing.
pub fn announce(
    rootfs: &Rootfs,
    action: Action,
    announcements: &[Announcement],
) -> anyhow::Result<()> {
    static SEQUENCE: AtomicU64 = AtomicU64::new(1);
    let network = File::from(rootfs.namespace("net")?);
    // The daemon runs in the host's namespace, since udevd's messages reach no other. Two
    // descriptors of one namespace have the same device and inode number (namespaces(7)).
    let host = File::open("/proc/self/ns/net")?;
    let (of_host, own) = (host.metadata()?, network.metadata()?);
    if (of_host.dev(), of_host.ino()) == (own.dev(), own.ino()) {
        return Ok(());
    }
    let message = |announcement: &Announcement| {
        announcement.message(action, SEQUENCE.fetch_add(1, Ordering::Relaxed))
    };
    let messages: Vec<_> = announcements.iter().map(message).collect();
    // setns(2) changes the network namespace of the calling thread alone.
    setns(&network, CloneFlags::CLONE_NEWNET).context("cannot enter the container's network")?;
    let sent = send(&messages);
    // A namespace that a thread is in outlives its container, with its addresses.
    setns(&host, CloneFlags::CLONE_NEWNET).context("cannot leave the container's network")?;
    sent.context("cannot send uevents in the container")
}

fn send(messages: &[Vec<u8>]) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    let all_listeners = NetlinkAddr::new(0, 1 << (UDEV - 1));
    for message in messages {
        match sendto(
            socket.as_raw_fd(),
            message,
            &all_listeners,
            MsgFlags::empty(),
        ) {
            // No application listens.
            Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::ESRCH) => {}
            sent => drop(sent?),
        }
    }
    Ok(())
}
