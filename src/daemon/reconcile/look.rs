//! Looks into a container, and compares its /dev with what it should have.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::settings::InjectPolicy;
use crate::container::observe::{Question, View, observe};
use crate::daemon::blocking::Part;
use crate::daemon::reconcile::handle::Handle;
use crate::engine::container::Mapping;
use crate::model::problem::{Failure, Problem};
use crate::model::{Account, DevNum, NodePath};
use crate::plan::assign::WantedPort;
use crate::plan::{Blocked, Made, Op, Plan, Record, merged, passwd, plan};

/// The result of a look into a container, and the plan that follows from it.
#[derive(Debug)]
pub struct Seen {
    pub view: View,
    pub plan: Plan,
    pub problems: Vec<Problem>,
}

impl Handle<'_> {
    /// Looks into the container, and computes the plan.
    ///
    /// # Errors
    /// The container cannot be read.
    pub async fn look(&self, record: &Record) -> Result<Seen, Problem> {
        self.ask(self.question(record), record).await
    }

    async fn ask(&self, question: Question, record: &Record) -> Result<Seen, Problem> {
        let looks_for_leftovers = question.leftovers;
        let look = self.run(Part::Root, move |entrance| {
            observe(&entrance.rootfs.enter()?, &question)
        });
        let view = look.await?.map_err(|error| not_seen(&error))?;
        if looks_for_leftovers {
            let is_swept = view.is_swept && !self.start.has_unfinished();
            self.start.set_swept(is_swept);
        }
        Ok(self.compare(view, record))
    }

    /// The same for somebody who wants to know all about the container, and changes nothing.
    ///
    /// # Errors
    /// The container cannot be read.
    pub async fn look_with_accounts(&self) -> Result<Seen, Problem> {
        let record = self.record();
        let question = Question {
            accounts: true,
            ..self.question(&record)
        };
        self.ask(question, &record).await
    }

    /// Computes the plan, and what is in the way of it.
    pub fn compare(&self, mut view: View, record: &Record) -> Seen {
        // A command in the container can make nodes, but not bind-mount them.
        view.actual.remapped &= self.inject_policy != InjectPolicy::Exec;
        let mut wanted = Vec::new();
        let mut keep = Record::new();
        let mut problems = Vec::new();
        for want in self.nodes() {
            match passwd::resolve(want, &view.passwd, &view.group) {
                Ok(want) => wanted.push(want),
                // Some images make their accounts when they start. Until then the port stays as it is.
                Err(unknown) => {
                    keep = merged(keep, entries(want));
                    problems.push(no_account(want, &unknown));
                }
            }
        }
        let record = self.with_defined(record);
        let plan = plan(&wanted, &keep, &view.actual, &record);
        problems.extend(plan.blocked.iter().map(Blocked::problem));
        Seen {
            view,
            plan,
            problems,
        }
    }

    /// The record, and the nodes of the container's definition at paths of its ports. The engine has
    /// made those with the permissions of the host's nodes (moby, oci/oci.go, `DevicesFromPath`), so
    /// others are what the container has made of them.
    fn with_defined(&self, record: &Record) -> Record {
        let mut record = record.clone();
        let mappings = &self.running.mappings;
        for want in &self.wants {
            let is_it = |mapping: &Mapping| mapping.container == want.node.as_str();
            if self.running.rights.everything || mappings.iter().any(is_it) {
                let made = Made::node(want.devnum, Some(want.host));
                let entry = record.entry(want.node.clone());
                entry.or_insert_with(|| BTreeSet::from([made]));
            }
        }
        record
    }

    /// What there is to find out: all that is wanted or on record.
    pub fn question(&self, record: &Record) -> Question {
        let wanted = self.nodes().flat_map(WantedPort::paths);
        Question {
            paths: wanted.chain(record.keys()).cloned().collect(),
            accounts: self.nodes().any(names_account),
            real: self.inject_policy != InjectPolicy::Namespace,
            leftovers: !self.start.is_swept(),
        }
    }
}

impl Seen {
    /// The nodes and links of the ports, each by itself, that lead to their device and may be opened.
    /// Whether the users of the container may do so is not asked: the operator has set the node's
    /// mode and owner, and it has many users.
    pub fn ready(&self, handle: &Handle) -> BTreeMap<NodePath, DevNum> {
        let is_left = |path: &NodePath| self.plan.ops.iter().any(|op| op.path() == path.as_str());
        let openable = handle
            .wants
            .iter()
            .filter(|want| handle.may_open(want.devnum));
        let paths = openable.flat_map(|want| want.paths().map(|path| (path, want.devnum)));
        let ready =
            paths.filter(|(path, devnum)| self.view.actual.opens(path, *devnum) && !is_left(path));
        ready.map(|(path, devnum)| (path.clone(), devnum)).collect()
    }

    /// Whether an operation is still to be done, or is blocked.
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

fn names_account(want: &WantedPort) -> bool {
    let mut accounts = [&want.owner, &want.group].into_iter();
    accounts.any(|account| matches!(account, Account::Name(_)))
}

/// The node and the links of a port.
fn entries(want: &WantedPort) -> Record {
    let node = (want.node.clone(), Made::node(want.devnum, None));
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
    let fix = format!("set the port's {key} to a number");
    Problem::passing(Failure::Account, unknown.to_string(), fix).of_port(&want.port)
}

/// The problem of a container that cannot be looked into.
pub fn not_seen(error: &anyhow::Error) -> Problem {
    Problem::passing(
        Failure::Look,
        format!("{error:#}"),
        "wait; ttyplugd tries again",
    )
}
