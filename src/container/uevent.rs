//! Writes udevd's messages as libudev reads them (systemd, src/libsystemd/sd-device/device-monitor.c,
//! `monitor_netlink_header`). Pure.

use std::collections::BTreeMap;

use crate::model::device::{Device, LONGEST_MESSAGE};
use crate::model::{DevNum, NodePath};

/// A device as a container sees it: its udev properties, with the paths that it has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub devnum: DevNum,
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Add,
    /// The node stays; its properties have changed.
    Change,
    Remove,
}

const SUBSYSTEM: &str = "tty";

/// Marks libudev's format, in network byte order.
const MAGIC: u32 = 0xfeed_cafe;

/// The length of the header in bytes.
const HEADER: u32 = 40;

/// The properties without which libudev takes no message (systemd,
/// src/libsystemd/sd-device/device-private.c, `device_verify`), and those of the node.
const FIRST: [&str; 5] = ["DEVNAME", "DEVPATH", "MAJOR", "MINOR", "SUBSYSTEM"];

impl Announcement {
    /// `node` and `links` are the device's paths in the container.
    pub fn new(device: &Device, node: &NodePath, links: &[NodePath]) -> Self {
        let mut properties = device.properties.clone();
        let links: Vec<&str> = links.iter().map(NodePath::as_str).collect();
        for (key, value) in [
            ("DEVPATH", device.devpath.clone()),
            ("SUBSYSTEM", SUBSYSTEM.to_owned()),
            ("DEVNAME", node.to_string()),
            ("DEVLINKS", links.join(" ")),
            ("MAJOR", device.devnum.major.to_string()),
            ("MINOR", device.devnum.minor.to_string()),
        ] {
            properties.insert(key.to_owned(), value);
        }
        Self {
            devnum: device.devnum,
            properties,
        }
    }

    /// The message, as udevd would send it. `sequence` is not 0 and grows with every message.
    pub fn message(&self, action: Action, sequence: u64) -> Vec<u8> {
        let action = match action {
            Action::Add => "add",
            Action::Change => "change",
            Action::Remove => "remove",
        };
        let sequence = sequence.to_string();
        let own = [("ACTION", action), ("SEQNUM", &sequence)];
        let is_own = |key: &str| own.iter().any(|(own, _)| *own == key);
        let (first, others): (Vec<_>, Vec<_>) = self
            .properties
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(|(key, _)| !is_own(key))
            .partition(|(key, _)| FIRST.contains(key));
        let mut properties = Vec::new();
        for (key, value) in own.into_iter().chain(first).chain(others) {
            let property = format!("{key}={value}\0");
            let fits = properties.len() + property.len() <= LONGEST_MESSAGE - HEADER as usize;
            // A NUL would end the property and begin another one.
            if fits && !key.contains(['\0', '=']) && !value.contains('\0') {
                properties.extend(property.into_bytes());
            }
        }
        let tags = self.properties.get("TAGS").map_or("", String::as_str);
        let tags = tags
            .split(':')
            .filter(|tag| !tag.is_empty())
            .fold(0, |all, tag| all | bloom(tag));
        let length = u32::try_from(properties.len()).unwrap_or(u32::MAX);
        let (tags_high, tags_low) = ((tags >> 32) as u32, (tags & 0xffff_ffff) as u32);
        let mut message = b"libudev\0".to_vec();
        for field in [
            MAGIC.to_be_bytes(),
            HEADER.to_ne_bytes(),
            HEADER.to_ne_bytes(),
            length.to_ne_bytes(),
            // Socket filters read the fields from here on, in network byte order.
            hash(SUBSYSTEM).to_be_bytes(),
            0u32.to_be_bytes(),
            tags_high.to_be_bytes(),
            tags_low.to_be_bytes(),
        ] {
            message.extend(field);
        }
        message.extend(properties);
        message
    }
}

/// Sets four bits of 64 for a tag, by which socket filters recognise it (systemd,
/// src/libsystemd/sd-device/device-util.h, `string_bloom64`).
fn bloom(tag: &str) -> u64 {
    let hash = hash(tag);
    [0, 6, 12, 18]
        .into_iter()
        .fold(0, |bits, shift| bits | 1 << (hash >> shift & 63))
}

/// MurmurHash2 by Austin Appleby with seed 0, over words in the machine's byte order (systemd,
/// src/basic/MurmurHash2.c).
fn hash(text: &str) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let bytes = text.as_bytes();
    let mut hash = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MIX);
        word = (word ^ word >> 24).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ word;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MIX);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::device;

    #[test]
    fn a_message_has_the_names_that_the_device_has_in_the_container() {
        let mut device = device("ttyUSB0", "A");
        device
            .properties
            .insert("EVIL".into(), "a\0ACTION=remove".into());
        device.properties.insert("ACTION".into(), "bind".into());
        let node = "/dev/zwave".parse().unwrap();
        let link = "/dev/serial/by-id/x".parse().unwrap();
        let message = Announcement::new(&device, &node, &[link]).message(Action::Add, 7);
        assert_eq!(&message[..12], b"libudev\0\xfe\xed\xca\xfe");
        let properties: Vec<_> = message[40..].split(|byte| *byte == 0).collect();
        let properties: Vec<_> = properties
            .into_iter()
            .map(String::from_utf8_lossy)
            .collect();
        assert_eq!(properties[..2], ["ACTION=add", "SEQNUM=7"]);
        for expected in [
            "DEVNAME=/dev/zwave",
            "DEVLINKS=/dev/serial/by-id/x",
            "SUBSYSTEM=tty",
        ] {
            assert!(properties.iter().any(|p| p == expected), "{properties:?}");
        }
        assert_eq!(
            properties
                .iter()
                .filter(|p| p.starts_with("ACTION"))
                .count(),
            1
        );
        assert_eq!(properties.last().unwrap(), "");
        let length = u32::from_ne_bytes(message[20..24].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), message.len() - 40);
    }
    #[test]
    fn a_message_is_no_longer_than_libudev_reads() {
        let mut device = device("ttyUSB0", "A");
        for number in 0..1000 {
            let value = "x".repeat(number);
            device.properties.insert(format!("A{number}"), value);
        }
        let node = "/dev/zwave".parse().unwrap();
        let message = Announcement::new(&device, &node, &[]).message(Action::Add, 7);
        assert!(
            (8000..=LONGEST_MESSAGE).contains(&message.len()),
            "{}",
            message.len()
        );
        let text = String::from_utf8_lossy(&message[40..]).into_owned();
        for first in FIRST {
            assert!(text.contains(&format!("\0{first}=")), "{first}");
        }
    }
}
