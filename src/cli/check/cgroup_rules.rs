//! The rules of a container's device cgroup that are in effect, as far as they can be read.

use std::path::Path;

use super::kernel::{Majors, text};
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::model::inventory::{ContainerId, EngineName};
use crate::sys::cgroup::memberships;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CgroupRules {
    /// The rules of cgroup v1, e.g. `c 188:* rwm`.
    V1(Vec<String>),
    /// What systemd allows, e.g. `char-ttyUSB rwm`. Another BPF program of the same cgroup may still
    /// refuse it.
    Systemd(Vec<String>),
    /// The rules of cgroup v2 are a BPF program, which cannot be read.
    Unknown,
}

impl CgroupRules {
    /// Reads the rules of the container with this process, below a root directory.
    pub(super) fn read(root: &Path, pid: i64, id: &ContainerId) -> Self {
        let cgroup = text(root, &format!("proc/{pid}/cgroup"));
        let devices = memberships(&cgroup).find(|its| its.has_controller("devices"));
        let rules = devices.map(|its| {
            let file = format!("sys/fs/cgroup/devices{}/devices.list", its.path);
            text(root, &file)
        });
        if let Some(rules) = rules.filter(|rules| !rules.is_empty()) {
            return Self::V1(rules.lines().map(String::from).collect());
        }
        // systemd keeps the properties of a transient unit in a drop-in (systemd, src/core/unit.c,
        // unit_write_setting).
        let prefix = match id.engine == EngineName::PODMAN {
            true => "libpod",
            false => "docker",
        };
        let file = format!(
            "run/systemd/transient/{prefix}-{}.scope.d/50-DeviceAllow.conf",
            id.id
        );
        match text(root, &file) {
            text if text.is_empty() => Self::Unknown,
            text => Self::Systemd(device_allow(&text)),
        }
    }

    /// Whether a device may be opened for reading and writing; `None` if that is unknown.
    pub(super) fn allows(&self, devnum: DevNum, majors: &Majors) -> Option<bool> {
        match self {
            Self::V1(rules) => {
                let rules = DeviceRules {
                    rules: rules.clone(),
                    ..DeviceRules::default()
                };
                Some(rules.allow(devnum))
            }
            Self::Systemd(properties) => {
                let allows = |property: &String| property_allows(property, devnum, majors);
                Some(properties.iter().any(allows))
            }
            Self::Unknown => None,
        }
    }
}

/// The values of `DeviceAllow=`. An empty one resets the list (systemd.resource-control(5)).
fn device_allow(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    for line in text.lines() {
        match line.trim().strip_prefix("DeviceAllow=") {
            Some("") => values.clear(),
            Some(value) => values.push(value.to_owned()),
            None => {}
        }
    }
    values
}

/// A value is a path, or `char-` and the name of a driver in /proc/devices, followed by the access
/// (systemd.resource-control(5), DeviceAllow=). runc writes a rule for one device as
/// /dev/char/MAJOR:MINOR, and drops a rule for a major number that is not in /proc/devices (runc,
/// libcontainer/cgroups/systemd, generateDeviceProperties).
fn property_allows(value: &str, devnum: DevNum, majors: &Majors) -> bool {
    let (device, access) = value.rsplit_once(' ').unwrap_or((value, "rwm"));
    let is_driver = |name: &str| name == "*" || majors.any(devnum.major, |driver| driver == name);
    let matches = device == format!("/dev/char/{devnum}")
        || device.strip_prefix("char-").is_some_and(is_driver);
    matches && access.contains('r') && access.contains('w')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_read_as_systemd_reads_it() {
        let text = "[Scope]\nDeviceAllow=char-input rwm\nDeviceAllow=\nDeviceAllow=char-pts rwm\n\
                    DeviceAllow=char-* m\nDeviceAllow=/dev/char/188:3 rw\n";
        let rules = CgroupRules::Systemd(device_allow(text));
        let majors = Majors::default();
        let allows = |text: &str| rules.allows(text.parse().unwrap(), &majors);
        assert_eq!(allows("188:3"), Some(true));
        assert_eq!(allows("188:4"), Some(false));
    }
}
