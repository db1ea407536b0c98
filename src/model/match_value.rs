//! The globs of a port's `match`. One that no device can have is put right where its meaning is plain,
//! and refused otherwise. Pure.

use glob::Pattern;

use crate::model::match_key::MatchKey;
use crate::model::written::plain;
use crate::model::{Invalid, refuse};

/// # Errors
/// It is not a glob, or no device can have such a value.
pub(super) fn glob_for(key: MatchKey, text: &str) -> Result<Pattern, Invalid> {
    let text = plain(text);
    if text.is_empty() {
        return refuse("is empty");
    }
    let text = match key {
        MatchKey::Vendor | MatchKey::Product => &id(text, 4)?,
        MatchKey::Interface => &id(text, 2)?,
        MatchKey::ById | MatchKey::ByPath => {
            name_in(text, key.link_directory().unwrap_or_default())?
        }
        MatchKey::Sysname => name_in(text, "/dev")?,
        MatchKey::Link => below_dev(text)?,
        MatchKey::Serial | MatchKey::Driver => text,
    };
    match plain(text.trim()) == text {
        true => glob(text),
        false => refuse(format!(
            "{text:?} still has quotation marks or blanks around it; give it without them, \
             or a ? for each that the device itself has"
        )),
    }
}

/// # Errors
/// It is not a glob.
pub(super) fn glob(text: &str) -> Result<Pattern, Invalid> {
    if text.is_empty() {
        return refuse("is empty");
    }
    Pattern::new(text).or_else(|error| refuse(format!("is not a glob: {error}")))
}

/// A hexadecimal number as udev writes it: without `0x`, and with leading zeros (systemd,
/// src/udev/udev-builtin-usb_id.c; a USB device has the ids of its descriptors, `%04x`).
fn id(text: &str, digits: usize) -> Result<String, Invalid> {
    let number = without_0x(text);
    if let (4, Some((vendor, product))) = (digits, number.split_once(':')) {
        return refuse(format!(
            "{text:?} is two ids; they have a key each: vendor is {vendor:?}, product is {product:?}"
        ));
    }
    if !number.is_empty() && number.bytes().all(|b| b.is_ascii_hexdigit()) {
        let padded = format!("{number:0>digits$}");
        return match padded.len() > digits {
            true => refuse(format!("{text:?} is more than {digits} hexadecimal digits")),
            false => Ok(padded),
        };
    }
    match may_have_length(number, digits) {
        true => Ok(number.to_owned()),
        false => refuse(format!(
            "{text:?} is not {digits} hexadecimal digits, or a glob for them; see ttyplugd ports"
        )),
    }
}

/// The number of an id of a PCI card, which udev takes over from sysfs as it is
/// (rules.d/60-serial.rules: `ENV{ID_VENDOR_ID}="$attr{vendor}"`).
pub(super) fn without_0x(id: &str) -> &str {
    let number = id.strip_prefix("0x").or(id.strip_prefix("0X"));
    number.unwrap_or(id)
}

/// Whether a glob can match as many hexadecimal digits.
fn may_have_length(glob: &str, digits: usize) -> bool {
    let (mut length, mut in_class, mut any) = (0, false, false);
    for c in glob.chars() {
        match c {
            '[' => in_class = true,
            ']' if in_class => (in_class, length) = (false, length + 1),
            '!' | '-' if in_class => {}
            '*' if !in_class => any = true,
            '?' => length += 1,
            c if !c.is_ascii_hexdigit() => return false,
            _ => length += usize::from(!in_class),
        }
    }
    length == digits || (any && length < digits)
}

/// A path below /dev, given with it or without.
fn below_dev(text: &str) -> Result<&str, Invalid> {
    match text.strip_prefix("/dev/").unwrap_or(text) {
        name if name.starts_with('/') => refuse(format!("{text:?} is not below /dev")),
        name => Ok(name),
    }
}

/// A name in a directory, given with it or without.
fn name_in<'a>(text: &'a str, directory: &str) -> Result<&'a str, Invalid> {
    let below = text.strip_prefix(directory);
    let name = below
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(text);
    match name.contains('/') {
        true => refuse(format!("{text:?} is not a name in {directory}")),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_udev_writes_it() {
        use MatchKey::{ById, ByPath, Interface, Link, Product, Serial, Sysname, Vendor};
        for (key, text, expected) in [
            (Vendor, "1a86", "1a86"),
            (Vendor, " 1A86 ", "1A86"),
            (Vendor, "\"1a86\"", "1a86"),
            (Vendor, "0x1a86", "1a86"),
            (Vendor, "0X13A8", "13A8"),
            (Vendor, "658", "0658"),
            (Product, "0x1", "0001"),
            (Product, "7523", "7523"),
            (Product, "1e86", "1e86"),
            (Product, "ea6?", "ea6?"),
            (Product, "0xea*", "ea*"),
            (Product, "[0-9a-f]a60", "[0-9a-f]a60"),
            (Product, "*", "*"),
            (Product, "ea60*", "ea60*"),
            (Interface, "0", "00"),
            (Interface, "0?", "0?"),
            (Serial, "'0001'", "0001"),
            (ById, "/dev/serial/by-id/usb-*", "usb-*"),
            (ByPath, "*-usb-0:1.2:1.0", "*-usb-0:1.2:1.0"),
            (Sysname, "/dev/ttyAMA0", "ttyAMA0"),
            (Link, "/dev/serial0", "serial0"),
            (Link, "modem/*", "modem/*"),
        ] {
            let glob = glob_for(key, text).map(|glob| glob.as_str().to_owned());
            assert_eq!(glob.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_value_that_no_device_has_is_refused_with_the_cause() {
        use MatchKey::{ById, ByPath, Interface, Link, Product, Serial, Sysname, Vendor};
        for (key, text, expected) in [
            (
                Vendor,
                "1cf1:0030",
                "vendor is \"1cf1\", product is \"0030\"",
            ),
            (Product, "0x1a86:0x7523", "two ids"),
            (Vendor, "FTDI", "not 4 hexadecimal digits"),
            (Vendor, "10c4ea60", "more than 4"),
            (Vendor, "1a86?", "not 4"),
            (Vendor, "??", "not 4"),
            (Vendor, "[g-z]a86", "not 4"),
            (Vendor, "1a86-*", "not 4"),
            (Vendor, "1e+86", "not 4"),
            (Vendor, "0x", "not 4"),
            (Interface, "if01", "not 2 hexadecimal digits"),
            (Interface, "001", "more than 2"),
            (Sysname, "/dev/serial/x", "not a name in /dev"),
            (
                ById,
                "/dev/serial/by-path/x",
                "not a name in /dev/serial/by-id",
            ),
            (ByPath, "by-path/x", "not a name in /dev/serial/by-path"),
            (ById, "/dev/serial/by-id/", "empty"),
            (ById, "\"\"", "empty"),
            (Serial, "\"'0001'\"", "quotation marks"),
            (Serial, "\"\u{b}0001\"", "blanks"),
            (ById, "/dev/serial/by-id/\"usb-*\"", "quotation marks"),
            (Sysname, "/dev/ ttyACM0", "blanks"),
            (Link, "/dev/'modem'", "quotation marks"),
            (Link, "/run/serial0", "not below /dev"),
            (Link, "/dev/", "empty"),
        ] {
            let error = glob_for(key, text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
