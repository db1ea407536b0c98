//! The second gate: which devices a container's device cgroup lets it open. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::DevNum;

/// What is known of a container's device rights from how it was created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// `--privileged`.
    pub everything: bool,
    /// `device_cgroup_rules`, e.g. `c 188:* rmw`.
    pub rules: Vec<String>,
    /// The numbers of its `--device` nodes.
    pub devices: Vec<DevNum>,
}

impl Rights {
    /// Whether the container may open the device for reading and writing.
    pub fn allow(&self, devnum: DevNum) -> bool {
        self.everything
            || self.devices.contains(&devnum)
            || self
                .rules
                .iter()
                .any(|rule| rule_allows(rule, devnum) == Some(true))
    }

    /// Adds what was given for ports.
    pub fn add(&mut self, granted: Granted) {
        self.devices.extend(granted.running);
        self.devices.extend(granted.created);
    }

    /// The line for a compose file that gives the right to every device of this major number.
    pub fn missing_line(devnum: DevNum) -> String {
        format!("device_cgroup_rules: [\"c {}:* rmw\"]", devnum.major)
    }
}

/// What is to be done about the right to open one device for reading and writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// To be given.
    Grant,
    /// To be taken back.
    Revoke,
}

/// The rights that were given for ports, and not by the container's definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    /// To the running container.
    pub running: BTreeSet<DevNum>,
    /// By the wrapper, when the container was created.
    pub created: BTreeSet<DevNum>,
}

/// What is to be done so that a container may open what it wants and nothing else that was given to
/// it for a port. What its definition gives is the operator's, and is not taken back. To give what
/// it gives as well changes nothing, and mends what was taken back while the definition did not
/// give it: the number of a `--device` is known only while the device is there.
pub fn changes(
    wanted: &BTreeSet<DevNum>,
    granted: &Granted,
    definition: &Rights,
) -> BTreeMap<DevNum, Change> {
    if definition.everything {
        return BTreeMap::new();
    }
    let given = granted.running.iter().chain(&granted.created);
    let given = given.filter(|n| !definition.allow(**n));
    let given = given.map(|n| (*n, Change::Revoke));
    let wanted = wanted.iter().map(|n| (*n, Change::Grant));
    // A later one of the same device takes the place of an earlier one.
    given.chain(wanted).collect()
}

/// A rule is `TYPE MAJOR:MINOR ACCESS`, with `*` for any number
/// (kernel, Documentation/admin-guide/cgroup-v1/devices.rst).
fn rule_allows(rule: &str, devnum: DevNum) -> Option<bool> {
    let mut words = rule.split_whitespace();
    let kind = words.next()?;
    let (major, minor) = words.next()?.split_once(':')?;
    let access = words.next()?;
    let fits = |text: &str, number: u32| text == "*" || text.parse() == Ok(number);
    Some(
        matches!(kind, "c" | "a")
            && fits(major, devnum.major)
            && fits(minor, devnum.minor)
            && access.contains('r')
            && access.contains('w'),
    )
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
            devices: vec![devnum],
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
    fn what_was_given_goes_when_nobody_wants_it_and_what_is_the_operators_stays() {
        let number = |minor| DevNum { major: 188, minor };
        let granted = Granted {
            running: [number(0), number(1), number(2)].into(),
            created: [number(2), number(3)].into(),
        };
        let definition = Rights {
            rules: vec!["c 188:1 rw".into(), "c 188:4 rw".into()],
            ..Rights::default()
        };
        let wanted = [number(2), number(4), number(5)].into();
        assert_eq!(
            changes(&wanted, &granted, &definition),
            [
                (number(0), Change::Revoke),
                (number(2), Change::Grant),
                (number(3), Change::Revoke),
                (number(4), Change::Grant),
                (number(5), Change::Grant),
            ]
            .into()
        );
    }
}
