//! What to do in one container: wanted × found × made by us → operations in their order. Pure.
//!
//! Which entries are ours is decided here and nowhere else. A path that a port is assigned is
//! ours, and so is what the record says we made; a name, a number and a kind that fit neither
//! are somebody else's and are reported, never touched.
//!
//! Imports: `model`, `config`, `hold`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{DevNum, Mode, NodePath};

pub mod assign;
pub mod passwd;

/// A port as it should be in the container, with its owner and group as the container's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPort {
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
    /// The container's users are other users on the host. A node on its own /dev could not be
    /// opened, so that nodes are bound there.
    pub remapped: bool,
}

impl Actual {
    /// Whether a node with this number is there, made or mounted.
    pub fn has(&self, path: &NodePath, devnum: DevNum) -> bool {
        let there = self.at(path);
        Made::Node(devnum).is(there) || Made::Bound(devnum).is(there)
    }

    /// What a port's node is in such a container.
    fn node(&self, devnum: DevNum) -> Made {
        match self.remapped {
            true => Made::Bound(devnum),
            false => Made::Node(devnum),
        }
    }

    fn at(&self, path: &NodePath) -> &Found {
        self.entries.get(path).unwrap_or(&Found::Nothing)
    }
}

/// One thing that we made, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Made {
    Node(DevNum),
    /// A node of ours that is mounted there.
    Bound(DevNum),
    Link(String),
}

impl Made {
    /// Whether what was found is what was made.
    pub fn is(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Node(made), Found::Node { devnum, .. })
            | (Self::Bound(made), Found::Mount(Some(devnum))) => made == devnum,
            (Self::Link(made), Found::Link { target }) => made == target,
            _ => false,
        }
    }

    /// Whether what was found is of its making: the thing itself, or the empty file below a mount,
    /// which is all that is there when the daemon was killed between the two.
    pub fn left(&self, found: &Found) -> bool {
        let is_below = matches!((self, found), (Self::Bound(_), Found::EmptyFile));
        self.is(found) || is_below
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
        bound: bool,
    },
    MakeNode {
        port: String,
        path: NodePath,
        devnum: DevNum,
        mode: Mode,
        uid: u32,
        gid: u32,
        /// To be bound, since one that was made there could not be opened.
        bind: bool,
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
            Self::RemoveNode {
                path,
                devnum,
                bound,
            } => {
                let word = if *bound { "unbind" } else { "remove" };
                write!(f, "{word}-node {path} {devnum}")
            }
            Self::MakeNode {
                path,
                devnum,
                mode,
                uid,
                gid,
                bind,
                replaces,
                ..
            } => write!(
                f,
                "{}-node {path} {devnum} {uid}:{gid} {mode}{}",
                if *bind { "bind" } else { "make" },
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
    pub fix: String,
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

/// Computes the operations that turn `actual` into what is wanted. What is in `keep` may stay as
/// it is, though it is not known how it should be.
pub fn plan(wanted: &[ResolvedPort], keep: &Record, actual: &Actual, record: &Record) -> Plan {
    let mut plan = Plan::default();
    for path in &actual.leftovers {
        plan.ops.push(Op::Sweep { path: path.clone() });
    }
    plan.remove_what_nobody_wants(wanted, keep, actual, record);
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
    fn remove_what_nobody_wants(
        &mut self,
        wanted: &[ResolvedPort],
        keep: &Record,
        actual: &Actual,
        record: &Record,
    ) {
        let mut nodes = Vec::new();
        for (path, made) in record {
            let found = actual.at(path);
            let Some(ours) = made.iter().find(|made| made.left(found)) else {
                continue;
            };
            self.remember(path, ours.clone());
            if keep.get(path).is_some_and(|kept| kept.contains(ours)) {
                continue;
            }
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
                Made::Node(devnum) | Made::Bound(devnum) => nodes.push(Op::RemoveNode {
                    path: path.clone(),
                    devnum: *devnum,
                    bound: matches!(ours, Made::Bound(_)),
                }),
            }
        }
        self.ops.append(&mut nodes);
    }

    /// Returns whether the node is there or will be, so that links to it make sense.
    fn node(&mut self, want: &ResolvedPort, actual: &Actual, record: &Record) -> bool {
        let path = &want.node;
        let found = actual.at(path);
        let right = Found::Node {
            devnum: want.devnum,
            mode: want.mode,
            uid: want.uid,
            gid: want.gid,
        };
        if *found == Found::Mount(Some(want.devnum)) {
            // Not every one is ours: `--device` of a container with remapped users is a mount too.
            let bound = Made::Bound(want.devnum);
            if record.get(path).is_some_and(|made| made.contains(&bound)) {
                self.remember(path, bound);
            }
            return true;
        }
        if actual.remapped || *found != right {
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
                bind: actual.remapped,
                replaces: found.clone(),
            });
        }
        self.remember(path, actual.node(want.devnum));
        true
    }

    fn link(&mut self, want: &ResolvedPort, path: &NodePath, actual: &Actual, record: &Record) {
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

    fn block(&mut self, want: &ResolvedPort, path: &NodePath, found: &Found) {
        let fix = match found {
            Found::Mount(_) => "take the mount out of the container's definition".to_owned(),
            _ => format!("remove {path} in the container, or give the port another `node`"),
        };
        self.blocked.push(Blocked {
            port: want.port.clone(),
            path: path.clone(),
            cause: format!("{found} is in the way"),
            fix,
        });
    }
}

/// At a path that is assigned to a port: a character device is an older node of the port, and an
/// empty file is what an application left that opened the missing port with O_CREAT. A link or a
/// mount is replaced only where we made it.
fn may_replace(path: &NodePath, found: &Found, record: &Record) -> bool {
    match found {
        Found::Nothing | Found::Node { .. } | Found::EmptyFile => true,
        Found::Link { .. } | Found::Mount(Some(_)) => record
            .get(path)
            .is_some_and(|made| made.iter().any(|made| made.is(found))),
        Found::Mount(None) | Found::Other(_) => false,
    }
}

/// Everything that is in one of the two.
pub fn merged(mut record: Record, more: Record) -> Record {
    for (path, made) in more {
        record.entry(path).or_default().extend(made);
    }
    record
}

/// What is left of the record once `actual` has been seen: entries of which something is there.
pub fn pruned(record: &Record, actual: &Actual) -> Record {
    let mut settled = Record::new();
    for (path, made) in record {
        let found = actual.at(path);
        if let Some(ours) = made.iter().find(|made| made.left(found)) {
            settled.insert(path.clone(), BTreeSet::from([ours.clone()]));
        }
    }
    settled
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
