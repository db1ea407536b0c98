//! Device numbers, paths, modes, names: plain data, valid by construction. A string that comes from a
//! user, a label or a USB device becomes one of these types or is refused with a reason. Pure.
//!
//! Imports: nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::match_key::LINK_DIRECTORIES;
use crate::model::written::boolean;

/// Declares the keys of a table: an enum, all of its values, and the name of each.
macro_rules! keys {
    ($(#[$meta:meta])* $keys:ident { $($key:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $keys {
            $($key),+
        }

        impl $keys {
            pub const ALL: &'static [Self] = &[$(Self::$key),+];
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$key => $name),+
                }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$key),)+
                    _ => None,
                }
            }
        }
    };
}

pub mod device;
pub mod device_access;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod identity;
pub mod inventory;
pub mod label;
pub mod match_key;
mod match_value;
pub mod nearest;
pub mod on_plug;
pub mod port;
pub mod problem;
pub mod selector;
pub mod start;
pub mod written;

/// Why a value was refused, as the second half of a sentence: `mode "0999" {reason}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(reason.into()))
}

/// Gives types the form that they have in JSON: the text that they are parsed from.
macro_rules! text_in_json {
    ($($type:ty),+) => {
        $(
            impl From<$type> for String {
                fn from(value: $type) -> Self {
                    value.to_string()
                }
            }

            impl TryFrom<String> for $type {
                type Error = Invalid;

                fn try_from(text: String) -> Result<Self, Invalid> {
                    text.parse()
                }
            }
        )+
    };
}

text_in_json!(DevNum, NodePath, Account, PortName, Permissions);

/// The number of a character device, `major:minor`, by which the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DevNum {
    pub major: u32,
    pub minor: u32,
}

impl DevNum {
    /// The number of no device, which the node of a placeholder has. No driver can have it: it is
    /// reserved (kernel, Documentation/admin-guide/devices.txt), and a character device with it
    /// cannot be added (fs/char_dev.c, `cdev_add`). So open(2) fails with ENXIO. No device cgroup
    /// is asked about it (include/linux/device_cgroup.h, `devcgroup_inode_permission`), so access(2)
    /// answers by owner and mode alone.
    pub const NONE: Self = Self { major: 0, minor: 0 };
}

impl fmt::Display for DevNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DevNum {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parsed = text.split_once(':').and_then(|(major, minor)| {
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        });
        parsed.map_or_else(|| refuse("is not MAJOR:MINOR"), Ok)
    }
}

/// The longest file name, in bytes (`NAME_MAX`, limits.h).
pub const NAME_MAX: usize = 255;

/// Nodes and links are made under a name with this prefix and then renamed into place.
pub const TEMPORARY_PREFIX: &str = ".ttyplugd.";

/// The names that a container runtime makes in /dev (OCI runtime-spec, config-linux.md, "Default
/// Devices" and "Default Filesystems"; config.md, "/dev symbolic links"; runc,
/// libcontainer/specconv/spec_linux.go, `AllowedDevices`). A port with such a name, or below one,
/// would break the container.
pub const RUNTIME_NAMES: [&str; 16] = [
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
    "stdin", "stdout", "tty", "urandom", "zero",
];

/// The absolute path of a node or link in a container: below /dev, without control characters, empty
/// or overlong components, `.` and `..`, and not one of the container runtime's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodePath(String);

impl NodePath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that the name is in, e.g. `/dev` or `/dev/serial/by-id`.
    pub fn directory(&self) -> &str {
        self.split().0
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("/dev", &self.0))
    }

    /// Whether this path leads through `other`, which would have to be a directory.
    pub fn is_below(&self, other: &NodePath) -> bool {
        let rest = self.0.strip_prefix(other.as_str());
        rest.is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether nodes at both cannot exist at the same time.
    pub fn clashes_with(&self, other: &NodePath) -> bool {
        self == other || self.is_below(other) || other.is_below(self)
    }

    /// The text of a symbolic link at `self` that leads to `node`. It is relative as udev's own are
    /// (`../../ttyUSB0`), and so leads there from outside the container too.
    pub fn relative_target(&self, node: &NodePath) -> String {
        let from: Vec<&str> = self.directory().split('/').collect();
        let to: Vec<&str> = node.0.split('/').collect();
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let mut parts = vec![".."; from.len() - common];
        parts.extend(&to[common..]);
        parts.join("/")
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodePath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !text.starts_with('/') {
            return refuse("is not an absolute path; write it as /dev/NAME");
        }
        let Some(below) = text.strip_prefix("/dev/") else {
            return refuse("is outside /dev; a port's node has to be below it");
        };
        if text.len() > 1024 {
            return refuse("is longer than 1024 bytes");
        }
        if below.chars().any(char::is_control) {
            return refuse("has a control character");
        }
        for part in below.split('/') {
            match part {
                "" => return refuse("has an empty component"),
                "." | ".." => return refuse("has a \".\" or \"..\" component"),
                _ if part.len() > NAME_MAX => {
                    return refuse("has a component of more than 255 bytes");
                }
                _ if part.starts_with(TEMPORARY_PREFIX) => {
                    return refuse(
                        "has a component that begins with .ttyplugd., which is reserved",
                    );
                }
                _ => {}
            }
        }
        let first = below.split('/').next().unwrap_or_default();
        if RUNTIME_NAMES.contains(&first) {
            return refuse(format!(
                "is reserved: /dev/{first} belongs to the container runtime"
            ));
        }
        if below == "serial" || LINK_DIRECTORIES.contains(&text) {
            return refuse("is the directory of the links of all ports");
        }
        Ok(Self(text.to_owned()))
    }
}

/// The permission bits of a node, at most 0777: set-user-ID, set-group-ID and sticky bit mean
/// nothing on a character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mode(pub u32);

impl Mode {
    /// What udev gives serial ports (`50-udev-default.rules`: GROUP="dialout", MODE="0660").
    pub const DEFAULT: Self = Self(0o660);

    fn from_octal(text: &str) -> Result<Self, Invalid> {
        let digits = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if digits && bits <= 0o777 => Ok(Self(bits)),
            Ok(bits) if digits => refuse(format!(
                "has more than permissions; write \"{}\"",
                Self(bits & 0o777)
            )),
            _ => refuse("is not an octal mode such as \"0660\""),
        }
    }

    /// The mode that `text` is the decimal number of. YAML 1.1 makes 432 of 0660 without quotation
    /// marks (https://yaml.org/type/int.html).
    fn from_decimal(text: &str) -> Option<Self> {
        let bits = text.parse().ok().filter(|bits| *bits <= 0o777)?;
        (!text.starts_with(['0', '+'])).then_some(Self(bits))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

impl TryFrom<String> for Mode {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::from_octal(&text)
    }
}

/// A mode as it is written in a configuration or a label. It has a leading zero where it could be
/// another mode in decimal.
impl FromStr for Mode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(meant) = Self::from_decimal(text) {
            return refuse(format!(
                "has no leading zero: it is what YAML makes of {meant} without quotation marks; \
                 write \"{meant}\", with them"
            ));
        }
        let mode = Self::from_octal(text.strip_prefix("0o").unwrap_or(text))?;
        match mode.0 & 0o600 {
            0 => refuse("lets the owner of the node neither read nor write; write e.g. \"0660\""),
            _ => Ok(mode),
        }
    }
}

/// What decides who may open a node: its owner and group, as numbers, and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Permissions {
    pub uid: u32,
    pub gid: u32,
    pub mode: Mode,
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.uid, self.gid, self.mode)
    }
}

impl FromStr for Permissions {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let words = text.split_once(' ');
        let words = words.and_then(|(owner, mode)| Some((owner.split_once(':')?, mode)));
        let Some(((uid, gid), mode)) = words else {
            return refuse("is not UID:GID MODE");
        };
        let number = |text: &str| text.parse().or_else(|_| refuse("is not UID:GID MODE"));
        Ok(Self {
            uid: number(uid)?,
            gid: number(gid)?,
            mode: Mode::from_octal(mode)?,
        })
    }
}

/// A user or group: a number, or a name in the container's own /etc/passwd or /etc/group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Account {
    Number(u32),
    Name(String),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Account {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            // chown(2) takes (uid_t)-1 for "do not change".
            return match text.parse::<u32>() {
                Ok(number) if number != u32::MAX => Ok(Self::Number(number)),
                _ => refuse("is too large for a user or group number"),
            };
        }
        // Such as 1000.0 or 1e3, of which YAML makes the former.
        if text.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok() {
            return refuse("is not a whole number");
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$');
        if text.is_empty() || text.len() > 32 || !text.bytes().all(plain) || text.starts_with('-') {
            return refuse("is neither a number nor a user or group name");
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// The operator's name for a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PortName(String);

impl PortName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PortName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
            return refuse("is not a port name: 1 to 64 letters, digits, \"-\" and \"_\"");
        }
        Ok(Self(text.to_owned()))
    }
}

/// For how long an open() that comes before its port is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    Off,
    Seconds(u64),
    Forever,
}

/// Which opens of a container may be held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// Those of serial libraries and of other programs.
    #[default]
    Wide,
    /// Those of serial libraries alone.
    Serial,
}

impl Holds {
    pub fn is_wide(&self) -> bool {
        *self == Self::Wide
    }
}

impl FromStr for Holds {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "wide" => Ok(Self::Wide),
            "serial" => Ok(Self::Serial),
            _ => refuse("is neither \"wide\" nor \"serial\""),
        }
    }
}

impl FromStr for Hold {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let unit = |suffix: &str, seconds: u64| {
            let number = text.strip_suffix(suffix)?;
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            digits
                .then(|| number.parse::<u64>().ok()?.checked_mul(seconds))
                .flatten()
        };
        if text.eq_ignore_ascii_case("forever") {
            return Ok(Self::Forever);
        }
        // YAML 1.1 makes a truth value of `off` without quotation marks.
        if boolean(text) == Some(false) {
            return Ok(Self::Off);
        }
        match unit("s", 1).or(unit("m", 60)).or(unit("h", 3600)) {
            Some(seconds) if seconds > 0 => Ok(Self::Seconds(seconds)),
            _ => refuse("is not \"off\", \"forever\" or a time such as \"60s\" or \"5m\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_path_stays_below_dev_and_off_the_runtimes_names() {
        for good in [
            "/dev/zwave",
            "/dev/serial/by-id/usb-a b;rm $(touch x)",
            "/dev/bus/é",
        ] {
            assert_eq!(good.parse::<NodePath>().map(String::from), Ok(good.into()));
        }
        let long = format!("/dev/{}", "x".repeat(256));
        for bad in [
            "zwave",
            "/dev",
            "/dev/",
            "/tmp/x",
            "/dev/../x",
            "/dev/./x",
            "/dev//x",
            "/dev/x/",
            "/dev/zero",
            "/dev/zero/x",
            "/dev/a\nb",
            "/dev/.ttyplugd.1",
            &long,
            "",
            "/devil/x",
            "/dev/serial",
            "/dev/serial/by-id",
        ] {
            assert!(bad.parse::<NodePath>().is_err(), "{bad} was accepted");
        }
        for name in RUNTIME_NAMES {
            let error = format!("/dev/{name}").parse::<NodePath>().unwrap_err();
            assert!(error.0.contains("container runtime"), "{error}");
            let below = format!("/dev/{name}/x").parse::<NodePath>();
            assert_eq!(below, Err(error));
        }
        for good in ["/dev/zero1", "/dev/ttyUSB0", "/dev/x/null"] {
            assert!(good.parse::<NodePath>().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_link_leads_to_its_node_by_a_relative_path() {
        let path = |text: &str| text.parse::<NodePath>().unwrap();
        for (link, node, target) in [
            ("/dev/serial/by-id/x", "/dev/zwave", "../../zwave"),
            ("/dev/serial/by-id/x", "/dev/serial/y", "../y"),
            ("/dev/serial/by-id/x", "/dev/serial/by-id/y", "y"),
            ("/dev/x", "/dev/a/b", "a/b"),
        ] {
            assert_eq!(path(link).relative_target(&path(node)), target);
        }
    }

    #[test]
    fn modes_accounts_holds_and_names_are_checked() {
        assert_eq!("0660".parse(), Ok(Mode(0o660)));
        assert_eq!("600".parse(), Ok(Mode(0o600)));
        assert_eq!("0o660".parse(), Ok(Mode(0o660)));
        for (bad, expected) in [
            ("432", "YAML makes of 0660"),
            ("384", "write \"0600\""),
            ("440", "write \"0670\""),
            ("0", "neither read nor write"),
            ("0000", "neither read nor write"),
            ("0060", "neither read nor write"),
            ("01660", "write \"0660\""),
            ("1660", "write \"0660\""),
            ("0999", "not an octal mode"),
            ("", "not an octal mode"),
            ("rw", "not an octal mode"),
            ("u=rw", "not an octal mode"),
            ("0x1b0", "not an octal mode"),
            ("0b110", "not an octal mode"),
            ("+660", "not an octal mode"),
            ("+0660", "not an octal mode"),
            ("-1", "not an octal mode"),
            ("432.0", "not an octal mode"),
            ("77777777777777", "not an octal mode"),
        ] {
            let error = bad.parse::<Mode>().unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
        assert_eq!("20".parse(), Ok(Account::Number(20)));
        assert_eq!("dialout".parse(), Ok(Account::Name("dialout".into())));
        for bad in [
            "",
            "a b",
            "-x",
            "4294967295",
            "a:b",
            "$(id)",
            "1000.0",
            "1e3",
        ] {
            assert!(bad.parse::<Account>().is_err(), "{bad}");
        }
        assert_eq!("5m".parse(), Ok(Hold::Seconds(300)));
        for off in ["off", "Off", "False", "no", "0"] {
            assert_eq!(off.parse(), Ok(Hold::Off), "{off}");
        }
        for bad in [
            "",
            "0s",
            "60",
            "True",
            "s",
            "-1s",
            "1d",
            "99999999999999999999h",
        ] {
            assert!(bad.parse::<Hold>().is_err(), "{bad}");
        }
        for bad in ["", "a b", "a.b", "a/b", "é"] {
            assert!(bad.parse::<PortName>().is_err(), "{bad}");
        }
    }
}
