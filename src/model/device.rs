//! A tty as udev describes it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::match_key::{BY_PATH, LINK_DIRECTORIES, MatchKey};
use crate::model::match_value::without_0x;
use crate::model::{DevNum, Mode, NodePath};

/// A tty as udev describes it.
///
/// A USB device chooses its own strings, so all text is hostile. It is compared and printed; only
/// `node` and `links`, which are [`NodePath`]s, become names in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name, e.g. `ttyUSB0`; unique among all ttys at one time.
    pub sysname: String,
    /// The device's place in sysfs below /sys.
    pub devpath: String,
    /// The host's own node, e.g. `/dev/ttyUSB0`.
    pub node: NodePath,
    pub devnum: DevNum,
    /// When udev saw it first, in microseconds since the boot. It is another plug if this differs
    /// (systemd, src/libsystemd/sd-device/device-private.c, `device_ensure_usec_initialized`).
    pub plugged: u64,
    /// The group of the host's node, the default for nodes in containers.
    pub gid: u32,
    /// The mode of the host's node, the default too.
    pub mode: Mode,
    /// udev's properties (`ID_VENDOR_ID`, `ID_SERIAL_SHORT`, …), beside those with fields here.
    pub properties: BTreeMap<String, String>,
    /// The driver of the nearest parent that has one, e.g. `cdc_acm`.
    pub driver: Option<String>,
    /// The links that udev made for it below /dev.
    pub links: BTreeSet<NodePath>,
    /// Those whose names are not valid.
    pub refused_links: Vec<String>,
}

impl Device {
    /// Reads a device from udev's properties, as a uevent or the udev database has them. `None` where
    /// it has no node (`DEVNAME`, `MAJOR`, `MINOR`). They do not have its mode, which is udev's default
    /// here.
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        driver: Option<String>,
        gid: u32,
    ) -> Option<Self> {
        let raw: BTreeMap<String, &[u8]> = properties
            .into_iter()
            .map(|(key, value)| (printable(key), value))
            .collect();
        let text = |key: &str| raw.get(key).map(|value| printable(value));

        let mut links = BTreeSet::new();
        let mut refused_links = Vec::new();
        for link in raw
            .get("DEVLINKS")
            .unwrap_or(&&b""[..])
            .split(|b| *b == b' ')
            .filter(|link| link.starts_with(b"/dev/"))
        {
            match self::link(link) {
                Some(path) => drop(links.insert(path)),
                None => refused_links.push(printable(link)),
            }
        }
        let devpath = text("DEVPATH")?;
        let device = Self {
            sysname: devpath.rsplit('/').next()?.to_owned(),
            node: text("DEVNAME")?.parse().ok()?,
            devnum: DevNum {
                major: text("MAJOR")?.parse().ok()?,
                minor: text("MINOR")?.parse().ok()?,
            },
            plugged: text("USEC_INITIALIZED")
                .and_then(|time| time.parse().ok())
                .unwrap_or_default(),
            driver: text("ID_USB_DRIVER").or(driver),
            properties: kept(&raw),
            devpath,
            gid,
            mode: Mode::DEFAULT,
            links,
            refused_links,
        };
        Some(device)
    }

    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// The values that a key of `match` is compared with. A device can have several links.
    pub fn values(&self, key: MatchKey) -> Vec<&str> {
        if key == MatchKey::Link {
            return self.names_below_dev().collect();
        }
        let directory = key.link_directory();
        let links = directory.into_iter().flat_map(|d| self.link_names(d));
        let property = key.property().and_then(|name| self.property(name));
        let property = property.map(|value| match key {
            MatchKey::Vendor | MatchKey::Product => without_0x(value),
            _ => value,
        });
        let own = match key {
            MatchKey::Driver => self.driver.as_deref(),
            MatchKey::Sysname => Some(self.sysname.as_str()),
            MatchKey::Vendor
            | MatchKey::Product
            | MatchKey::Serial
            | MatchKey::Interface
            | MatchKey::ById
            | MatchKey::ByPath
            | MatchKey::Link => None,
        };
        let mut values: Vec<&str> = links.chain(property).chain(own).collect();
        values.dedup();
        values
    }

    /// Whether a udev rule of the administrator's excludes it: `ENV{TTYPLUGD_IGNORE}="1"`.
    pub fn is_ignored(&self) -> bool {
        self.property("TTYPLUGD_IGNORE").is_some_and(|v| v != "0")
    }

    /// Whether it is neither a virtual console nor one of the placeholders that the 8250 driver makes
    /// for UARTs that the machine does not have (kernel, drivers/tty/serial/8250, `nr_uarts`).
    pub fn is_serial(&self) -> bool {
        let real = |driver: &str| driver != "serial8250";
        self.property("ID_BUS").is_some() || self.driver.as_deref().is_some_and(real)
    }

    /// Whether containers that ask for every port get it: a USB serial device with our udev tag.
    pub fn is_offered(&self) -> bool {
        let tags = self.property("CURRENT_TAGS").or(self.property("TAGS"));
        let tagged = tags.is_some_and(|tags| tags.split(':').any(|tag| tag == "ttyplugd"));
        tagged && self.property("ID_BUS") == Some("usb") && !self.is_ignored()
    }

    /// The names of the links in one of [`LINK_DIRECTORIES`], without the directory.
    pub fn link_names<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a str> {
        self.links
            .iter()
            .filter(move |link| link.directory() == directory)
            .map(NodePath::name)
    }

    /// The names of its links and its node, without `/dev/`.
    fn names_below_dev(&self) -> impl Iterator<Item = &str> {
        let names = self.links.iter().chain([&self.node]);
        names.filter_map(|name| name.as_str().strip_prefix("/dev/"))
    }

    /// Orders devices by where they are plugged in, whatever the order in which they were.
    pub fn by_path_order(&self) -> (bool, Option<&str>, &str, &str) {
        let by_path = self.link_names(BY_PATH).next();
        // A device without a by-path name comes after all that have one.
        (by_path.is_none(), by_path, &self.devpath, &self.sysname)
    }
}

/// A link that a container can have. Those of devices that choose their names themselves have no
/// directories below udev's own.
fn link(path: &[u8]) -> Option<NodePath> {
    let path: NodePath = std::str::from_utf8(path).ok()?.parse().ok()?;
    let mut directories = LINK_DIRECTORIES.iter();
    let is_deeper = directories.any(|directory| {
        let below = path.directory().strip_prefix(directory);
        below.is_some_and(|below| below.starts_with('/'))
    });
    (!is_deeper).then_some(path)
}

/// The properties that are kept: those by which anything is matched or decided, and of all others,
/// which applications in containers are told, as much as one message of udevd's can have.
fn kept(raw: &BTreeMap<String, &[u8]>) -> BTreeMap<String, String> {
    let mut room = LONGEST_MESSAGE;
    let is_kept = |(key, value): &(&String, &&[u8])| {
        let size = key.len() + value.len();
        let is_needed = is_needed(key);
        let fits = !FIELDS.contains(&key.as_str()) && size <= room;
        room -= if fits && !is_needed { size } else { 0 };
        is_needed || fits
    };
    let kept = raw.iter().filter(is_kept);
    kept.map(|(key, value)| (key.clone(), printable(value)))
        .collect()
}

/// The longest message that older versions of libudev read, in bytes (systemd,
/// src/libsystemd/sd-device/device-monitor.c, `device_monitor_receive_device`).
pub const LONGEST_MESSAGE: usize = 8192;

/// The properties that a device has fields for.
const FIELDS: [&str; 5] = ["DEVLINKS", "DEVNAME", "DEVPATH", "MAJOR", "MINOR"];

fn is_needed(property: &str) -> bool {
    let mut of_match = MatchKey::ALL.iter().filter_map(|key| key.property());
    OTHER_PROPERTIES.contains(&property) || of_match.any(|known| known == property)
}

/// The properties that a device is offered by, checked by or described with.
const OTHER_PROPERTIES: [&str; 10] = [
    "CURRENT_TAGS",
    "ID_BUS",
    "ID_MM_DEVICE_IGNORE",
    "ID_MM_PORT_IGNORE",
    "ID_MODEL",
    "ID_MODEL_FROM_DATABASE",
    "ID_VENDOR",
    "ID_VENDOR_FROM_DATABASE",
    "TAGS",
    "TTYPLUGD_IGNORE",
];

/// Bytes as text: what is not valid UTF-8 appears as `\xNN`, the form that udev itself uses for
/// encoded strings (libudev, `udev_util_encode_string`).
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(properties: &[(&str, &[u8])]) -> Option<Device> {
        let properties = properties.iter().map(|(k, v)| (k.as_bytes(), *v));
        Device::from_properties(properties, None, 20)
    }

    #[test]
    fn hostile_properties_become_text_and_hostile_links_are_refused() {
        let device = device(&[
            ("DEVPATH", b"/devices/x/tty/ttyUSB0"),
            ("DEVNAME", b"/dev/ttyUSB0"),
            ("MAJOR", b"188"),
            ("MINOR", b"0"),
            ("ID_SERIAL_SHORT", b"$(touch /x)\xff\n"),
            (
                "DEVLINKS",
                b"/dev/serial/by-id/ok;rm /dev/serial/by-id/../../x /dev/serial/by-id/\xff \
                  /dev/serial/by-path/p /dev/other /dev/serial/by-identity/x /dev/serial/by-id/a/b \
                  /dev/pts/0 /dev/null /tmp/x",
            ),
        ])
        .unwrap();
        assert_eq!(
            device.property("ID_SERIAL_SHORT"),
            Some("$(touch /x)\\xff\n")
        );
        let links: Vec<_> = device.links.iter().map(NodePath::as_str).collect();
        assert_eq!(
            links,
            [
                "/dev/other",
                "/dev/serial/by-id/ok;rm",
                "/dev/serial/by-identity/x",
                "/dev/serial/by-path/p"
            ]
        );
        assert_eq!(device.refused_links.len(), 5);
    }

    #[test]
    fn all_properties_are_kept_as_far_as_a_message_can_have_them() {
        let long = vec![b'x'; 5000];
        let device = device(&[
            ("DEVPATH", b"/devices/x/tty/ttyUSB0"),
            ("DEVNAME", b"/dev/ttyUSB0"),
            ("MAJOR", b"188"),
            ("MINOR", b"0"),
            ("ID_SERIAL", b"Silicon_Labs_CP2102"),
            ("ID_USB_MODEL_ENC", b"CP2102\\x20USB"),
            ("A", &long),
            ("B", &long),
            ("ID_VENDOR_ID", &long),
        ])
        .unwrap();
        let kept: Vec<_> = device.properties.keys().map(String::as_str).collect();
        let expected = ["A", "ID_SERIAL", "ID_USB_MODEL_ENC", "ID_VENDOR_ID"];
        assert_eq!(kept, expected);
        assert_eq!(device.property("ID_USB_MODEL_ENC"), Some("CP2102\\x20USB"));
    }

    #[test]
    fn a_device_without_a_node_is_ignored() {
        assert_eq!(device(&[("DEVPATH", b"/devices/x/tty/ttyUSB0")]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_from_udev_make_the_reader_panic(
            pairs in proptest::collection::vec((".*", proptest::collection::vec(0u8.., 0..64)), 0..8),
        ) {
            let pairs: Vec<(&str, &[u8])> = pairs.iter().map(|(k, v)| (k.as_str(), &v[..])).collect();
            let _ = device(&pairs);
        }
    }
}
