//! What a tty is: by sysfs and udev's database, and by nothing else.
//!
//! When udevd announces a device, its entry in the database is written; when it announces the
//! removal, the entry is deleted (systemd, src/udev/udev-event.c, `udev_event_execute_rules`), and
//! the kernel had removed the links in /sys/class and /sys/dev before it told udevd
//! (drivers/base/core.c, `device_del`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::stat::{major, minor};

use crate::model::device::{Device, printable};
use crate::model::{DevNum, Mode};

/// A link for each tty, under its kernel name.
const CLASS: &str = "/sys/class/tty";

/// How the target of such a link begins, and that of a link in /sys/dev/char: it is relative (kernel,
/// fs/kernfs/symlink.c, `kernfs_get_target_path`).
const UP_TO_SYS: &str = "../..";

/// The ttys as they were last described.
#[derive(Debug, Default)]
pub(super) struct Ttys {
    described: BTreeMap<DevNum, Description>,
}

/// Which device was described, and by which entry of udev's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Description {
    /// The inode number of its directory in sysfs. A device that comes later has another one
    /// (kernel, fs/kernfs/dir.c, `idr_alloc_cyclic`).
    directory: u64,
    /// Inode number and time of the entry, which is replaced by rename(2) for each event (systemd,
    /// src/libsystemd/sd-device/device-private.c, `device_update_db`).
    entry: Option<(u64, i64, i64)>,
}

impl Description {
    fn read(syspath: &Path, devnum: DevNum) -> io::Result<Self> {
        let entry = format!("/run/udev/data/c{devnum}");
        let entry = fs::metadata(entry).ok();
        Ok(Self {
            directory: fs::metadata(syspath)?.ino(),
            entry: entry.map(|entry| (entry.ino(), entry.mtime(), entry.mtime_nsec())),
        })
    }

    /// Whether the entry is that of another device, which had the same number before: udevd has not
    /// handled its removal yet.
    fn is_of_former(&self, former: &Self) -> bool {
        self.directory != former.directory && self.entry.is_some() && self.entry == former.entry
    }
}

impl Ttys {
    /// All ttys for which udev's rules have run. One that udevd has not handled yet follows as an
    /// event.
    ///
    /// # Errors
    /// Something is in short supply, such as descriptors.
    pub(super) fn all(&mut self) -> anyhow::Result<Vec<Device>> {
        let mut scan = || -> io::Result<Vec<Device>> {
            let mut devices = Vec::new();
            for entry in fs::read_dir(CLASS)? {
                devices.extend(self.look(&entry?.file_name())?);
            }
            Ok(devices)
        };
        scan().with_context(|| format!("cannot read the devices in {CLASS}"))
    }

    /// The tty of this name; `None` if there is none, or if udevd has not handled it yet.
    ///
    /// # Errors
    /// Something is in short supply, such as descriptors.
    pub(super) fn look(&mut self, sysname: &OsStr) -> io::Result<Option<Device>> {
        match self.describe(sysname) {
            Err(error) if !is_shortage(&error) => Ok(None),
            device => device,
        }
    }

    fn describe(&mut self, sysname: &OsStr) -> io::Result<Option<Device>> {
        let Some((tty, devnum)) = find(sysname)? else {
            return Ok(None);
        };
        // Before the entry is read: if it is replaced meanwhile, an event follows.
        let description = Description::read(tty.syspath(), devnum)?;
        let former = self.described.get(&devnum);
        let is_of_former = former.is_some_and(|former| description.is_of_former(former));
        if is_of_former || !is_initialized(&tty)? {
            return Ok(None);
        }
        self.described.insert(devnum, description);
        Ok(convert(&tty, devnum))
    }
}

/// The device of this name in sysfs, if the kernel has it as a tty by class and by number.
fn find(sysname: &OsStr) -> io::Result<Option<(udev::Device, DevNum)>> {
    let target = fs::read_link(Path::new(CLASS).join(sysname))?;
    let Ok(below_sys) = target.strip_prefix(UP_TO_SYS) else {
        return Ok(None);
    };
    let tty = udev::Device::from_syspath(&Path::new("/sys").join(below_sys))?;
    let Some(devnum) = devnum(&tty) else {
        return Ok(None);
    };
    let is_it = target.file_name() == Some(sysname)
        && tty.subsystem() == Some(OsStr::new("tty"))
        && fs::read_link(format!("/sys/dev/char/{devnum}"))? == target;
    Ok(is_it.then_some((tty, devnum)))
}

/// Whether an error says nothing of the device, but that it could not be looked at.
fn is_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
}

/// Whether udevd has handled it. libudev has no other way to say why it does not know than errno
/// (systemd, src/libudev/libudev-device.c, `udev_device_get_is_initialized`).
fn is_initialized(tty: &udev::Device) -> io::Result<bool> {
    Errno::clear();
    let initialized = tty.is_initialized();
    let error = io::Error::last_os_error();
    match initialized {
        false if is_shortage(&error) => Err(error),
        _ => Ok(initialized),
    }
}

fn devnum(tty: &udev::Device) -> Option<DevNum> {
    let number = tty.devnum()?;
    Some(DevNum {
        major: major(number).try_into().ok()?,
        minor: minor(number).try_into().ok()?,
    })
}

/// Path, name and number are those of sysfs, whatever the database has under these keys.
fn convert(tty: &udev::Device, devnum: DevNum) -> Option<Device> {
    let node = tty.devnode()?;
    let (major, minor) = (devnum.major.to_string(), devnum.minor.to_string());
    let of_sysfs = [
        ("DEVPATH", tty.devpath().as_bytes()),
        ("DEVNAME", node.as_os_str().as_bytes()),
        ("MAJOR", major.as_bytes()),
        ("MINOR", minor.as_bytes()),
    ];
    let properties: Vec<_> = tty.properties().collect();
    let pairs = properties
        .iter()
        .map(|property| (property.name().as_bytes(), property.value().as_bytes()));
    let pairs = pairs.chain(of_sysfs.map(|(key, value)| (key.as_bytes(), value)));
    let node = fs::metadata(node).ok();
    let gid = node.as_ref().map_or(0, MetadataExt::gid);
    let device = Device::from_properties(pairs, driver(tty), gid)?;
    let mode = node.map_or(device.mode, |node| Mode(node.mode() & 0o777));
    Some(Device { mode, ..device })
}

/// The driver of the nearest parent that has one; a tty itself has none, and a link to its parent
/// (kernel, drivers/base/core.c, `device_add_class_symlinks`). Parents on the serial-base bus do not
/// count: since Linux 6.5 they are between a UART and its ttyS
/// (kernel, drivers/tty/serial/serial_base_bus.c).
fn driver(tty: &udev::Device) -> Option<String> {
    // libudev looks for its parent in one directory after the other.
    let parent = tty.syspath().join("device");
    let mut device = udev::Device::from_syspath(&parent).ok();
    while let Some(parent) = device {
        let between = parent.subsystem().is_some_and(|bus| bus == "serial-base");
        if let (false, Some(driver)) = (between, parent.driver()) {
            return Some(printable(driver.as_bytes()));
        }
        device = parent.parent();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_not_described_by_the_entry_of_the_one_before() {
        let of = |directory, entry| Description { directory, entry };
        let first = of(1, Some((7, 100, 0)));
        assert!(!first.is_of_former(&first));
        // udevd has handled another event of the same device.
        assert!(!of(1, Some((8, 100, 5))).is_of_former(&first));
        // Another device, before udevd has handled the removal, after that, and after the plug.
        assert!(of(2, Some((7, 100, 0))).is_of_former(&first));
        assert!(!of(2, None).is_of_former(&first));
        assert!(!of(2, Some((9, 101, 0))).is_of_former(&first));
        // Inode numbers of a tmpfs may be used again, and times may be the same.
        assert!(!of(2, Some((7, 101, 0))).is_of_former(&first));
        assert!(!of(2, Some((8, 100, 0))).is_of_former(&first));
    }

    #[test]
    fn what_is_no_tty_is_none() {
        let mut ttys = Ttys::default();
        let long = "t".repeat(300);
        for name in ["null", "..", "ttyplugd", "tty0/../tty0", "a\0b", &long] {
            assert_eq!(ttys.look(OsStr::new(name)).ok(), Some(None), "{name}");
        }
    }
}
