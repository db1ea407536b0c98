//! Which devices a container's device cgroup lets it open, and what is granted beyond it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::DevNum;

/// What a device may be opened for. To make a node of it is another matter, and not ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Access {
    pub read: bool,
    pub write: bool,
}

impl Access {
    pub const BOTH: Self = Self {
        read: true,
        write: true,
    };

    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    fn union(self, more: Self) -> Self {
        Self {
            read: self.read || more.read,
            write: self.write || more.write,
        }
    }

    pub fn without(self, less: Self) -> Self {
        Self {
            read: self.read && !less.read,
            write: self.write && !less.write,
        }
    }
}

/// The letters of a rule or of a `--device`.
impl From<&str> for Access {
    fn from(letters: &str) -> Self {
        Self {
            read: letters.contains('r'),
            write: letters.contains('w'),
        }
    }
}

impl From<String> for Access {
    fn from(letters: String) -> Self {
        letters.as_str().into()
    }
}

impl From<Access> for String {
    fn from(access: Access) -> Self {
        access.to_string()
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.read { "r" } else { "" })?;
        f.write_str(if self.write { "w" } else { "" })
    }
}

/// What a container's definition lets it open: `--privileged`, `--device` and device cgroup rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceRules {
    /// `--privileged`.
    pub everything: bool,
    /// `device_cgroup_rules`, e.g. `c 188:* rmw`.
    pub rules: Vec<String>,
    /// The numbers of its `--device` nodes.
    pub devices: Vec<(DevNum, Access)>,
    /// The numbers of its `--device` links. Docker follows them when the container is started; they
    /// may lead elsewhere since.
    pub linked: Vec<(DevNum, Access)>,
}

impl DeviceRules {
    /// Whether the container may open the device for reading and writing. One rule has to allow
    /// both: the kernel does not put two together (security/device_cgroup.c, `match_exception`).
    pub fn allow(&self, devnum: DevNum) -> bool {
        self.everything || self.matching(devnum).any(|access| access == Access::BOTH)
    }

    /// The access to a device that all rules together give.
    pub fn access(&self, devnum: DevNum) -> Access {
        match self.everything {
            true => Access::BOTH,
            false => self.matching(devnum).fold(Access::default(), Access::union),
        }
    }

    /// The same in a container that was started just now: its links lead where they led then.
    pub fn access_at_start(&self, devnum: DevNum) -> Access {
        self.at_start().access(devnum)
    }

    /// The rules of a container that was started just now, if its links led then where they lead now.
    pub fn at_start(&self) -> Self {
        let mut rules = self.clone();
        rules.devices.append(&mut rules.linked);
        rules
    }

    fn matching(&self, devnum: DevNum) -> impl Iterator<Item = Access> {
        let rules = self.rules.iter();
        let rules = rules.filter_map(move |rule| access_by_rule(rule, devnum));
        let devices = self.devices.iter().filter(move |(n, _)| *n == devnum);
        rules.chain(devices.map(|(_, access)| *access))
    }

    /// Adds the devices that were granted for ports.
    pub fn add(&mut self, grants: &Grants) {
        let granted = grants.keys().map(|devnum| (*devnum, Access::BOTH));
        self.devices.extend(granted);
    }

    /// The line of a compose file that allows every device of this major number.
    pub fn compose_line(devnum: DevNum) -> String {
        format!("device_cgroup_rules: [\"c {}:* rmw\"]", devnum.major)
    }
}

/// Access to one device, for reading and writing, that was granted for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The access that the container has without us. It is never revoked.
    pub defined: Access,
    #[serde(rename = "created")]
    pub origin: Origin,
    /// systemd knows of the grant, or does not manage the container's control group.
    #[serde(rename = "kept", default)]
    pub known_to_systemd: bool,
}

/// Who granted access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Origin {
    /// The runtime wrapper, when the container was created.
    Wrapper,
    /// The daemon, while the container runs.
    Daemon,
}

/// A file has `true` where the container was created with the access.
impl From<bool> for Origin {
    fn from(created: bool) -> Self {
        match created {
            true => Self::Wrapper,
            false => Self::Daemon,
        }
    }
}

impl From<Origin> for bool {
    fn from(origin: Origin) -> Self {
        origin == Origin::Wrapper
    }
}

impl Grant {
    /// A grant to a container that has no access of its own to the device, as far as is known.
    pub fn by(origin: Origin) -> Self {
        Self {
            defined: Access::default(),
            origin,
            known_to_systemd: false,
        }
    }

    /// The access that the container has by this grant alone.
    pub fn added(self) -> Access {
        Access::BOTH.without(self.defined)
    }
}

/// All grants of one start of a container. A revoked one stays until that start ends, since others
/// may put it in force again: the engine at `docker update`, systemd at a daemon-reload.
pub type Grants = BTreeMap<DevNum, Grant>;

/// A change of a container's access to one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessChange {
    Grant,
    /// Revokes what this grant added.
    Revoke(Grant),
}

pub type AccessChanges = BTreeMap<DevNum, AccessChange>;

/// The changes after which a container may open the devices that it wants, and no other that was
/// granted to it. A device that is on no record is not granted: nothing would ever revoke that.
pub fn access_changes(wanted: &BTreeSet<DevNum>, grants: &Grants) -> AccessChanges {
    let revoked = grants
        .iter()
        .map(|(devnum, grant)| (*devnum, AccessChange::Revoke(*grant)));
    let recorded = wanted.iter().filter(|devnum| grants.contains_key(devnum));
    let wanted = recorded.map(|devnum| (*devnum, AccessChange::Grant));
    // A later one of the same device takes the place of an earlier one.
    revoked.chain(wanted).collect()
}

/// A rule is `TYPE MAJOR:MINOR ACCESS`, with `*` for any number
/// (kernel, Documentation/admin-guide/cgroup-v1/devices.rst).
fn access_by_rule(rule: &str, devnum: DevNum) -> Option<Access> {
    let mut words = rule.split_whitespace();
    let kind = words.next()?;
    let (major, minor) = words.next()?.split_once(':')?;
    let access = words.next()?;
    let fits = |text: &str, number: u32| text == "*" || text.parse() == Ok(number);
    let is_it = matches!(kind, "c" | "a") && fits(major, devnum.major) && fits(minor, devnum.minor);
    is_it.then(|| access.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_a_device_when_kind_number_and_access_fit() {
        let devnum = DevNum {
            major: 188,
            minor: 3,
        };
        for (rule, expected) in [
            ("c 188:* rmw", true),
            ("c 188:3 rw", true),
            ("a *:* rwm", true),
            ("c 188:3 r", false),
            ("c 188:* m", false),
            ("b 188:* rmw", false),
            ("c 166:* rmw", false),
            ("c 188:4 rmw", false),
            ("c 188", false),
            ("", false),
        ] {
            let rules = DeviceRules {
                rules: vec![rule.into()],
                ..DeviceRules::default()
            };
            assert_eq!(rules.allow(devnum), expected, "{rule}");
        }
        let devices = DeviceRules {
            devices: vec![(devnum, Access::BOTH)],
            ..DeviceRules::default()
        };
        assert!(devices.allow(devnum));
        assert!(!DeviceRules::default().allow(devnum));
        assert_eq!(
            DeviceRules::compose_line(devnum),
            "device_cgroup_rules: [\"c 188:* rmw\"]"
        );
    }

    #[test]
    fn reading_and_writing_may_be_allowed_by_different_rules() {
        let devnum: DevNum = "188:3".parse().unwrap();
        let of = |rules: &[&str], device: &str| {
            let rules = DeviceRules {
                rules: rules.iter().map(|rule| (*rule).into()).collect(),
                devices: vec![(devnum, device.into())],
                ..DeviceRules::default()
            };
            assert_eq!(rules.access_at_start(devnum), rules.access(devnum));
            (rules.access(devnum).to_string(), rules.allow(devnum))
        };
        assert_eq!(of(&["c 188:* r"], ""), ("r".into(), false));
        assert_eq!(of(&["c 188:* m"], "w"), ("w".into(), false));
        assert_eq!(of(&["c 188:* m"], "m"), (String::new(), false));
        // Neither of them lets it be opened for both.
        assert_eq!(of(&["c 188:* r"], "w"), ("rw".into(), false));
        assert_eq!(of(&["c 188:3 wr"], ""), ("rw".into(), true));
        let linked = DeviceRules {
            linked: vec![(devnum, "rwm".into())],
            ..DeviceRules::default()
        };
        assert!(linked.access(devnum).is_none() && !linked.allow(devnum));
        assert_eq!(linked.access_at_start(devnum), Access::BOTH);
    }

    #[test]
    fn what_is_on_record_is_granted_or_revoked_down_to_what_is_defined() {
        let number = |minor| DevNum { major: 188, minor };
        let grant = |defined: &str| Grant {
            defined: defined.into(),
            ..Grant::by(Origin::Daemon)
        };
        let grants = [
            (number(0), grant("")),
            (number(1), grant("r")),
            (number(2), grant("")),
        ];
        // The last one was assigned since the grants were put on record.
        let wanted = [number(2), number(5)].into();
        assert_eq!(
            access_changes(&wanted, &grants.into()),
            [
                (number(0), AccessChange::Revoke(grant(""))),
                (number(1), AccessChange::Revoke(grant("r"))),
                (number(2), AccessChange::Grant),
            ]
            .into()
        );
        assert_eq!(grant("r").added().to_string(), "w");
        assert!(grant("rw").added().is_none());
    }
}
