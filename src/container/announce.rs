//! Tells the applications in a container of its ports as udevd tells those on the host: in the
//! container's network namespace, where udevd's own messages are not heard (udev(7), netlink(7)).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket,
};

use crate::container::rootfs::Rootfs;
use crate::container::uevent::{Action, Announcement};

/// The multicast group of udevd's messages; 1 is the kernel's (systemd,
/// src/libsystemd/sd-device/device-monitor-private.h).
const UDEV: u32 = 2;

/// Sends a message in a container's network namespace, unless that is the host's, where udevd has
/// sent its own.
///
/// # Errors
/// The container is gone, or CAP_SYS_ADMIN or CAP_NET_ADMIN is missing.
pub fn announce(
    rootfs: &Rootfs,
    action: Action,
    announcements: &[Announcement],
) -> anyhow::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let network = File::from(rootfs.namespace("net")?);
    // Ours is the host's: udevd's messages are heard in no other. Two names of one namespace are one
    // file (namespaces(7)).
    let host = std::fs::metadata("/proc/self/ns/net")?;
    let own = network.metadata()?;
    if (host.dev(), host.ino()) == (own.dev(), own.ino()) {
        return Ok(());
    }
    let number = |_: &Announcement| NUMBER.fetch_add(1, Ordering::Relaxed);
    let messages = announcements.iter().map(|a| a.message(action, number(a)));
    let messages: Vec<_> = messages.collect();
    // A thread has a network namespace of its own, and ends with it (setns(2)).
    let sender = thread::Builder::new().name("ttyplugd-announce".into());
    let sender = sender.spawn(move || send(&network, &messages))?;
    let sent = sender.join();
    sent.unwrap_or_else(|_| Err(io::Error::other("the thread that announces has panicked")))
        .context("the applications in the container cannot be told of the port")
}

fn send(network: &File, messages: &[Vec<u8>]) -> io::Result<()> {
    setns(network, CloneFlags::CLONE_NEWNET)?;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    let everybody = NetlinkAddr::new(0, 1 << (UDEV - 1));
    for message in messages {
        match sendto(socket.as_raw_fd(), message, &everybody, MsgFlags::empty()) {
            // Nobody listens.
            Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::ESRCH) => {}
            sent => drop(sent?),
        }
    }
    Ok(())
}
