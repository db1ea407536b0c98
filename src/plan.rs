//! What to do in one container: wanted × found × made by us → operations in their order. Pure.
//!
//! Which entries are ours is decided here and nowhere else. A path that a port is assigned is
//! ours, and so is what the record says we made; a name, a number and a kind that fit neither
//! are somebody else's and are reported, never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{DevNum, Mode, NodePath};

/// A port as it should be in the container, with its owner and group as the container's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub port: String,
    pub node: NodePath,
    pub devnum: DevNum,
    pub mode: Mode,
    pub uid: u32,
    pub gid: u32,
    pub links: Vec<NodePath>,
}

/// What is at a path in the container now, without following a link at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Node {
        devnum: DevNum,
        mode: Mode,
        uid: u32,
        gid: u32,
    },
    EmptyFile,
    Link {
        target: String,
    },
    /// Something that was mounted there; the number, where it is a character device.
    Mount(Option<DevNum>),
    /// Anything else, by the name of its kind.
    Other(&'static str),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Node {
                devnum,
                mode,
                uid,
                gid,
            } => write!(f, "a node {devnum} {uid}:{gid} {mode}"),
            Self::EmptyFile => f.write_str("an empty file"),
            Self::Link { target } => write!(f, "a link to {target:?}"),
            Self::Mount(Some(devnum)) => write!(f, "a mounted node {devnum}"),
            Self::Mount(None) => f.write_str("a mount"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// The container's side: what is at every path that is wanted or recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actual {
    pub entries: BTreeMap<NodePath, Found>,
    /// Temporary names of ours in those directories that a killed run has left.
    pub leftovers: BTreeSet<String>,
}

impl Actual {
    fn at(&self, path: &NodePath) -> &Found {
        self.entries.get(path).unwrap_or(&Found::Nothing)
    }
}

/// One thing that we made, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Made {
    Node(DevNum),
    Link(String),
}

impl Made {
    fn is(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Node(made), Found::Node { devnum, .. }) => made == devnum,
            (Self::Link(made), Found::Link { target }) => made == target,
            _ => false,
        }
    }
}

/// What we made in one container. A path that is about to be replaced has two entries, because
/// the record is written before the container is touched.
pub type Record = BTreeMap<NodePath, BTreeSet<Made>>;

/// One change in a container. `Display` is its line in `plan`, in the log and in golden files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Sweep {
        path: String,
    },
    RemoveLink {
        path: NodePath,
        target: String,
    },
    RemoveNode {
        path: NodePath,
        devnum: DevNum,
    },
    MakeNode {
        port: String,
        path: NodePath,
        devnum: DevNum,
        mode: Mode,
        uid: u32,
        gid: u32,
        replaces: Found,
    },
    MakeLink {
        path: NodePath,
        target: String,
        replaces: Found,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instead = |found: &Found| match found {
            Found::Nothing => String::new(),
            found => format!(" instead of {found}"),
        };
        match self {
            Self::Sweep { path } => write!(f, "sweep {path}"),
            Self::RemoveLink { path, target } => write!(f, "remove-link {path} -> {target}"),
            Self::RemoveNode { path, devnum } => write!(f, "remove-node {path} {devnum}"),
            Self::MakeNode {
                path,
                devnum,
                mode,
                uid,
                gid,
                replaces,
                ..
            } => write!(
                f,
                "make-node {path} {devnum} {uid}:{gid} {mode}{}",
                instead(replaces)
            ),
            Self::MakeLink {
                path,
                target,
                replaces,
            } => write!(f, "make-link {path} -> {target}{}", instead(replaces)),
        }
    }
}

/// Why a port cannot be given to a container, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    pub port: String,
    pub path: NodePath,
    pub cause: String,
    pub remedy: String,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocked {} ({}): {}", self.path, self.port, self.cause)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are to be done. What follows a failed one of the same port is
    /// skipped; see [`Op::begins_port`].
    pub ops: Vec<Op>,
    pub blocked: Vec<Blocked>,
    /// To be written before the first operation: all that is ours now or will be.
    pub record: Record,
}

impl Op {
    pub fn path(&self) -> &str {
        match self {
            Self::Sweep { path } => path,
            Self::RemoveLink { path, .. }
            | Self::RemoveNode { path, .. }
            | Self::MakeNode { path, .. }
            | Self::MakeLink { path, .. } => path.as_str(),
        }
    }

    /// Operations from here on do not depend on the ones before.
    pub fn begins_port(&self) -> bool {
        !matches!(self, Self::MakeLink { .. })
    }
}

/// Computes the operations that turn `actual` into what is wanted.
pub fn plan(wanted: &[Wanted], actual: &Actual, record: &Record) -> Plan {
    let mut plan = Plan::default();
    for path in &actual.leftovers {
        plan.ops.push(Op::Sweep { path: path.clone() });
    }
    plan.remove_what_nobody_wants(wanted, actual, record);
    for want in wanted {
        if plan.node(want, actual, record) {
            for link in &want.links {
                plan.link(want, link, actual, record);
            }
        }
    }
    plan
}

impl Plan {
    fn remove_what_nobody_wants(&mut self, wanted: &[Wanted], actual: &Actual, record: &Record) {
        let mut nodes = Vec::new();
        for (path, made) in record {
            let found = actual.at(path);
            let Some(ours) = made.iter().find(|made| made.is(found)) else {
                continue;
            };
            self.remember(path, ours.clone());
            if wanted
                .iter()
                .any(|want| want.node == *path || want.links.contains(path))
            {
                continue;
            }
            match ours {
                Made::Link(target) => self.ops.push(Op::RemoveLink {
                    path: path.clone(),
                    target: target.clone(),
                }),
                Made::Node(devnum) => nodes.push(Op::RemoveNode {
                    path: path.clone(),
                    devnum: *devnum,
                }),
            }
        }
        self.ops.append(&mut nodes);
    }

    /// Returns whether the node is there or will be, so that links to it make sense.
    fn node(&mut self, want: &Wanted, actual: &Actual, record: &Record) -> bool {
        let path = &want.node;
        let found = actual.at(path);
        let right = Found::Node {
            devnum: want.devnum,
            mode: want.mode,
            uid: want.uid,
            gid: want.gid,
        };
        if *found == Found::Mount(Some(want.devnum)) {
            return true;
        }
        if *found != right {
            if !may_replace(path, found, record) {
                self.block(want, path, found);
                return false;
            }
            self.ops.push(Op::MakeNode {
                port: want.port.clone(),
                path: path.clone(),
                devnum: want.devnum,
                mode: want.mode,
                uid: want.uid,
                gid: want.gid,
                replaces: found.clone(),
            });
        }
        self.remember(path, Made::Node(want.devnum));
        true
    }

    fn link(&mut self, want: &Wanted, path: &NodePath, actual: &Actual, record: &Record) {
        let found = actual.at(path);
        let target = path.relative_target(&want.node);
        let right = Found::Link {
            target: target.clone(),
        };
        if *found == Found::Mount(Some(want.devnum)) {
            return;
        }
        if *found != right {
            if !may_replace(path, found, record) {
                return self.block(want, path, found);
            }
            self.ops.push(Op::MakeLink {
                path: path.clone(),
                target: target.clone(),
                replaces: found.clone(),
            });
        }
        self.remember(path, Made::Link(target));
    }

    fn remember(&mut self, path: &NodePath, made: Made) {
        self.record.entry(path.clone()).or_default().insert(made);
    }

    fn block(&mut self, want: &Wanted, path: &NodePath, found: &Found) {
        let remedy = match found {
            Found::Mount(_) => "take the mount out of the container's definition".to_owned(),
            _ => format!("remove {path} in the container, or give the port another `node`"),
        };
        self.blocked.push(Blocked {
            port: want.port.clone(),
            path: path.clone(),
            cause: format!("{found} is in the way"),
            remedy,
        });
    }
}

/// At a path that is assigned to a port: a character device is an older node of the port, and an
/// empty file is what an application left that opened the missing port with O_CREAT. A link is
/// replaced only where we made it.
fn may_replace(path: &NodePath, found: &Found, record: &Record) -> bool {
    match found {
        Found::Nothing | Found::Node { .. } | Found::EmptyFile => true,
        Found::Link { .. } => record
            .get(path)
            .is_some_and(|made| made.iter().any(|made| made.is(found))),
        Found::Mount(_) | Found::Other(_) => false,
    }
}

/// What is left of the record once `actual` has been seen: entries that are there as we made them.
pub fn settled(record: &Record, actual: &Actual) -> Record {
    let mut settled = Record::new();
    for (path, made) in record {
        let found = actual.at(path);
        if let Some(ours) = made.iter().find(|made| made.is(found)) {
            settled.insert(path.clone(), BTreeSet::from([ours.clone()]));
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NODES: [&str; 3] = ["/dev/a", "/dev/b", "/dev/sub/c"];
    const LINKS: [&str; 3] = [
        "/dev/serial/by-id/x",
        "/dev/serial/by-id/y",
        "/dev/serial/by-path/z",
    ];

    fn path(text: &str) -> NodePath {
        text.parse().unwrap()
    }

    fn number(minor: u32) -> DevNum {
        DevNum { major: 188, minor }
    }

    /// Wanted lists as `assign` makes them: each path once, nodes before links.
    fn wanted() -> impl Strategy<Value = Vec<Wanted>> {
        let port = (
            0..4u32,
            prop_oneof![Just(0o660), Just(0o600)],
            0..2u32,
            any::<bool>(),
        );
        proptest::collection::vec(proptest::option::of(port), 3).prop_map(|ports| {
            let mut wanted = Vec::new();
            for (i, port) in ports.into_iter().enumerate() {
                let Some((minor, mode, gid, linked)) = port else {
                    continue;
                };
                wanted.push(Wanted {
                    port: format!("p{i}"),
                    node: path(NODES[i]),
                    devnum: number(minor),
                    mode: Mode(mode),
                    uid: 0,
                    gid,
                    links: linked.then(|| path(LINKS[i])).into_iter().collect(),
                });
            }
            wanted
        })
    }

    fn found() -> impl Strategy<Value = Found> {
        prop_oneof![
            4 => Just(Found::Nothing),
            3 => (0..4u32).prop_map(|minor| Found::Node {
                devnum: number(minor), mode: Mode(0o660), uid: 0, gid: 0,
            }),
            1 => Just(Found::EmptyFile),
            1 => prop_oneof!["../../a", "../../b", "elsewhere"].prop_map(|target| Found::Link { target }),
            1 => (0..4u32).prop_map(|minor| Found::Mount(Some(number(minor)))),
            1 => Just(Found::Mount(None)),
            1 => Just(Found::Other("a directory")),
        ]
    }

    fn actual() -> impl Strategy<Value = Actual> {
        proptest::collection::vec(found(), 6).prop_map(|found| Actual {
            entries: NODES
                .iter()
                .chain(&LINKS)
                .map(|p| path(p))
                .zip(found)
                .collect(),
            leftovers: BTreeSet::new(),
        })
    }

    /// A record may be of anything: of what is there, of what was there, of what never was.
    fn record() -> impl Strategy<Value = Record> {
        let made = prop_oneof![
            (0..4u32).prop_map(|minor| Made::Node(number(minor))),
            prop_oneof!["../../a", "../../b"].prop_map(Made::Link),
        ];
        let entry = proptest::collection::btree_set(made, 0..3);
        proptest::collection::vec(entry, 6).prop_map(|made| {
            NODES
                .iter()
                .chain(&LINKS)
                .map(|p| path(p))
                .zip(made)
                .collect()
        })
    }

    fn perform(actual: &mut Actual, op: &Op) {
        let (path, found) = match op {
            Op::Sweep { path } => {
                actual.leftovers.remove(path);
                return;
            }
            Op::RemoveLink { path, .. } | Op::RemoveNode { path, .. } => (path, Found::Nothing),
            Op::MakeNode {
                path,
                devnum,
                mode,
                uid,
                gid,
                ..
            } => (
                path,
                Found::Node {
                    devnum: *devnum,
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                },
            ),
            Op::MakeLink { path, target, .. } => (
                path,
                Found::Link {
                    target: target.clone(),
                },
            ),
        };
        actual.entries.insert(path.clone(), found);
    }

    /// Performs the operations of which `succeeds` says so, skipping what depends on a failed one.
    fn perform_some(actual: &mut Actual, plan: &Plan, mut succeeds: impl FnMut(usize) -> bool) {
        let mut failed = false;
        for (i, op) in plan.ops.iter().enumerate() {
            failed &= !op.begins_port();
            if !failed && succeeds(i) {
                perform(actual, op);
            } else {
                failed = true;
            }
        }
    }

    proptest! {
        #[test]
        fn a_plan_converges_and_then_there_is_nothing_left_to_do(
            wanted in wanted(), mut actual in actual(), record in record(),
        ) {
            let first = plan(&wanted, &actual, &record);
            perform_some(&mut actual, &first, |_| true);
            let second = plan(&wanted, &actual, &first.record);
            prop_assert_eq!(&second.ops, &vec![]);
            prop_assert_eq!(&second.blocked, &first.blocked);
            prop_assert_eq!(settled(&first.record, &actual), second.record);
        }

        #[test]
        fn stopping_anywhere_and_failing_anywhere_still_converges(
            wanted in wanted(), mut actual in actual(), record in record(),
            stop in 0..12usize, fail in proptest::collection::vec(any::<bool>(), 12),
        ) {
            let mut complete = actual.clone();
            let whole = plan(&wanted, &actual, &record);
            perform_some(&mut complete, &whole, |_| true);

            // The record is on disk before the first operation, whatever happens to the rest.
            perform_some(&mut actual, &whole, |i| i < stop && !fail.get(i).unwrap_or(&false));
            let again = plan(&wanted, &actual, &whole.record);
            perform_some(&mut actual, &again, |_| true);
            prop_assert_eq!(actual.entries, complete.entries);
        }

        #[test]
        fn only_what_is_assigned_or_recorded_is_ever_named(
            wanted in wanted(), actual in actual(), record in record(),
        ) {
            for op in plan(&wanted, &actual, &record).ops {
                match op {
                    Op::MakeNode { path, devnum, replaces, .. } => {
                        prop_assert!(wanted.iter().any(|w| w.node == path && w.devnum == devnum));
                        prop_assert!(!matches!(replaces, Found::Mount(_) | Found::Other(_)));
                    }
                    Op::MakeLink { path, replaces, .. } => {
                        prop_assert!(wanted.iter().any(|w| w.links.contains(&path)));
                        prop_assert!(!matches!(replaces, Found::Mount(_) | Found::Other(_)));
                    }
                    Op::RemoveNode { path, devnum } => {
                        prop_assert!(record[&path].contains(&Made::Node(devnum)));
                        let there = matches!(actual.at(&path), Found::Node { devnum: d, .. } if *d == devnum);
                        prop_assert!(there);
                    }
                    Op::RemoveLink { path, target } => {
                        prop_assert_eq!(actual.at(&path), &Found::Link { target: target.clone() });
                        prop_assert!(record[&path].contains(&Made::Link(target)));
                    }
                    Op::Sweep { .. } => prop_assert!(false, "nothing was left over"),
                }
            }
        }

        #[test]
        fn no_number_of_ours_stays_that_is_no_longer_assigned(
            before in wanted(), after in wanted(), stop in 0..12usize,
        ) {
            let mut actual = Actual::default();
            let first = plan(&before, &actual, &Record::new());
            perform_some(&mut actual, &first, |_| true);
            let second = plan(&after, &actual, &first.record);
            // Removals come before everything that is made.
            let removals = second.ops.iter().filter(|op| matches!(op, Op::RemoveNode { .. } | Op::RemoveLink { .. })).count();
            perform_some(&mut actual, &second, |i| i < stop.max(removals));
            let third = plan(&after, &actual, &second.record);
            perform_some(&mut actual, &third, |_| true);
            for (path, found) in &actual.entries {
                if let Found::Node { devnum, .. } = found {
                    prop_assert!(after.iter().any(|w| w.node == *path && w.devnum == *devnum));
                }
            }
        }

        #[test]
        fn the_order_of_the_ports_does_not_matter(
            wanted in wanted(), actual in actual(), record in record(),
        ) {
            let mut reversed = wanted.clone();
            reversed.reverse();
            let (mut a, mut b) = (actual.clone(), actual.clone());
            perform_some(&mut a, &plan(&wanted, &actual, &record), |_| true);
            perform_some(&mut b, &plan(&reversed, &actual, &record), |_| true);
            prop_assert_eq!(a.entries, b.entries);
        }
    }

    #[test]
    fn a_number_change_at_a_fixed_name_is_one_replacement() {
        let want = Wanted {
            port: "zwave".into(),
            node: path("/dev/zwave"),
            devnum: number(1),
            mode: Mode(0o660),
            uid: 0,
            gid: 20,
            links: vec![],
        };
        let old = Found::Node {
            devnum: number(0),
            mode: Mode(0o660),
            uid: 0,
            gid: 20,
        };
        let actual = Actual {
            entries: BTreeMap::from([(path("/dev/zwave"), old)]),
            leftovers: BTreeSet::from(["/dev/.ttyplugd.7".into()]),
        };
        let record = Record::from([(path("/dev/zwave"), BTreeSet::from([Made::Node(number(0))]))]);
        let plan = plan(&[want], &actual, &record);
        let lines: Vec<_> = plan.ops.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "sweep /dev/.ttyplugd.7",
                "make-node /dev/zwave 188:1 0:20 0660 instead of a node 188:0 0:20 0660",
            ]
        );
        // Both numbers are ours until the container has been seen again.
        assert_eq!(plan.record[&path("/dev/zwave")].len(), 2);
    }
}
