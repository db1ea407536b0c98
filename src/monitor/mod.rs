//! The host's ttys: the only room that uses the crate `udev`.
//!
//! The types of that crate are not Send and keep a reference into libudev, so every device becomes
//! a [`device::Device`](crate::model::device::Device) before it leaves this room.
//!
//! Any process with CAP_NET_ADMIN in the network namespace, such as one of a container on the
//! host's network, can send what looks like a message of udevd's: libudev only checks that the
//! sender is user 0 (systemd, src/libsystemd/sd-device/device-monitor.c, `device_monitor_receive`).
//! So a message only says which device to look at. One of the kernel's own only says that a device has
//! gone, of which udevd will say so later.
//!
//! Imports: `model`, `sys`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt::RcvBufForce};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use self::kernel::Kernel;
use self::message::sysname;
use self::pauses::Pauses;
use self::socket::{BUFFER, receive_all};
use self::ttys::Ttys;
use crate::model::device::{Device, printable};
use crate::model::inventory::DeviceEvent;
use crate::sys::async_fd::readable;

mod kernel;
pub mod message;
mod pauses;
mod socket;
mod ttys;

/// The members of SO_MEMINFO's array, and the one that counts messages that did not fit into the
/// buffer (linux/sock_diag.h, `SK_MEMINFO_VARS` and `SK_MEMINFO_DROPS`).
const MEMINFO_VARS: usize = 9;
const MEMINFO_DROPS: usize = 8;

/// udevd's control socket. Without it, libudev silently subscribes to nothing
/// (systemd, src/libsystemd/sd-device/device-monitor.c, `device_monitor_new_full`).
const UDEV_CONTROL: &str = "/run/udev/control";

/// Whether udevd has been started. The socket outlives udevd, so it may have ended since.
pub fn udevd_was_started() -> bool {
    Path::new(UDEV_CONTROL).exists()
}

/// The ttys for which udev's rules have run.
///
/// # Errors
/// sysfs cannot be read.
pub fn enumerate() -> anyhow::Result<Vec<Device>> {
    Ttys::default().all()
}

/// A subscription to udevd's messages about ttys, which it sends after its rules have run, and to the
/// kernel's.
pub struct Monitor {
    socket: AsyncFd<udev::MonitorSocket>,
    kernel: Kernel,
    ttys: Ttys,
    /// The kernel's count of messages that did not fit into the socket's buffer, when last read.
    drops: u32,
    /// There was no udevd at the time of the subscription, so no event will ever arrive.
    inactive: bool,
    pauses: Pauses,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("drops", &self.drops)
            .field("inactive", &self.inactive)
            .finish_non_exhaustive()
    }
}

/// The events that had arrived at one time.
#[derive(Debug, Default)]
pub struct Received {
    pub events: Vec<DeviceEvent>,
    /// Messages were lost; only an enumeration tells what is there now.
    pub lost: bool,
}

/// How much of a message is read, in bytes: many times what udevd says of a tty.
const LONGEST: usize = 32 << 10;

impl Monitor {
    /// Subscribes. To be called before [`Monitor::enumerate`]: then no event is missed in between.
    ///
    /// # Errors
    /// The netlink socket cannot be made.
    pub fn subscribe() -> anyhow::Result<Self> {
        let inactive = !udevd_was_started();
        let subscribe = || -> io::Result<_> {
            let socket = udev::MonitorBuilder::new()?
                .match_subsystem("tty")?
                .listen()?;
            readable(socket)
        };
        let socket = subscribe().context("cannot subscribe to udev events")?;
        let kernel = Kernel::subscribe().context("cannot subscribe to the kernel's events")?;
        // Without CAP_NET_ADMIN, libudev's own request was not granted either.
        let _ = setsockopt(&socket, RcvBufForce, &BUFFER);
        Ok(Self {
            drops: drops(&socket)?,
            socket,
            kernel,
            ttys: Ttys::default(),
            inactive,
            pauses: Pauses::default(),
        })
    }

    /// There was no udevd at the time of the subscription.
    pub fn is_inactive(&self) -> bool {
        self.inactive
    }

    /// There was no udevd then, and there is one now: time to subscribe again.
    pub fn could_be_active(&self) -> bool {
        self.inactive && udevd_was_started()
    }

    /// Subscribes again, since there is a udevd now.
    ///
    /// # Errors
    /// The netlink socket cannot be made.
    pub fn renew(&mut self) -> anyhow::Result<()> {
        let new = Self::subscribe()?;
        *self = Self {
            ttys: std::mem::take(&mut self.ttys),
            ..new
        };
        Ok(())
    }

    /// The ttys for which udev's rules have run.
    ///
    /// # Errors
    /// sysfs cannot be read.
    pub fn enumerate(&mut self) -> anyhow::Result<Vec<Device>> {
        self.ttys.all()
    }

    /// Waits for messages, and looks at each device that one of them names.
    ///
    /// # Errors
    /// A device cannot be looked at. An enumeration tells what has changed.
    pub async fn next(&mut self) -> anyhow::Result<Received> {
        self.pauses.pause().await;
        tokio::select! {
            arrived = self.kernel.arrived() => arrived?,
            ready = self.socket.readable() => drop(ready?),
        }
        let begin = Instant::now();
        let received = self.receive();
        match received {
            Ok(_) => self.pauses.after_work(begin, begin.elapsed()),
            Err(_) => self.pauses.after_error(Instant::now()),
        }
        received
    }

    /// Reads the kernel's messages first: udevd has each of them before it sends its own, which is the
    /// newer one.
    fn receive(&mut self) -> anyhow::Result<Received> {
        let removed = self.kernel.read()?;
        let mut received = self.look(read(&self.socket)?)?;
        let leaving = removed.sysnames.into_iter().map(DeviceEvent::Leaving);
        received.events.splice(..0, leaving);
        received.lost |= removed.lost;
        Ok(received)
    }

    fn look(&mut self, sysnames: BTreeSet<OsString>) -> anyhow::Result<Received> {
        let mut events = Vec::new();
        for sysname in sysnames {
            let device = self.ttys.look(&sysname).context("cannot read a device")?;
            let gone = || DeviceEvent::Gone(printable(sysname.as_bytes()));
            events.push(device.map_or_else(gone, DeviceEvent::Present));
        }
        let before = std::mem::replace(&mut self.drops, drops(&self.socket)?);
        let lost = before != self.drops;
        Ok(Received { events, lost })
    }
}

/// Reads what udevd has sent. libudev reads on by itself for as long as messages come that do not pass
/// its filter (systemd, src/libudev/libudev-monitor.c, `udev_monitor_receive_sd_device`).
///
/// Returns the kernel names of the devices.
fn read(socket: &AsyncFd<udev::MonitorSocket>) -> io::Result<BTreeSet<OsString>> {
    let mut sysnames = BTreeSet::new();
    let mut message = [0; LONGEST];
    // Lost messages are counted as well.
    let _ = receive_all(socket, |socket| {
        let length = recv(socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT)?;
        let sysname = sysname(&message[..length]);
        sysnames.extend(sysname.map(|name| OsStr::from_bytes(name).to_owned()));
        Ok(())
    })?;
    Ok(sysnames)
}

#[allow(unsafe_code)]
fn drops(socket: &AsyncFd<udev::MonitorSocket>) -> anyhow::Result<u32> {
    let mut info = [0u32; MEMINFO_VARS];
    let mut length = libc::socklen_t::try_from(size_of_val(&info))?;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to `info`,
    // which has room for as many and holds any bits (socket(7), getsockopt(2)).
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result).context("cannot read the drop counter of udev's socket (SO_MEMINFO)")?;
    Ok(info[MEMINFO_DROPS])
}
