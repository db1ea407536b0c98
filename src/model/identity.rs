//! Whether a device can be told from a second one of its kind. Pure.
//!
//! A by-id link is made of vendor, model and serial number (udev, `60-serial.rules`). Where the
//! serial number is missing, or is the same in every device of that kind, two devices have the same
//! link, and it leads to the one that was plugged in last.

use std::collections::BTreeMap;

use crate::model::device::Device;
use crate::model::match_key::BY_ID;

/// What tells a device from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Its serial number.
    Serial,
    /// Its place in the machine: it is not a USB device.
    BuiltIn,
    /// Nothing: it has no serial number.
    NoSerial,
    /// Nothing: its maker gave all of them this serial number.
    DummySerial(String),
    /// Nothing: these devices, by sysname, have the same by-id link now.
    Shared(Vec<String>),
}

impl Identity {
    /// Its name in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::BuiltIn => "built-in",
            Self::NoSerial => "no-serial",
            Self::DummySerial(_) => "dummy-serial",
            Self::Shared(_) => "shared",
        }
    }

    /// Why it cannot be told apart, as a clause; `None` where it can.
    pub fn weakness(&self) -> Option<String> {
        match self {
            Self::Serial | Self::BuiltIn => None,
            Self::NoSerial => Some(
                "it has no serial number, so a second one of its kind has the same by-id link"
                    .to_owned(),
            ),
            Self::DummySerial(serial) => Some(format!(
                "its serial number {serial:?} is a placeholder, so a second one of its kind has the \
                 same by-id link"
            )),
            Self::Shared(others) => Some(format!(
                "it has the same by-id link as {}, which leads to the one that was plugged in last",
                others.join(" and ")
            )),
        }
    }
}

/// What tells `device` from all others, of which `devices` are plugged in.
///
/// The ports of one adapter share its serial number, and have names of their own by interface
/// (`-if01`) and port (`-port1`).
pub fn identity(device: &Device, devices: &BTreeMap<String, Device>) -> Identity {
    let claims = |other: &Device| {
        let mut names = other.link_names(BY_ID);
        names.any(|name| device.link_names(BY_ID).any(|own| own == name))
    };
    let others: Vec<String> = devices
        .values()
        .filter(|other| other.sysname != device.sysname && claims(other))
        .map(|other| other.sysname.clone())
        .collect();
    if !others.is_empty() {
        return Identity::Shared(others);
    }
    if device.property("ID_BUS") != Some("usb") {
        return Identity::BuiltIn;
    }
    match device.property("ID_SERIAL_SHORT") {
        None => Identity::NoSerial,
        Some(serial) if is_dummy(serial) => Identity::DummySerial(serial.to_owned()),
        Some(_) => Identity::Serial,
    }
}

/// Serial numbers that are no numbers, and that of the many copies of FTDI's FT232R.
const KNOWN_DUMMIES: [&str; 8] = [
    "A50285BI",
    "DEFAULT",
    "NA",
    "NONE",
    "NOSERIAL",
    "SERIAL",
    "SERIALNUMBER",
    "UNKNOWN",
];

/// The digits and letters that a counted serial number goes through.
const COUNT: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Whether a serial number is a placeholder that every device of a kind has: `0001` (which the
/// CP2102 has until somebody sets another one), `000000000000`, `0123456789ABCDEF`, `1234567890`.
fn is_dummy(serial: &str) -> bool {
    let plain = serial.chars().filter(char::is_ascii_alphanumeric);
    let text: String = plain.map(|c| c.to_ascii_uppercase()).collect();
    let places: Vec<usize> = text.chars().filter_map(|c| COUNT.find(c)).collect();
    let steps = || places.iter().zip(places.iter().skip(1));

    let first_of_all = matches!(text.trim_start_matches('0'), "" | "1");
    let one_character = steps().all(|(a, b)| a == b);
    // A count may start over after 9 or F.
    let up = |(a, b): (&usize, &usize)| *b == a + 1 || (matches!(a, 9 | 15) && *b == 0);
    let down = |(a, b): (&usize, &usize)| *a == b + 1;
    let counted = places.len() >= 4 && (steps().all(up) || steps().all(down));
    first_of_all || one_character || counted || KNOWN_DUMMIES.contains(&text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::device;

    #[test]
    fn serial_numbers_that_are_placeholders_are_known() {
        for dummy in [
            "0001",
            "00000000001",
            "0",
            "1",
            "000000000000",
            "FFFFFFFF",
            "11111111",
            "0123456789ABCDEF",
            "0123456789abcdef",
            "1234567890",
            "12345678",
            "123456789012",
            "87654321",
            "ABCDEFGH",
            "0000:0000",
            "--",
            "SerialNumber",
            "n/a",
            "A50285BI",
        ] {
            assert!(is_dummy(dummy), "{dummy}");
        }
        for real in [
            "0002",
            "DE2123456",
            "5B4C012345",
            "A10LXV9K",
            "54DD002111",
            "00_12_4B_00_14_D6_F2_8D",
            "a8c43c1b2f3ded11b3c6e3a8f2a5a5b1",
            "1235",
            "Z1",
        ] {
            assert!(!is_dummy(real), "{real}");
        }
    }

    #[test]
    fn a_link_that_two_devices_have_tells_neither_apart() {
        let with = |devices: &[Device]| -> BTreeMap<String, Device> {
            let named = devices.iter().map(|d| (d.sysname.clone(), d.clone()));
            named.collect()
        };
        let (first, other) = (device("ttyUSB0", "X8Y2"), device("ttyUSB1", "K4L1"));
        let second = device("ttyUSB2", "X8Y2");
        let two = with(&[first.clone(), other.clone()]);
        assert_eq!(identity(&first, &two), Identity::Serial);
        let three = with(&[first.clone(), other, second]);
        let shared = Identity::Shared(vec!["ttyUSB2".into()]);
        assert_eq!(identity(&first, &three), shared);
    }

    proptest::proptest! {
        #[test]
        fn no_serial_number_makes_it_panic(serial in ".*") {
            let _ = is_dummy(&serial);
        }
    }
}
