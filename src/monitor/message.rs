//! What udevd's messages and the kernel's say. Pure.

use crate::model::NAME_MAX;

/// The place of the header's word that says where the properties begin, in the machine's byte
/// order.
const PROPERTIES: std::ops::Range<usize> = 16..20;

/// The kernel name of the device that a message of udevd's is about: a header, and properties that end
/// with a NUL each (systemd, src/libsystemd/sd-device/device-monitor-private.h,
/// `monitor_netlink_header`). Anyone may have sent it; it is at least a name that a file can have.
pub fn sysname(message: &[u8]) -> Option<&[u8]> {
    let begin = message.get(PROPERTIES)?.try_into().ok()?;
    let properties = message.get(usize::try_from(u32::from_ne_bytes(begin)).ok()?..)?;
    let mut properties = properties.split(|byte| *byte == 0);
    last_name(properties.find_map(|property| property.strip_prefix(b"DEVPATH="))?)
}

/// The kernel name of the tty that a message of the kernel's says it has removed: `ACTION@DEVPATH`, and
/// properties, that end with a NUL each (kernel, lib/kobject_uevent.c, `kobject_uevent_env`).
pub fn removed_tty(message: &[u8]) -> Option<&[u8]> {
    let mut strings = message.split(|byte| *byte == 0);
    let devpath = strings.next()?.strip_prefix(b"remove@")?;
    let is_tty = strings.any(|property| property == b"SUBSYSTEM=tty");
    last_name(devpath).filter(|_| is_tty)
}

fn last_name(devpath: &[u8]) -> Option<&[u8]> {
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

    #[test]
    fn a_message_of_the_kernels_names_a_removed_tty_or_none() {
        for (message, expected) in [
            (
                "remove@/devices/x/tty/ttyUSB0\0ACTION=remove\0SUBSYSTEM=tty\0SEQNUM=1\0",
                Some("ttyUSB0"),
            ),
            ("remove@ttyUSB0\0SUBSYSTEM=tty", Some("ttyUSB0")),
            ("remove@/devices/virtual/net/ttyUSB0\0SUBSYSTEM=net\0", None),
            ("remove@/x/ttyUSB0\0XSUBSYSTEM=tty\0SUBSYSTEM=ttyX\0", None),
            ("add@/x/ttyUSB0\0ACTION=remove\0SUBSYSTEM=tty\0", None),
            ("unbind@/x/ttyUSB0\0SUBSYSTEM=tty\0", None),
            ("remove@/x/..\0SUBSYSTEM=tty\0", None),
            ("remove@\0SUBSYSTEM=tty\0", None),
            ("remove@/x/ttyUSB0", None),
            ("libudev\0SUBSYSTEM=tty\0", None),
            ("", None),
        ] {
            let expected = expected.map(str::as_bytes);
            assert_eq!(removed_tty(message.as_bytes()), expected, "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(message in proptest::collection::vec(0u8.., 0..80)) {
            let _ = (sysname(&message), removed_tty(&message));
        }
    }
}
