//! What to do in one container: wanted × found × made by us → operations in their order. Pure.
//!
//! Which entries are ours is decided here and nowhere else: the paths of the container's ports, and
//! what the record says that we made. An entry of another name, number or kind belongs to somebody
//! else; it is reported and left alone.
//!
//! Imports: `model`, `config`, `hold`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::problem::{Failure, Problem};
use crate::model::{DevNum, Invalid, Mode, NodePath, Permissions};

pub mod assign;
pub mod last_devices;
pub mod passwd;

/// A port as it should be in a container, with owner and group as the container's own numbers.
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

impl ResolvedPort {
    fn permissions(&self) -> Permissions {
        Permissions {
            uid: self.uid,
            gid: self.gid,
            mode: self.mode,
        }
    }
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
    /// A mount; its number where it is a character device.
    Mount(Option<DevNum>),
    /// Anything, in a directory that is not ours.
    Forbidden(Forbidden),
    /// Anything else, by the name of its kind.
    Other(&'static str),
}

/// A directory in which ttyplugd may neither make nor remove anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{directory} {reason}: ttyplugd never writes there")]
pub struct Forbidden {
    pub directory: String,
    /// E.g. `is the host's own /dev`.
    pub reason: String,
    /// Whether it may become one of ours while the container runs.
    pub may_pass: bool,
}

impl Found {
    /// Those of a node.
    pub fn permissions(&self) -> Option<Permissions> {
        match *self {
            Self::Node { mode, uid, gid, .. } => Some(Permissions { uid, gid, mode }),
            _ => None,
        }
    }
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
            Self::Forbidden(forbidden) => forbidden.fmt(f),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// The options of a mount that keep a port away (mount(8)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mounted {
    pub nodev: bool,
    pub read_only: bool,
}

/// What is at every path that is wanted or recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actual {
    pub entries: BTreeMap<NodePath, Found>,
    /// The device that an open of each path reaches, through links too, as far as its mounts decide.
    pub devices: BTreeMap<NodePath, DevNum>,
    /// How the directories are mounted in which ttyplugd may write.
    pub mounted: BTreeMap<String, Mounted>,
    /// Temporary names of ours that a killed daemon has left in their directories.
    pub leftovers: BTreeSet<String>,
    /// The container has a user namespace of its own. It cannot open a node on its own /dev, so
    /// nodes are bind-mounted there.
    pub remapped: bool,
}

impl Actual {
    /// Whether an open of a path reaches a device.
    pub fn opens(&self, path: &NodePath, devnum: DevNum) -> bool {
        self.devices.get(path) == Some(&devnum)
    }

    /// How a port's node is made in this container.
    fn node(&self, want: &ResolvedPort) -> Made {
        match self.remapped {
            true => Made::Bound(want.devnum),
            false => Made::node(want.devnum, Some(want.permissions())),
        }
    }

    fn mounted(&self, path: &NodePath) -> Mounted {
        let mounted = self.mounted.get(path.directory());
        mounted.copied().unwrap_or_default()
    }

    pub fn at(&self, path: &NodePath) -> &Found {
        self.entries.get(path).unwrap_or(&Found::Nothing)
    }
}

/// An entry of a container's /dev that we made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Made {
    Node(MadeNode),
    /// A bind mount of a node.
    Bound(DevNum),
    Link(String),
}

/// A node that we made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MadeNode {
    pub devnum: DevNum,
    /// As it was made; `None` where that is not known. The container may have changed it since.
    pub set: Option<Permissions>,
}

/// An entry as a file has it: `{ "node": "188:0", "set": "0:20 0660" }`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<DevNum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<DevNum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Permissions>,
}

impl From<Made> for Written {
    fn from(made: Made) -> Self {
        let mut written = Self::default();
        match made {
            Made::Node(MadeNode { devnum, set }) => {
                (written.node, written.set) = (Some(devnum), set);
            }
            Made::Bound(devnum) => written.bound = Some(devnum),
            Made::Link(target) => written.link = Some(target),
        }
        written
    }
}

impl TryFrom<Written> for Made {
    type Error = Invalid;

    fn try_from(written: Written) -> Result<Self, Invalid> {
        let node = written.node.map(|devnum| Self::node(devnum, written.set));
        let bound = written.bound.map(Self::Bound);
        let made = node.or(bound).or(written.link.map(Self::Link));
        made.ok_or_else(|| Invalid("is neither a node nor a link".to_owned()))
    }
}

impl Made {
    pub fn node(devnum: DevNum, set: Option<Permissions>) -> Self {
        Self::Node(MadeNode { devnum, set })
    }

    /// Whether it is the same entry, whatever its permissions.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Node(made), Self::Node(other)) => made.devnum == other.devnum,
            _ => self == other,
        }
    }

    /// Whether what was found is what was made.
    pub fn is(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Node(made), Found::Node { devnum, .. }) => made.devnum == *devnum,
            (Self::Bound(made), Found::Mount(Some(devnum))) => made == devnum,
            (Self::Link(made), Found::Link { target }) => made == target,
            _ => false,
        }
    }

    /// Whether what was found may be left of it: the entry itself, or the empty file below a mount,
    /// where the daemon was killed before it mounted the node.
    pub fn left(&self, found: &Found) -> bool {
        let is_below = matches!((self, found), (Self::Bound(_), Found::EmptyFile));
        // What a privileged container has mounted over it is there until that is unmounted.
        self.is(found) || is_below || matches!(found, Found::Forbidden(_))
    }
}

/// What we made in one container. A path that is about to be replaced has two entries: the record is
/// written before the container is changed.
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
        /// Bind-mount the node: one that was made there could not be opened.
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

/// Why a node or a link of a port cannot be made in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    pub port: String,
    /// The port's node, which may be at this path.
    pub node: NodePath,
    pub path: NodePath,
    pub by: Obstacle,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    InTheWay(Found),
    Forbidden(Forbidden),
    /// No node can be opened there.
    Nodev,
    /// Nothing can be made there.
    ReadOnly,
}

impl Blocked {
    pub fn cause(&self) -> String {
        match &self.by {
            Obstacle::InTheWay(found) => format!("{found} is in the way"),
            Obstacle::Forbidden(forbidden) => {
                format!("{forbidden}, and the path does not lead to the port")
            }
            Obstacle::Nodev => {
                "no device can be opened there, since it is mounted with nodev".to_owned()
            }
            Obstacle::ReadOnly => {
                "its directory is on a read-only mount (Read-only file system)".to_owned()
            }
        }
    }

    /// What the operator can do about it.
    pub fn fix(&self) -> String {
        let (node, path, directory) = (&self.node, &self.path, self.path.directory());
        match &self.by {
            Obstacle::InTheWay(Found::Mount(_)) => {
                "take the mount out of the container's definition".to_owned()
            }
            Obstacle::InTheWay(_) => {
                format!("remove {path} in the container, or give the port another `node`")
            }
            Obstacle::Forbidden(_) if node == path => format!(
                "give the port a `node` that is there, or mount nothing of the host at {directory}"
            ),
            Obstacle::Forbidden(_) => {
                format!("open the port as {node}, or mount nothing of the host at {directory}")
            }
            Obstacle::Nodev => format!(
                "mount it with dev, e.g. --tmpfs {directory}:dev, or give the port another `node`"
            ),
            Obstacle::ReadOnly => format!("mount a writable tmpfs at {directory}, or none"),
        }
    }

    pub fn problem(&self) -> Problem {
        let (failure, retry) = match &self.by {
            Obstacle::InTheWay(_) | Obstacle::Nodev => (Failure::InTheWay, false),
            Obstacle::ReadOnly => (Failure::InTheWay, true),
            Obstacle::Forbidden(forbidden) => (Failure::HostDev, forbidden.may_pass),
        };
        Problem {
            failure,
            port: Some(self.port.clone()),
            cause: format!("{}: {}", self.path, self.cause()),
            fix: self.fix(),
            retry,
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, port, .. } = self;
        write!(f, "blocked {path} ({port}): {}", self.cause())
    }
}

/// What the operator may want to know of a port, though it keeps nobody from opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub port: String,
    pub about: Remark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// The container has changed owner or mode of the port's node.
    Changed {
        node: NodePath,
        from: Permissions,
        to: Permissions,
    },
    /// A path of the port is in a directory that is not ours, and leads to its device.
    Forbidden(Forbidden),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.about {
            Remark::Forbidden(forbidden) => forbidden.fmt(f),
            Remark::Changed { node, from, to } => write!(
                f,
                "the container has changed {node} from {from} to {to}, which is left so"
            ),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In their order. After one that fails, those of the same port are skipped; see
    /// [`Op::begins_port`].
    pub ops: Vec<Op>,
    pub blocked: Vec<Blocked>,
    pub notes: Vec<Note>,
    /// All that is ours, or will be. It is written before the first operation.
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

    /// Whether it depends on no operation before it.
    pub fn begins_port(&self) -> bool {
        !matches!(self, Self::MakeLink { .. })
    }
}

/// Computes the operations that turn `actual` into what is wanted. What is in `may_stay` is left as
/// it is: how it should be is not known.
pub fn plan(wanted: &[ResolvedPort], may_stay: &Record, actual: &Actual, record: &Record) -> Plan {
    let mut planner = Planner {
        actual,
        record,
        plan: Plan::default(),
    };
    planner.sweep();
    planner.remove_unwanted(wanted, may_stay);
    for want in wanted {
        // A link without its node would lead nowhere.
        if planner.make_node(want) {
            for link in &want.links {
                planner.make_link(want, link);
            }
        }
    }
    planner.plan
}

struct Planner<'a> {
    actual: &'a Actual,
    record: &'a Record,
    plan: Plan,
}

impl Planner<'_> {
    fn sweep(&mut self) {
        let leftovers = self.actual.leftovers.iter().cloned();
        let ops = leftovers.map(|path| Op::Sweep { path });
        self.plan.ops.extend(ops);
    }

    fn remove_unwanted(&mut self, wanted: &[ResolvedPort], may_stay: &Record) {
        let mut nodes = Vec::new();
        for (path, made) in still_there(self.record, self.actual) {
            self.remember(path, made.clone());
            let is_wanted = |want: &ResolvedPort| want.node == *path || want.links.contains(path);
            let mut stays = may_stay.get(path).into_iter().flatten();
            let stays = stays.any(|stays| stays.is_like(made));
            let is_forbidden = matches!(self.actual.at(path), Found::Forbidden(_));
            if stays || is_forbidden || wanted.iter().any(is_wanted) {
                continue;
            }
            let path = path.clone();
            match made {
                Made::Link(target) => self.plan.ops.push(Op::RemoveLink {
                    path,
                    target: target.clone(),
                }),
                Made::Node(MadeNode { devnum, .. }) | Made::Bound(devnum) => {
                    let (devnum, bound) = (*devnum, matches!(made, Made::Bound(_)));
                    nodes.push(Op::RemoveNode {
                        path,
                        devnum,
                        bound,
                    });
                }
            }
        }
        // Of one node there may be several entries.
        nodes.dedup();
        // Links go before their nodes.
        self.plan.ops.append(&mut nodes);
    }

    /// Returns whether the node is there or will be.
    fn make_node(&mut self, want: &ResolvedPort) -> bool {
        let path = &want.node;
        if self.is_there_already(want, path) {
            return true;
        }
        let found = self.actual.at(path);
        let bound = Made::Bound(want.devnum);
        if bound.is(found) && self.was_made(path, |made| *made == bound) {
            self.remember(path, bound);
            return true;
        }
        let is_closed = *found == Found::Mount(Some(want.devnum));
        if is_closed || !self.actual.remapped && self.actual.mounted(path).nodev {
            self.block(want, path, Obstacle::Nodev);
            return false;
        }
        if self.actual.remapped || !self.is_as_made(want) {
            if let Err(obstacle) = self.may_replace(path) {
                self.block(want, path, obstacle);
                return false;
            }
            self.plan.ops.push(Op::MakeNode {
                port: want.port.clone(),
                path: path.clone(),
                devnum: want.devnum,
                mode: want.mode,
                uid: want.uid,
                gid: want.gid,
                bind: self.actual.remapped,
                replaces: found.clone(),
            });
        }
        self.remember(path, self.actual.node(want));
        true
    }

    /// Whether a node of the port is there that has its permissions, or had them when it was made:
    /// what the container has changed since is left. A record that a killed daemon has left may have
    /// others beside them, which may be those of the node that is there.
    fn is_as_made(&mut self, want: &ResolvedPort) -> bool {
        let (path, permissions) = (&want.node, want.permissions());
        let found = self.actual.at(path);
        let wanted = Made::node(want.devnum, Some(permissions));
        if !wanted.is(found) || found.permissions() == Some(permissions) {
            return wanted.is(found);
        }
        let mut made = self.record.get(path).into_iter().flatten();
        let mut made = made.by_ref().filter(|made| made.is(found)).peekable();
        let is_settled = made.peek().is_some() && made.all(|made| *made == wanted);
        if let Some(to) = found.permissions().filter(|_| is_settled) {
            let node = path.clone();
            let from = permissions;
            self.note(want, Remark::Changed { node, from, to });
        } else {
            // It may be left if this daemon is killed before it has made another.
            self.remember(path, Made::node(want.devnum, None));
        }
        is_settled
    }

    fn make_link(&mut self, want: &ResolvedPort, path: &NodePath) {
        if self.is_there_already(want, path) {
            return;
        }
        let found = self.actual.at(path);
        let target = path.relative_target(&want.node);
        let right = Found::Link {
            target: target.clone(),
        };
        if *found != right {
            if let Err(obstacle) = self.may_replace(path) {
                // Without its node, no link leads to the port, whatever is in its way.
                if self.actual.opens(&want.node, want.devnum) {
                    self.block(want, path, obstacle);
                }
                return;
            }
            self.plan.ops.push(Op::MakeLink {
                path: path.clone(),
                target: target.clone(),
                replaces: found.clone(),
            });
        }
        self.remember(path, Made::Link(target));
    }

    /// Whether somebody else's entry at a path leads to the port: a mount (`--device` of a container
    /// with remapped users is one too), a link, or anything in a directory that is not ours.
    fn is_there_already(&mut self, want: &ResolvedPort, path: &NodePath) -> bool {
        let found = self.actual.at(path);
        let may_be_others = matches!(
            found,
            Found::Mount(_) | Found::Link { .. } | Found::Forbidden(_)
        );
        let is_others = may_be_others && !self.was_made(path, |made| made.is(found));
        if !is_others || !self.actual.opens(path, want.devnum) {
            return false;
        }
        if let Found::Forbidden(forbidden) = found {
            self.note(want, Remark::Forbidden(forbidden.clone()));
        }
        true
    }

    fn note(&mut self, want: &ResolvedPort, about: Remark) {
        let port = want.port.clone();
        let note = Note { port, about };
        if !self.plan.notes.contains(&note) {
            self.plan.notes.push(note);
        }
    }

    /// Whether what is at the path of a port may be replaced. A device node is an older one of the
    /// port; an empty file was left by an application that opened the missing port with O_CREAT. A
    /// link or a mount is replaced only where we made it.
    fn may_replace(&self, path: &NodePath) -> Result<(), Obstacle> {
        let found = self.actual.at(path);
        let may_be_replaced = match found {
            Found::Nothing | Found::Node { .. } | Found::EmptyFile => true,
            Found::Link { .. } | Found::Mount(Some(_)) => {
                self.was_made(path, |made| made.is(found))
            }
            Found::Mount(None) | Found::Other(_) => false,
            Found::Forbidden(forbidden) => return Err(Obstacle::Forbidden(forbidden.clone())),
        };
        match may_be_replaced {
            false => Err(Obstacle::InTheWay(found.clone())),
            true if self.actual.mounted(path).read_only => Err(Obstacle::ReadOnly),
            true => Ok(()),
        }
    }

    fn was_made(&self, path: &NodePath, is_it: impl Fn(&Made) -> bool) -> bool {
        let made = self.record.get(path);
        made.is_some_and(|made| made.iter().any(is_it))
    }

    fn remember(&mut self, path: &NodePath, made: Made) {
        let entry = self.plan.record.entry(path.clone());
        entry.or_default().insert(made);
    }

    fn block(&mut self, want: &ResolvedPort, path: &NodePath, by: Obstacle) {
        self.plan.blocked.push(Blocked {
            port: want.port.clone(),
            node: want.node.clone(),
            path: path.clone(),
            by,
        });
    }
}

/// The entries of the record of which something is left. Where several nodes of one number may be
/// there, it is the one with the permissions that were found, if there is one.
fn still_there<'a>(
    record: &'a Record,
    actual: &'a Actual,
) -> impl Iterator<Item = (&'a NodePath, &'a Made)> {
    record.iter().flat_map(|(path, made)| {
        let found = actual.at(path);
        let is_exact = |made: &&Made| match made {
            Made::Node(node) => made.is(found) && node.set == found.permissions(),
            _ => false,
        };
        let exact = made.iter().find(is_exact);
        let left = made.iter().filter(|made| made.left(found));
        left.filter(move |made| exact.is_none_or(|exact| exact == *made))
            .map(move |made| (path, made))
    })
}

/// Both records together.
pub fn merged(mut record: Record, more: Record) -> Record {
    for (path, made) in more {
        record.entry(path).or_default().extend(made);
    }
    record
}

/// The record without the entries of which nothing is left.
pub fn pruned(record: &Record, actual: &Actual) -> Record {
    let mut left = Record::new();
    for (path, made) in still_there(record, actual) {
        left.entry(path.clone()).or_default().insert(made.clone());
    }
    left
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
