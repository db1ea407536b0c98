//! The serial devices of this machine, and how each of them is told from the others.

use std::collections::BTreeMap;

use crate::model::NodePath;
use crate::model::device::Device;
use crate::model::identity::{Identity, identity};
use crate::model::match_key::MatchKey;
use crate::model::selector::DeviceMatch;

/// The serial devices by sysname. All of them are needed to say whether one is unique.
pub(super) struct SerialDevices(pub(super) BTreeMap<String, Device>);

/// What a device says of itself, and which of its ports it is.
const OWN: [MatchKey; 4] = [
    MatchKey::Vendor,
    MatchKey::Product,
    MatchKey::Serial,
    MatchKey::Interface,
];

const BY_PLACE: [MatchKey; 1] = [MatchKey::ByPath];
const BY_NAME: [MatchKey; 1] = [MatchKey::Sysname];

impl SerialDevices {
    pub(super) fn new(devices: impl IntoIterator<Item = Device>) -> Self {
        let serial = devices.into_iter().filter(Device::is_serial);
        Self(serial.map(|d| (d.sysname.clone(), d)).collect())
    }

    /// The device with this name: the kernel's, or a path in /dev or /dev/serial, with the directory or
    /// without.
    ///
    /// # Errors
    /// No device has it, or several have, or a udev rule keeps it from containers.
    pub(super) fn named(&self, name: &str) -> Result<&Device, String> {
        let paths = ["", "/dev/", "/dev/serial/"].map(|directory| format!("{directory}{name}"));
        let is_its = |path: &NodePath| paths.iter().any(|its| its == path.as_str());
        let has_it = |device: &&Device| is_its(&device.node) || device.links.iter().any(is_its);
        let found: Vec<_> = self.0.values().filter(has_it).collect();
        match found.as_slice() {
            [device] if device.is_ignored() => Err(format!(
                "{name} is excluded by a udev rule (TTYPLUGD_IGNORE)"
            )),
            [device] => Ok(device),
            [] => Err(format!(
                "no serial device {name} is plugged in; see ttyplugd ports"
            )),
            several => {
                let nodes: Vec<_> = several.iter().map(|device| device.node.as_str()).collect();
                Err(format!(
                    "{name} is a link of {}: choose one of them",
                    nodes.join(" and ")
                ))
            }
        }
    }

    pub(super) fn identity(&self, device: &Device) -> Identity {
        identity(device, &self.0)
    }

    /// A match of this device alone, even after another of its kind is plugged in.
    pub(super) fn unique_match(&self, device: &Device) -> Option<DeviceMatch> {
        let candidates: &[&[MatchKey]] = match self.identity(device) {
            // Ports on one interface differ in nothing but their names.
            Identity::Serial => &[&OWN, &[MatchKey::ById], &BY_PLACE, &BY_NAME],
            _ => &[&BY_PLACE, &BY_NAME],
        };
        let mut candidates = candidates.iter();
        candidates.find_map(|keys| self.match_by(device, keys))
    }

    /// A match of every device of its kind; `None` if more than one is plugged in.
    pub(super) fn match_of_its_kind(&self, device: &Device) -> Option<DeviceMatch> {
        self.match_by(device, &OWN)
    }

    /// A match by the device's values of these keys, if no other device fits it. A value that is
    /// written in quotation marks or blanks is read as another one.
    fn match_by(&self, device: &Device, keys: &[MatchKey]) -> Option<DeviceMatch> {
        let pairs = pairs(device, keys);
        let pairs = pairs.iter().map(|(key, value)| (*key, value.as_str()));
        let found = DeviceMatch::new(pairs).ok()?;
        let fits = |other: &Device| other.sysname == device.sysname || !found.matches(other);
        let is_it = device.is_ignored() || found.matches(device);
        (is_it && self.0.values().all(fits)).then_some(found)
    }
}

/// The device's values of these keys, as globs without wildcards.
fn pairs(device: &Device, keys: &[MatchKey]) -> Vec<(&'static str, String)> {
    let pair = |key: &MatchKey| {
        let value = device.values(*key).first().copied()?;
        Some((key.name(), glob::Pattern::escape(value)))
    };
    keys.iter().filter_map(pair).collect()
}

pub(super) fn description(device: &Device) -> String {
    let word = |database, own| device.property(database).or(device.property(own));
    let words = [
        word("ID_VENDOR_FROM_DATABASE", "ID_VENDOR"),
        word("ID_MODEL_FROM_DATABASE", "ID_MODEL"),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
