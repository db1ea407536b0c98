//! What a container's device cgroup lets it open in fact, as far as that can be read.

use std::path::Path;

use super::kernel::{Majors, text};
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::model::inventory::ContainerId;

/// What is in force for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InForce {
    /// cgroup v1 shows its rules, e.g. `c 188:* rwm`.
    Rules(Vec<String>),
    /// systemd keeps what it was told to allow, e.g. `char-ttyUSB rwm`. Each of them is needed, and
    /// more than that may be.
    Properties(Vec<String>),
    /// The rules of cgroup v2 are a program in the kernel.
    Unknown,
}

impl InForce {
    /// Reads it for the container with this process, below a root directory.
    pub(super) fn read(root: &Path, pid: i64, id: &ContainerId) -> Self {
        let cgroup = text(root, &format!("proc/{pid}/cgroup"));
        let rules = v1_path(&cgroup).map(|path| {
            let file = format!("sys/fs/cgroup/devices{path}/devices.list");
            text(root, &file)
        });
        if let Some(rules) = rules.filter(|rules| !rules.is_empty()) {
            return Self::Rules(rules.lines().map(String::from).collect());
        }
        // What a program sets for a transient unit is kept in a drop-in of it (systemd,
        // src/core/unit.c, unit_write_setting).
        let file = format!(
            "run/systemd/transient/docker-{}.scope.d/50-DeviceAllow.conf",
            id.0
        );
        match text(root, &file) {
            text if text.is_empty() => Self::Unknown,
            text => Self::Properties(properties(&text)),
        }
    }

    /// Whether a device may be opened for reading and writing; `None` where nobody knows.
    pub(super) fn allows(&self, devnum: DevNum, majors: &Majors) -> Option<bool> {
        match self {
            Self::Rules(rules) => {
                let rights = DeviceRules {
                    rules: rules.clone(),
                    ..DeviceRules::default()
                };
                Some(rights.allow(devnum))
            }
            Self::Properties(properties) => {
                let allows = |property: &String| property_allows(property, devnum, majors);
                Some(properties.iter().any(allows))
            }
            Self::Unknown => None,
        }
    }
}

/// The path of a process in the v1 hierarchy of the devices controller (cgroups(7),
/// /proc/PID/cgroup).
fn v1_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let controllers = fields.nth(1)?;
        let path = fields.next()?;
        controllers
            .split(',')
            .any(|c| c == "devices")
            .then_some(path)
    })
}

/// The values of `DeviceAllow=`; an empty one takes back those before it
/// (systemd.resource-control(5)).
fn properties(text: &str) -> Vec<String> {
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

/// A value is the path of a node, or `char-` and the name of a driver in /proc/devices, and what
/// may be done with it (systemd.resource-control(5), DeviceAllow=). runc writes a rule for one
/// device as /dev/char/MAJOR:MINOR, and leaves one for a major number that /proc/devices lacks out
/// (runc, libcontainer/cgroups/systemd, generateDeviceProperties).
fn property_allows(value: &str, devnum: DevNum, majors: &Majors) -> bool {
    let (what, access) = value.rsplit_once(' ').unwrap_or((value, "rwm"));
    let named = |driver: &str| driver == "*" || majors.any(devnum.major, |name| name == driver);
    let fits =
        what == format!("/dev/char/{devnum}") || what.strip_prefix("char-").is_some_and(named);
    fits && access.contains('r') && access.contains('w')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_read_as_systemd_reads_it() {
        let text = "[Scope]\nDeviceAllow=char-input rwm\nDeviceAllow=\nDeviceAllow=char-pts rwm\n\
                    DeviceAllow=char-* m\nDeviceAllow=/dev/char/188:3 rw\n";
        let properties = InForce::Properties(properties(text));
        let majors = Majors::default();
        let allows = |text: &str| properties.allows(text.parse().unwrap(), &majors);
        assert_eq!(allows("188:3"), Some(true));
        assert_eq!(allows("188:4"), Some(false));
    }

    #[test]
    fn a_process_has_its_path_in_the_devices_controller() {
        let both = "9:cpu,cpuacct:/a\n4:misc,devices:/docker/x:y\n0::/z\n";
        assert_eq!(v1_path(both), Some("/docker/x:y"));
        assert_eq!(v1_path("0::/system.slice/docker-x.scope\n"), None);
    }
}
