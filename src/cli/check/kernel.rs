//! Facts from /proc and /sys, below a root directory.

use std::fs;
use std::path::Path;

use crate::model::DevNum;

/// The major numbers of character devices and their drivers. Several drivers may share a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Majors(Vec<(u32, String)>);

/// A terminal to which the kernel writes its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Console {
    /// E.g. `ttyAMA0`.
    pub(super) name: String,
    pub(super) devnum: DevNum,
}

/// Vendor and product of USB devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsbId {
    pub(super) vendor: u16,
    pub(super) product: u16,
}

impl std::fmt::Display for UsbId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.product)
    }
}

impl UsbId {
    /// Both numbers are hexadecimal, with or without leading zeros.
    pub(super) fn parse(vendor: &str, product: &str) -> Option<Self> {
        Some(Self {
            vendor: u16::from_str_radix(vendor.trim(), 16).ok()?,
            product: u16::from_str_radix(product.trim(), 16).ok()?,
        })
    }
}

impl Majors {
    pub(super) fn read(root: &Path) -> Self {
        Self::parse(&text(root, "proc/devices"))
    }

    /// `Character devices:`, lines of number and name, an empty line, `Block devices:`, …
    /// (proc(5), /proc/devices).
    fn parse(text: &str) -> Self {
        let characters = text.split("Block devices").next().unwrap_or_default();
        let major = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        };
        Self(characters.lines().filter_map(major).collect())
    }

    /// Whether the name of any driver with this major number fulfils the condition.
    pub(super) fn any(&self, major: u32, condition: impl Fn(&str) -> bool) -> bool {
        let mut drivers = self.0.iter();
        drivers.any(|(number, name)| *number == major && condition(name))
    }

    /// Whether no driver has this major number now. Unknown, and so false, if /proc/devices could
    /// not be read.
    pub(super) fn lack(&self, major: u32) -> bool {
        !self.0.is_empty() && !self.any(major, |_| true)
    }

    /// Whether this is the number of a serial port, plugged in or not.
    pub(super) fn is_serial(&self, devnum: DevNum) -> bool {
        match devnum.major {
            // The first 64 are virtual consoles (Documentation/admin-guide/devices.txt).
            4 => devnum.minor >= 64,
            5 => false,
            // ttyACM, ttyUSB, and UARTs such as ttyAMA, even if no driver is loaded.
            166 | 188 | 204 => true,
            major => self.any(major, |name| name.starts_with("tty")),
        }
    }
}

/// The module of a major number that has a driver only while the module is loaded.
pub(super) fn module(major: u32) -> Option<&'static str> {
    match major {
        166 => Some("cdc_acm"),
        188 => Some("usbserial"),
        _ => None,
    }
}

/// Parses /proc/consoles, e.g. `ttyAMA0   -W- (EC p  )  204:64`
/// (proc(5), /proc/consoles).
pub(super) fn consoles(root: &Path) -> Vec<Console> {
    let text = text(root, "proc/consoles");
    let console = |line: &str| {
        Some(Console {
            name: line.split_whitespace().next()?.to_owned(),
            devnum: line.split_whitespace().next_back()?.parse().ok()?,
        })
    };
    text.lines().filter_map(console).collect()
}

/// The USB devices that are plugged in, with or without a driver
/// (Documentation/ABI/stable/sysfs-bus-usb).
pub(super) fn usb_ids(root: &Path) -> Vec<UsbId> {
    let devices = fs::read_dir(root.join("sys/bus/usb/devices"));
    let id = |entry: fs::DirEntry| {
        let read = |name| fs::read_to_string(entry.path().join(name)).ok();
        UsbId::parse(&read("idVendor")?, &read("idProduct")?)
    };
    devices
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(id)
        .collect()
}

/// Whether a device with this number exists (Documentation/ABI/testing/sysfs-dev).
pub(super) fn exists(root: &Path, devnum: DevNum) -> bool {
    root.join(format!("sys/dev/char/{devnum}")).exists()
}

/// Reads a file as text; empty if it cannot be read.
pub(super) fn text(root: &Path, path: &str) -> String {
    let bytes = fs::read(root.join(path)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_ports_are_known_by_their_number_with_and_without_a_driver() {
        let text = "Character devices:\n  4 tty\n  4 ttyS\n  5 /dev/tty\n204 ttyAMA\n \
                    239 ttymxc\n 10 misc\n\nBlock devices:\n188 sd\n";
        let majors = Majors::parse(text);
        let is = |text: &str| majors.is_serial(text.parse().unwrap());
        for serial in ["4:64", "188:0", "166:1", "204:64", "239:0"] {
            assert!(is(serial), "{serial}");
        }
        for other in ["4:63", "5:0", "10:200", "1:3", "136:0"] {
            assert!(!is(other), "{other}");
        }
        assert!(majors.any(4, |name| name == "ttyS") && !majors.any(5, |name| name == "ttyS"));
        assert!(majors.lack(188) && !majors.lack(204));
        assert!(!Majors::default().lack(188));
    }
}
