//! udevd's messages (systemd, src/libsystemd/sd-device/device-monitor-private.h,
//! `monitor_netlink_header`): a header, and properties that end with a NUL each. Pure.

use crate::model::NAME_MAX;

/// The place of the header's word that says where the properties begin, in the machine's byte
/// order.
const PROPERTIES: std::ops::Range<usize> = 16..20;

/// The kernel name of the device that a message is about. Anyone may have sent it; it is at least a
/// name that a file can have.
pub fn sysname(message: &[u8]) -> Option<&[u8]> {
    let begin = message.get(PROPERTIES)?.try_into().ok()?;
    let properties = message.get(usize::try_from(u32::from_ne_bytes(begin)).ok()?..)?;
    let mut properties = properties.split(|byte| *byte == 0);
    let devpath = properties.find_map(|property| property.strip_prefix(b"DEVPATH="))?;
    let name = devpath.rsplit(|byte| *byte == b'/').next()?;
    let is_name = !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_MAX;
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(properties: &str) -> Vec<u8> {
        let mut message = b"libudev\0\xfe\xed\xca\xfe".to_vec();
        for word in [40, 40, 0, 0, 0, 0, 0_u32] {
            message.extend(word.to_ne_bytes());
        }
        message.extend(properties.as_bytes());
        message
    }

    #[test]
    fn a_message_names_a_device_or_none() {
        for (properties, expected) in [
            ("DEVPATH=/devices/virtual/tty/tty1\0", Some("tty1")),
            (
                "ACTION=add\0DEVPATH=/devices/x/a!b\0DEVPATH=/y\0",
                Some("a!b"),
            ),
            ("DEVPATH=tty1", Some("tty1")),
            ("DEVPATH=/x/..\0", None),
            ("DEVPATH=/x/.\0", None),
            ("DEVPATH=/x/\0", None),
            ("DEVPATH=\0", None),
            ("XDEVPATH=/x/tty1\0", None),
            ("", None),
        ] {
            let message = message(properties);
            assert_eq!(
                sysname(&message),
                expected.map(str::as_bytes),
                "{properties}"
            );
        }
        let longest = "t".repeat(NAME_MAX);
        assert!(sysname(&message(&format!("DEVPATH=/{longest}\0"))).is_some());
        assert_eq!(sysname(&message(&format!("DEVPATH=/{longest}t\0"))), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(message in proptest::collection::vec(0u8.., 0..80)) {
            let _ = sysname(&message);
        }
    }
}
