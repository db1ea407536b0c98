//! Whether a process may open a node, by owner, group and mode. Pure.

use std::collections::BTreeSet;

use crate::model::Mode;

/// The identity of a process in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) uid: u32,
    /// Its primary group and its supplementary groups.
    pub(super) groups: BTreeSet<u32>,
    /// It has the capability DAC_OVERRIDE, which bypasses modes (capabilities(7)).
    bypasses_modes: bool,
}

/// Its bit in a set of capabilities (linux/capability.h).
const DAC_OVERRIDE: u64 = 1 << 1;

impl Credentials {
    /// Parses /proc/PID/status. The fourth numbers of Uid and Gid are the file system IDs
    /// (proc(5), /proc/PID/status; credentials(7)).
    pub(super) fn parse(status: &str) -> Option<Self> {
        let line = |key: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        };
        let fourth = |key| line(key)?.split_whitespace().nth(3)?.parse().ok();
        let supplementary = line("Groups")?.split_whitespace();
        let groups = supplementary.filter_map(|group| group.parse().ok());
        let capabilities = u64::from_str_radix(line("CapEff")?.trim(), 16).ok()?;
        Some(Self {
            uid: fourth("Uid")?,
            groups: groups.chain([fourth("Gid")?]).collect(),
            bypasses_modes: capabilities & DAC_OVERRIDE != 0,
        })
    }

    /// Whether it may open a node of this owner, group and mode for reading and writing. The first
    /// class that applies decides: owner, group, others (path_resolution(7), "Permissions").
    pub(super) fn may_open(&self, uid: u32, gid: u32, mode: Mode) -> bool {
        let shift = if self.uid == uid {
            6
        } else if self.groups.contains(&gid) {
            3
        } else {
            0
        };
        self.bypasses_modes || (mode.0 >> shift) & 0o6 == 0o6
    }
}

/// The name of a group in the text of a group(5) file.
pub(super) fn group_name(gid: u32, text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uid: u32, gid: u32, groups: &str, capabilities: &str) -> Credentials {
        let text = format!(
            "Name:\tnode\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\n\
             Groups:\t{groups} \nCapEff:\t{capabilities}\n"
        );
        Credentials::parse(&text).unwrap()
    }

    #[test]
    fn the_first_class_that_applies_decides() {
        let none = "0000000000000000";
        let root = status(0, 0, "", "00000000a80425fb");
        let stripped = status(0, 0, "0 10", none);
        let app = status(1000, 1000, "1000", none);
        let member = status(1000, 1000, "20 1000", none);
        for (who, uid, gid, mode, expected) in [
            (&root, 1000, 20, 0o600, true),
            (&stripped, 0, 20, 0o660, true),
            (&stripped, 5, 20, 0o660, false),
            (&app, 0, 20, 0o660, false),
            (&app, 0, 20, 0o666, true),
            (&app, 1000, 20, 0o600, true),
            (&app, 0, 1000, 0o660, true),
            (&member, 0, 20, 0o660, true),
            (&member, 0, 20, 0o640, false),
            (&member, 0, 20, 0o606, false),
        ] {
            assert_eq!(
                who.may_open(uid, gid, Mode(mode)),
                expected,
                "{who:?} {mode:o}"
            );
        }
        assert_eq!(Credentials::parse("Name:\tx\n"), None);
    }

    #[test]
    fn a_group_is_found_by_its_number() {
        let text = "root:x:0:\nbroken\ndialout:x:77:app\n";
        assert_eq!(group_name(77, text), Some("dialout"));
        assert_eq!(group_name(20, text), None);
    }
}
