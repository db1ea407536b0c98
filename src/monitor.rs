//! The host's ttys: the only room that uses the crate `udev`.
//!
//! The types of that crate are not Send and keep a reference into libudev, so every device becomes a
//! [`device::Device`](crate::model::device::Device) before it leaves this room.
//!
//! Imports: `model`, `sys`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::AsyncFd;

use crate::model::device::{Device, printable};
use crate::model::inventory::DeviceEvent;
use crate::sys::async_fd::readable;

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

/// A subscription to udevd's events of ttys, which it sends after its rules have run.
pub struct Monitor {
    socket: AsyncFd<udev::MonitorSocket>,
    /// The kernel's count of messages that did not fit into the socket's buffer, when last read.
    drops: u32,
    /// There was no udevd at the time of the subscription, so no event will ever arrive.
    inactive: bool,
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

/// How many events are read at a time.
const MOST_AT_ONCE: usize = 4096;

impl Monitor {
    /// Subscribes. To be called before [`enumerate`]: then no event is missed in between.
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
        let drops = drops(&socket)?;
        Ok(Self {
            socket,
            drops,
            inactive,
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

    /// Waits for events and returns all that have arrived.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn next(&mut self) -> anyhow::Result<Received> {
        let mut ready = self.socket.readable().await?;
        let monitor = ready.get_inner();
        let mut events = Vec::new();
        loop {
            let room = MOST_AT_ONCE.saturating_sub(events.len());
            events.extend(
                monitor
                    .iter()
                    .take(room)
                    .filter_map(|event| convert_event(&event)),
            );
            if events.len() >= MOST_AT_ONCE {
                break;
            }
            // The iterator ends at every error, ENOBUFS among them, with messages still queued
            // (udev 0.9, src/monitor.rs, SocketIter::next).
            let mut socket = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut socket, PollTimeout::ZERO) {
                Ok(0) => {
                    ready.clear_ready();
                    break;
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let lost = self.has_lost()?;
        Ok(Received { events, lost })
    }

    /// Whether messages were lost since the last call.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn has_lost(&mut self) -> anyhow::Result<bool> {
        let before = std::mem::replace(&mut self.drops, drops(&self.socket)?);
        Ok(before != self.drops)
    }
}

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

fn convert_event(event: &udev::Event) -> Option<DeviceEvent> {
    if event.event_type() == udev::EventType::Remove {
        let sysname = printable(event.sysname().as_bytes());
        return Some(DeviceEvent::Gone(sysname));
    }
    convert(event).map(DeviceEvent::Present)
}

/// The ttys for which udev's rules have run. A tty that udev has not seen yet follows as an event.
///
/// # Errors
/// sysfs cannot be read.
pub fn enumerate() -> anyhow::Result<Vec<Device>> {
    let scan = || -> io::Result<Vec<Device>> {
        let mut enumerator = udev::Enumerator::new()?;
        enumerator.match_subsystem("tty")?;
        enumerator.match_is_initialized()?;
        let devices = enumerator.scan_devices()?;
        Ok(devices.filter_map(|device| convert(&device)).collect())
    };
    scan().context("cannot enumerate devices in sysfs")
}

fn convert(device: &udev::Device) -> Option<Device> {
    let properties: Vec<_> = device.properties().collect();
    let pairs = properties
        .iter()
        .map(|property| (property.name().as_bytes(), property.value().as_bytes()));
    let group = device
        .devnode()
        .and_then(|node| std::fs::metadata(node).ok());
    let gid = group.map_or(0, |node| node.gid());
    Device::from_properties(pairs, driver(device), gid)
}

/// The driver of the nearest parent that has one; a tty itself has none. Parents on the serial-base
/// bus do not count: since Linux 6.5 they are between a UART and its ttyS
/// (kernel, drivers/tty/serial/serial_base_bus.c).
fn driver(device: &udev::Device) -> Option<String> {
    let mut device = device.parent();
    while let Some(parent) = device {
        let between = parent.subsystem().is_some_and(|bus| bus == "serial-base");
        if let (false, Some(driver)) = (between, parent.driver()) {
            return Some(printable(driver.as_bytes()));
        }
        device = parent.parent();
    }
    None
}
