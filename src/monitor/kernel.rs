//! The kernel's own messages, which come as soon as a device has gone. udevd's come when its rules have
//! run, and the programs that they start have ended (udev(7), RUN).
//!
//! Whoever has CAP_NET_ADMIN in the network namespace can send to this group, but not from the kernel's
//! port, 0 (netlink(7); kernel, net/netlink/af_netlink.c, `netlink_autobind`).

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt,
    socket, sockopt::RcvBufForce,
};
use tokio::io::unix::AsyncFd;

use super::message::removed_tty;
use super::socket::{BUFFER, receive_all};
use crate::model::device::printable;
use crate::sys::async_fd::readable;

/// The multicast group of the kernel's messages (lib/kobject_uevent.c, `uevent_net_broadcast_untagged`).
const GROUP: u32 = 1;

/// How much of a message is read, in bytes. The kernel composes it in half of that
/// (include/linux/kobject.h, `UEVENT_BUFFER_SIZE`).
const LONGEST: usize = 4 << 10;

/// A subscription to the kernel's messages.
pub(super) struct Kernel(AsyncFd<OwnedFd>);

/// What the messages that had arrived have said.
#[derive(Debug)]
pub(super) struct Removed {
    /// The kernel names of ttys.
    pub sysnames: BTreeSet<String>,
    /// Messages were lost, or are left.
    pub lost: bool,
}

impl Kernel {
    /// Subscribes.
    ///
    /// # Errors
    /// The netlink socket cannot be made.
    pub(super) fn subscribe() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Without CAP_NET_ADMIN it keeps the kernel's default (socket(7)).
        let _ = setsockopt(&socket, RcvBufForce, &BUFFER);
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        readable(socket).map(Self)
    }

    /// Waits until a message has arrived.
    ///
    /// # Errors
    /// The socket cannot be polled.
    pub(super) async fn arrived(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }

    /// Reads what has arrived.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub(super) fn read(&self) -> io::Result<Removed> {
        let mut sysnames = BTreeSet::new();
        let mut message = [0; LONGEST];
        let lost = receive_all(&self.0, |socket| {
            let (length, sender) = recvfrom::<NetlinkAddr>(socket.as_raw_fd(), &mut message)?;
            let is_kernels = sender.is_some_and(|sender| sender.pid() == 0);
            let sysname = removed_tty(&message[..length]).filter(|_| is_kernels);
            sysnames.extend(sysname.map(printable));
            Ok(())
        })?;
        Ok(Removed { sysnames, lost })
    }
}
