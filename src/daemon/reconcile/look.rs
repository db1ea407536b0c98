//! Looks into a container, and compares what is there with what it should have.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::settings::InjectPolicy;
use crate::container::observe::{View, observe};
use crate::container::rootfs::RootError;
use crate::daemon::reconcile::handle::Handle;
use crate::model::problem::{Failure, Problem};
use crate::model::{DevNum, NodePath};
use crate::plan::assign::WantedPort;
use crate::plan::{Made, Op, Plan, Record, merged, passwd, plan};

/// What was found in a container and what follows from it, before anything is done.
#[derive(Debug)]
pub struct Seen {
    pub view: View,
    pub plan: Plan,
    pub problems: Vec<Problem>,
}

impl Handle<'_> {
    /// Looks into the container, and computes what is to be done in it.
    ///
    /// # Errors
    /// It cannot be looked into, or nothing may be written there.
    pub async fn look(&self, record: &Record) -> Result<Seen, Problem> {
        let paths = self.paths(record);
        let look = self.in_root(move |entrance| observe(&entrance.rootfs.enter()?, &paths));
        let view = look.await?.map_err(not_seen)?;
        Ok(self.compare(view, record))
    }

    /// What is to be done about what was seen, and what prevents it.
    pub fn compare(&self, mut view: View, record: &Record) -> Seen {
        // A command in the container can make nodes and nothing else.
        view.actual.remapped &= self.inject_policy() != InjectPolicy::Exec;
        let mut wanted = Vec::new();
        let mut keep = Record::new();
        let mut problems = Vec::new();
        for want in &self.wants {
            match passwd::resolve(want, &view.passwd, &view.group) {
                Ok(want) => wanted.push(want),
                // Many an image makes its accounts when it starts: what is there stays until then.
                Err(unknown) => {
                    keep = merged(keep, entries(want));
                    problems.push(no_account(want, &unknown));
                }
            }
        }
        let plan = plan(&wanted, &keep, &view.actual, record);
        problems.extend(plan.blocked.iter().map(|blocked| {
            let cause = format!("{} at {}", blocked.cause, blocked.path);
            Problem::lasting(Failure::InTheWay, cause, &blocked.fix).of_port(&blocked.port)
        }));
        Seen {
            view,
            plan,
            problems,
        }
    }

    /// All paths that are wanted or on record.
    pub fn paths(&self, record: &Record) -> BTreeSet<NodePath> {
        let wanted = self
            .wants
            .iter()
            .flat_map(|want| std::iter::once(&want.node).chain(&want.links));
        wanted.chain(record.keys()).cloned().collect()
    }
}

impl Seen {
    /// The nodes that are as they should be and may be opened. Their links have been tried by then,
    /// and a link that is missing does not keep a node from being opened.
    pub fn ready(&self, of: &Handle) -> BTreeMap<NodePath, DevNum> {
        let is_left = |path: &NodePath| self.plan.ops.iter().any(|op| op.path() == path.as_str());
        let is_ready = |want: &&WantedPort| {
            self.view.actual.has(&want.node, want.devnum)
                && !is_left(&want.node)
                && of.may_open(want.devnum)
        };
        let ready = of.wants.iter().filter(is_ready);
        ready.map(|want| (want.node.clone(), want.devnum)).collect()
    }

    /// Whether an operation is left to be done, or cannot be.
    pub fn is_left(&self, op: &Op) -> bool {
        let blocked = self
            .plan
            .blocked
            .iter()
            .map(|blocked| blocked.path.as_str());
        let mut paths = self.plan.ops.iter().map(Op::path).chain(blocked);
        paths.any(|path| path == op.path())
    }
}

/// What a port consists of in a container.
fn entries(want: &WantedPort) -> Record {
    let node = (want.node.clone(), Made::Node(want.devnum));
    let links = want.links.iter().map(|link| {
        let target = link.relative_target(&want.node);
        (link.clone(), Made::Link(target))
    });
    links
        .chain([node])
        .map(|(path, made)| (path, BTreeSet::from([made])))
        .collect()
}

fn no_account(want: &WantedPort, unknown: &passwd::UnknownAccount) -> Problem {
    let key = match unknown.kind {
        "user" => "owner",
        kind => kind,
    };
    let fix = format!("give the port's {key} as a number");
    Problem::passing(Failure::Account, unknown.to_string(), fix).of_port(&want.port)
}

pub fn not_seen(error: RootError) -> Problem {
    match error {
        RootError::Forbidden(forbidden) => Problem::lasting(
            Failure::HostDev,
            format!("{forbidden}: ttyplugd never writes there"),
            "a container that uses the host's /dev needs only access to the device; otherwise \
             remove that mount from its definition",
        ),
        RootError::Other(error) => {
            Problem::passing(Failure::Look, format!("{error:#}"), "wait for the next try")
        }
    }
}
