//! Which device is a port, and which containers get it. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use glob::{MatchOptions, Pattern};

use crate::model::Invalid;
use crate::model::device::Device;
use crate::model::match_key::MatchKey;
use crate::model::match_value::{glob, glob_for};
use crate::model::nearest::did_you_mean;
use crate::model::written::plain;

/// What a device must be to be a port: a glob per key, and all of them must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMatch(BTreeMap<MatchKey, Pattern>);

/// A match that was refused: the key at fault, or `match` itself, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {reason}")]
pub struct InvalidMatch {
    pub key: String,
    pub reason: Invalid,
}

impl DeviceMatch {
    /// # Errors
    /// A key that is unknown or given twice, a glob that no device can match, or no key at all.
    pub fn new<'a>(
        globs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InvalidMatch> {
        let globs = globs.into_iter().map(|(name, text)| {
            let invalid = |reason| InvalidMatch {
                key: name.to_owned(),
                reason,
            };
            let key = MatchKey::from_name(name).ok_or_else(|| {
                let hint = did_you_mean(name, MatchKey::NAMES);
                invalid(Invalid(format!("is an unknown key; {hint}")))
            })?;
            Ok((key, glob_for(key, text).map_err(invalid)?))
        });
        let pairs: Vec<_> = globs.collect::<Result<_, _>>()?;
        let globs = once_each(pairs)?;
        if globs.is_empty() {
            let names = MatchKey::NAMES.join(", ");
            return Err(InvalidMatch {
                key: "match".to_owned(),
                reason: Invalid(format!("is empty; it needs at least one of {names}")),
            });
        }
        Ok(Self(globs))
    }

    pub fn matches(&self, device: &Device) -> bool {
        !device.is_ignored()
            && self.0.iter().all(|(key, glob)| {
                let values = device.values(*key);
                values.iter().any(|value| matches_id(glob, value))
            })
    }

    pub fn globs(&self) -> impl Iterator<Item = (MatchKey, &str)> {
        self.0.iter().map(|(key, glob)| (*key, glob.as_str()))
    }
}

impl fmt::Display for DeviceMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let globs = self.globs();
        let pairs: Vec<_> = globs.map(|(k, v)| format!("{}={v}", k.name())).collect();
        f.write_str(&pairs.join(","))
    }
}

/// The form that labels have: `vendor=0658,product=0200`.
impl FromStr for DeviceMatch {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let pairs = plain(text)
            .split(',')
            .map(|pair| {
                let pair = pair.split_once('=').map(|(k, v)| (k.trim(), v.trim()));
                pair.ok_or_else(|| Invalid("is not KEY=GLOB,KEY=GLOB,…".into()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(pairs).map_err(|error| Invalid(format!("is not valid: {error}")))
    }
}

fn once_each(pairs: Vec<(MatchKey, Pattern)>) -> Result<BTreeMap<MatchKey, Pattern>, InvalidMatch> {
    let mut globs = BTreeMap::new();
    for (key, glob) in pairs {
        if globs.insert(key, glob).is_some() {
            return Err(InvalidMatch {
                key: key.name().to_owned(),
                reason: Invalid("is given twice".into()),
            });
        }
    }
    Ok(globs)
}

/// Chooses containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerMatch {
    /// A glob over container names.
    Name(Pattern),
    /// Globs over a compose project and a service in it.
    Service { project: Pattern, service: Pattern },
    /// Globs over the namespace of Kubernetes, the pod and the container.
    Pod(Box<[Pattern; 3]>),
    /// A label that the container was created with.
    Label { key: String, value: String },
}

impl ContainerMatch {
    /// `key=value`, as in `containers = [{ label = "role=zwave" }]`.
    ///
    /// # Errors
    /// Text without `=` or without a key.
    pub fn label(text: &str) -> Result<Self, Invalid> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self::Label {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(Invalid("is not KEY=VALUE".into())),
        }
    }

    /// The label that it looks at.
    pub fn label_key(&self) -> Option<&str> {
        match self {
            Self::Label { key, .. } => Some(key),
            Self::Name(_) | Self::Service { .. } | Self::Pod(_) => None,
        }
    }

    pub fn matches(
        &self,
        name: &str,
        service: Option<&(String, String)>,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        match self {
            // The star of a name does not reach into the names of pods.
            Self::Name(glob) => !name.contains('/') && glob.matches(name),
            Self::Pod(globs) => {
                let names: Vec<&str> = name.split('/').collect();
                let mut pairs = globs.iter().zip(&names);
                names.len() == globs.len() && pairs.all(|(glob, name)| glob.matches(name))
            }
            Self::Service {
                project,
                service: s,
            } => service.is_some_and(|(p, name)| project.matches(p) && s.matches(name)),
            Self::Label { key, value } => labels.get(key) == Some(value),
        }
    }
}

/// A container's name has no slash (moby, `names.RestrictedNamePattern`), although `docker inspect`
/// prints it after one. Text with one is a compose project and service, and text with two is a
/// namespace, a pod and a container.
impl FromStr for ContainerMatch {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = plain(text);
        let text = text.strip_prefix('/').unwrap_or(text);
        match *text.splitn(3, '/').collect::<Vec<_>>() {
            [namespace, pod, container] => Ok(Self::Pod(Box::new([
                glob_of_names(namespace)?,
                glob_of_names(pod)?,
                glob_of_names(container)?,
            ]))),
            // Projects have lower-case names (compose-spec, "Project name").
            [project, service] => Ok(Self::Service {
                project: glob_of_names(&project.to_lowercase())?,
                service: glob_of_names(service)?,
            }),
            _ => Ok(Self::Name(glob_of_names(text)?)),
        }
    }
}

impl fmt::Display for ContainerMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(glob) => write!(f, "{glob}"),
            Self::Service { project, service } => write!(f, "{project}/{service}"),
            Self::Pod(globs) => {
                let [namespace, pod, container] = &**globs;
                write!(f, "{namespace}/{pod}/{container}")
            }
            Self::Label { key, value } => write!(f, "label {key}={value}"),
        }
    }
}

/// A glob of names that a container, a project or a service can have.
fn glob_of_names(text: &str) -> Result<Pattern, Invalid> {
    let in_names = |c: char| c.is_ascii_alphanumeric() || "_.-*?[]!".contains(c);
    match text.chars().find(|c| !in_names(*c)) {
        Some(other) => Err(Invalid(format!(
            "has {other:?}, which no name of a container has"
        ))),
        None => glob(text),
    }
}

/// udev gives hexadecimal ids in lower case and data sheets in upper: case is ignored.
fn matches_id(glob: &Pattern, text: &str) -> bool {
    let options = MatchOptions {
        case_sensitive: false,
        ..MatchOptions::default()
    };
    glob.matches_with(text, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aeotec() -> Device {
        let properties: [(&[u8], &[u8]); 10] = [
            (b"DEVPATH", b"/devices/usb1/1-1/1-1.2/ttyACM0/tty/ttyACM0"),
            (b"DEVNAME", b"/dev/ttyACM0"),
            (b"MAJOR", b"166"),
            (b"MINOR", b"0"),
            (b"ID_VENDOR_ID", b"0658"),
            (b"ID_MODEL_ID", b"0200"),
            (b"ID_PATH", b"platform-usb-0:1.2:1.0"),
            (b"ID_USB_INTERFACE_NUM", b"00"),
            (b"ID_USB_DRIVER", b"cdc_acm"),
            (
                b"DEVLINKS",
                b"/dev/serial/by-id/usb-0658_0200-if00 /dev/serial/by-path/platform-usb-0:1.2:1.0",
            ),
        ];
        Device::from_properties(properties, None, 20).unwrap()
    }

    #[test]
    fn a_device_matches_when_every_key_holds() {
        for (text, expected) in [
            ("vendor=0658", true),
            ("vendor=0658,product=0200", true),
            ("vendor=0658,product=0201", false),
            ("vendor=0x0658,product=\"200\"", true),
            ("\"vendor=0658, product=0200\"", true),
            ("serial=*", false),
            ("interface=00,driver=cdc_*,sysname=ttyACM?", true),
            ("by-id=usb-0658_*", true),
            ("by-id=/dev/serial/by-id/usb-0658_0200-if00", true),
            ("by-path=*:1.2:1.0", true),
            ("by-path=/dev/serial/by-path/platform-usb-0:1.2:1.0", true),
            ("by-path=usb-*", false),
            ("sysname=TTYacm[0-3]", true),
        ] {
            let selector: DeviceMatch = text.parse().unwrap();
            assert_eq!(selector.matches(&aeotec()), expected, "{text}");
        }
    }

    /// udev takes the ids of a PCI card from sysfs, with `0x`.
    #[test]
    fn the_ids_of_a_pci_card_match_with_and_without_their_prefix() {
        let mut card = aeotec();
        for (key, value) in [("ID_VENDOR_ID", "0x13a8"), ("ID_MODEL_ID", "0x0152")] {
            card.properties.insert(key.into(), value.into());
        }
        for (text, expected) in [
            ("vendor=0x13a8,product=0x0152", true),
            ("vendor=13a8,product=152", true),
            ("vendor=13A8,product=01*", true),
            ("vendor=13a9", false),
        ] {
            let selector: DeviceMatch = text.parse().unwrap();
            assert_eq!(selector.matches(&card), expected, "{text}");
        }
    }

    #[test]
    fn a_device_with_the_ignore_property_matches_nothing() {
        let mut device = aeotec();
        device
            .properties
            .insert("TTYPLUGD_IGNORE".into(), "1".into());
        let selector: DeviceMatch = "vendor=0658".parse().unwrap();
        assert!(!selector.matches(&device));
    }

    #[test]
    fn an_invalid_match_names_the_key_and_the_reason() {
        for (text, word) in [
            ("vendor", "KEY=GLOB"),
            ("vender=1", "vender"),
            ("serial=[", "glob"),
            ("vendor=", "empty"),
            ("vendor=1a86,product=7523,vendor=1a86", "twice"),
            ("", "KEY=GLOB"),
        ] {
            let error = text.parse::<DeviceMatch>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn containers_are_chosen_by_name_service_or_label() {
        let service = ("home".to_owned(), "zwave".to_owned());
        let labels = BTreeMap::from([("role".to_owned(), "zwave".to_owned())]);
        for (text, expected) in [
            ("zwave-js-ui", true),
            ("zwave-*", true),
            ("zwave", false),
            ("/zwave-js-ui", true),
            (" \"zwave-js-ui\" ", true),
            ("Home/zwave", true),
            ("home/zwave", true),
            ("home/*", true),
            ("*/mqtt", false),
        ] {
            let selector: ContainerMatch = text.parse().unwrap();
            let found = selector.matches("zwave-js-ui", Some(&service), &labels);
            assert_eq!(found, expected, "{text}");
        }
        for (text, expected) in [
            ("role=zwave", true),
            ("role = zwave", true),
            ("role=", false),
            ("x=zwave", false),
        ] {
            let selector = ContainerMatch::label(text).unwrap();
            assert_eq!(selector.matches("any", None, &labels), expected, "{text}");
        }
        assert!(ContainerMatch::label("role").is_err());
        for (text, expected) in [
            ("home/zigbee-0/zigbee2mqtt", true),
            ("home/zigbee-*/*", true),
            ("*/*/zigbee2mqtt", true),
            ("away/*/*", false),
            ("home/*/mqtt", false),
            ("*", false),
            ("home*", false),
            ("home/zigbee-0", false),
        ] {
            let selector: ContainerMatch = text.parse().unwrap();
            let found = selector.matches("home/zigbee-0/zigbee2mqtt", None, &labels);
            assert_eq!(found, expected, "{text}");
        }
        for text in ["[", "", "/", "zwave js", "a/b/c/d", "a//c", "a:b"] {
            assert!(text.parse::<ContainerMatch>().is_err(), "{text}");
        }
    }
}
