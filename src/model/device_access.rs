//! The second gate: which devices a container's device cgroup lets it open. Pure.

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

    fn and(self, more: Self) -> Self {
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

/// What is known of a container's device rights from how it was created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// `--privileged`.
    pub everything: bool,
    /// `device_cgroup_rules`, e.g. `c 188:* rmw`.
    pub rules: Vec<String>,
    /// The numbers of its `--device` nodes.
    pub devices: Vec<(DevNum, Access)>,
    /// Where those lead that are links, which is what they gave when the container was started, and
    /// may be something else since.
    pub linked: Vec<(DevNum, Access)>,
}

impl Rights {
    /// Whether the container may open the device for reading and writing. One rule has to give
    /// both: the kernel does not put two together (security/device_cgroup.c, `match_exception`).
    pub fn allow(&self, devnum: DevNum) -> bool {
        self.everything || self.each(devnum).any(|access| access == Access::BOTH)
    }

    /// What the container may open the device for, in one way or another.
    pub fn of(&self, devnum: DevNum) -> Access {
        match self.everything {
            true => Access::BOTH,
            false => self.each(devnum).fold(Access::default(), Access::and),
        }
    }

    /// The same, in a container that was started just now.
    pub fn of_new(&self, devnum: DevNum) -> Access {
        let linked = self.linked.iter().filter(|(n, _)| *n == devnum);
        linked.fold(self.of(devnum), |access, (_, more)| access.and(*more))
    }

    fn each(&self, devnum: DevNum) -> impl Iterator<Item = Access> {
        let rules = self.rules.iter();
        let rules = rules.filter_map(move |rule| rule_gives(rule, devnum));
        let devices = self.devices.iter().filter(move |(n, _)| *n == devnum);
        rules.chain(devices.map(|(_, access)| *access))
    }

    /// Adds what was given for ports.
    pub fn add(&mut self, granted: &Granted) {
        let granted = granted.keys().map(|devnum| (*devnum, Access::BOTH));
        self.devices.extend(granted);
    }

    /// The line for a compose file that gives the right to every device of this major number.
    pub fn missing_line(devnum: DevNum) -> String {
        format!("device_cgroup_rules: [\"c {}:* rmw\"]", devnum.major)
    }
}

/// A right to open one device for reading and writing that was given for a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// What the container may do without it, and keeps.
    pub defined: Access,
    /// It was created with it, by the wrapper.
    pub created: bool,
    /// The service manager knows of it, or has no say in it.
    #[serde(default)]
    pub kept: bool,
}

impl Given {
    /// What is taken back when the port goes.
    pub fn ours(self) -> Access {
        Access::BOTH.without(self.defined)
    }
}

/// All that was given to a container in one of its starts. What was taken back stays among it until
/// that start ends, since others may put it in force again: the engine at `docker update`, the
/// service manager when it reads its units.
pub type Granted = BTreeMap<DevNum, Given>;

/// What is to be done about the right to open one device for reading and writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// To be given.
    Grant,
    /// To be taken back, as far as it is ours.
    Revoke(Given),
}

/// What is to be done about single devices, or has been.
pub type Changes = BTreeMap<DevNum, Change>;

/// What is to be done so that a container may open what it wants and nothing else that was given to
/// it for a port.
pub fn changes(wanted: &BTreeSet<DevNum>, granted: &Granted) -> Changes {
    let revoked = granted
        .iter()
        .map(|(devnum, given)| (*devnum, Change::Revoke(*given)));
    let wanted = wanted.iter().map(|devnum| (*devnum, Change::Grant));
    // A later one of the same device takes the place of an earlier one.
    revoked.chain(wanted).collect()
}

/// A rule is `TYPE MAJOR:MINOR ACCESS`, with `*` for any number
/// (kernel, Documentation/admin-guide/cgroup-v1/devices.rst).
fn rule_gives(rule: &str, devnum: DevNum) -> Option<Access> {
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
    fn a_rule_gives_the_right_when_kind_number_and_access_fit() {
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
            let rights = Rights {
                rules: vec![rule.into()],
                ..Rights::default()
            };
            assert_eq!(rights.allow(devnum), expected, "{rule}");
        }
        let devices = Rights {
            devices: vec![(devnum, Access::BOTH)],
            ..Rights::default()
        };
        assert!(devices.allow(devnum));
        assert!(!Rights::default().allow(devnum));
        assert_eq!(
            Rights::missing_line(devnum),
            "device_cgroup_rules: [\"c 188:* rmw\"]"
        );
    }

    #[test]
    fn what_is_the_operators_is_counted_by_its_letters() {
        let devnum: DevNum = "188:3".parse().unwrap();
        let of = |rules: &[&str], device: &str| {
            let rights = Rights {
                rules: rules.iter().map(|rule| (*rule).into()).collect(),
                devices: vec![(devnum, device.into())],
                ..Rights::default()
            };
            assert_eq!(rights.of_new(devnum), rights.of(devnum));
            (rights.of(devnum).to_string(), rights.allow(devnum))
        };
        assert_eq!(of(&["c 188:* r"], ""), ("r".into(), false));
        assert_eq!(of(&["c 188:* m"], "w"), ("w".into(), false));
        assert_eq!(of(&["c 188:* m"], "m"), (String::new(), false));
        // Neither of them lets it be opened for both.
        assert_eq!(of(&["c 188:* r"], "w"), ("rw".into(), false));
        assert_eq!(of(&["c 188:3 wr"], ""), ("rw".into(), true));
        let linked = Rights {
            linked: vec![(devnum, "rwm".into())],
            ..Rights::default()
        };
        assert!(linked.of(devnum).is_none() && !linked.allow(devnum));
        assert_eq!(linked.of_new(devnum), Access::BOTH);
    }

    #[test]
    fn what_was_given_goes_when_nobody_wants_it_and_what_is_the_operators_stays() {
        let number = |minor| DevNum { major: 188, minor };
        let given = |defined: &str| Given {
            defined: defined.into(),
            ..Given::default()
        };
        let granted = [
            (number(0), given("")),
            (number(1), given("r")),
            (number(2), given("")),
        ];
        let wanted = [number(2), number(5)].into();
        assert_eq!(
            changes(&wanted, &granted.into()),
            [
                (number(0), Change::Revoke(given(""))),
                (number(1), Change::Revoke(given("r"))),
                (number(2), Change::Grant),
                (number(5), Change::Grant),
            ]
            .into()
        );
        assert_eq!(given("r").ours().to_string(), "w");
        assert!(given("rw").ours().is_none());
    }
}
