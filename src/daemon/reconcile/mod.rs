//! One container from what it has to what it should have: inspect, observe, plan, record,
//! execute, observe again.
//!
//! What has been achieved is read from the container, never believed from what a command in it
//! said.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::config::settings::InjectPolicy;
use crate::container::observe::View;
use crate::daemon::reconcile::announce::Herald;
use crate::daemon::reconcile::apply::{Way, engine_problem, leave, look};
use crate::daemon::reconcile::grant::Gate;
use crate::daemon::state::{World, on_record};
use crate::engine::Engine;
use crate::engine::container::Running;
use crate::model::device_access::DeviceRules;
use crate::model::inventory::ContainerId;
use crate::model::problem::Failure;
use crate::model::problem::Problem;
use crate::model::{DevNum, NodePath};
use crate::plan::assign::WantedPort;
use crate::plan::passwd;
use crate::plan::{Made, Op, Plan, Record, merged, plan, pruned};
use crate::sys::logging::kind;

pub mod announce;
pub mod apply;
pub mod grant;

/// The work on one container.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// `None` while it is away.
    pub engine: Option<&'a Engine>,
    pub world: &'a RefCell<World>,
    pub id: &'a ContainerId,
    pub name: &'a str,
    /// When the reason for it was heard of.
    pub since: Instant,
}

/// A container as it runs, before it is looked into.
#[derive(Debug)]
pub struct Inspected {
    pub running: Running,
    pub wants: Vec<WantedPort>,
    /// What we have made in this start of the container.
    record: Record,
}

/// Finds out how a container runs. While the engine is away, what it said last holds as long as the
/// container's first process lives. `None` where it does not run, or has nothing to do with us.
async fn inspect(
    engine: Option<&Engine>,
    world: &RefCell<World>,
    id: &ContainerId,
) -> Result<Option<Inspected>, Problem> {
    let running = match engine {
        Some(engine) => {
            let known = engine.last_known(id).await;
            let known = known.map_err(|e| engine_problem(&e))?;
            world.borrow_mut().runs(id, known.as_ref());
            known
        }
        None => world.borrow().still_running(id),
    };
    let Some(running) = running else {
        return Ok(None);
    };
    let world = world.borrow();
    let wants = world.assigned.wants(id).to_vec();
    if wants.is_empty() && !world.store.has_record(id) {
        return Ok(None);
    }
    Ok(Some(Inspected {
        record: world.store.record(id, &running.started_at),
        running,
        wants,
    }))
}

impl Inspected {
    fn gate<'a>(&'a self, job: Job<'a>) -> Gate<'a> {
        Gate {
            world: job.world,
            id: job.id,
            name: job.name,
            running: &self.running,
            wants: &self.wants,
        }
    }

    fn herald<'a>(&'a self, job: Job<'a>, shut: &'a BTreeSet<DevNum>) -> Herald<'a> {
        Herald {
            world: job.world,
            id: job.id,
            pid: self.running.pid,
            wants: &self.wants,
            shut,
        }
    }

    /// Looks into the container, and computes what is to be done in it.
    async fn look(&self, world: &RefCell<World>, id: &ContainerId) -> Result<Seen, Problem> {
        let paths = paths(&self.wants, &self.record);
        let view = look(world, id, &self.running, paths).await?;
        let (plan, problems) = compare(&self.wants, &view, &self.record);
        Ok(Seen {
            view,
            plan,
            problems,
        })
    }
}

/// What was found in a container and what follows from it, before anything is done.
#[derive(Debug)]
pub struct Seen {
    pub view: View,
    pub plan: Plan,
    pub problems: Vec<Problem>,
}

/// Computes what is to be done in a container, and does nothing. `None` where the container does
/// not run or has nothing to do with us.
///
/// # Errors
/// The one problem for which the container cannot be served at all.
pub async fn preview(
    engine: &Engine,
    world: &RefCell<World>,
    id: &ContainerId,
) -> Result<Option<(Inspected, Seen)>, Problem> {
    match inspect(Some(engine), world, id).await? {
        Some(inspected) => {
            let seen = inspected.look(world, id).await?;
            Ok(Some((inspected, seen)))
        }
        None => Ok(None),
    }
}

/// What is to be done about what was seen, and what is in the way.
fn compare(wants: &[WantedPort], view: &View, record: &Record) -> (Plan, Vec<Problem>) {
    let mut wanted = Vec::new();
    let mut keep = Record::new();
    let mut problems = Vec::new();
    for want in wants {
        match passwd::resolve(want, &view.passwd, &view.group) {
            Ok(want) => wanted.push(want),
            // Many an image makes its accounts when it starts: what is there stays until then.
            Err(unknown) => {
                keep = merged(keep, entries(want));
                let word = match unknown.kind {
                    "user" => "owner",
                    kind => kind,
                };
                let fix = format!("give the port's {word} as a number");
                let problem = Problem::passing(Failure::Account, unknown.to_string(), fix);
                problems.push(problem.of_port(&want.port));
            }
        }
    }
    let plan = plan(&wanted, &keep, &view.actual, record);
    problems.extend(plan.blocked.iter().map(|blocked| {
        let cause = format!("{} at {}", blocked.cause, blocked.path);
        Problem::lasting(Failure::InTheWay, cause, &blocked.fix).of_port(&blocked.port)
    }));
    (plan, problems)
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

/// Brings a container to what it should have. Returns what is in the way.
pub async fn reconcile(job: Job<'_>) -> Vec<Problem> {
    let Job {
        engine, world, id, ..
    } = job;
    let inspected = match inspect(engine, world, id).await {
        Ok(Some(inspected)) => inspected,
        // What an engine that is away would say is not known.
        Ok(None) if engine.is_none() => return Vec::new(),
        Ok(None) => {
            // Whatever is recorded is of an earlier start, and went with its /dev.
            let forgotten = world.borrow_mut().store.forget(id);
            return forgotten
                .err()
                .map(|e| Problem::disk(&e))
                .into_iter()
                .collect();
        }
        Err(problem) => return vec![problem],
    };
    let gate = inspected.gate(job);
    let opened = gate.open().await;
    let shut = match opened {
        Ok(()) => BTreeSet::new(),
        Err(_) => inspected.shut(world, id),
    };
    let mut problems = Vec::from_iter(opened.err());
    let seen = inspected.look(world, id).await;
    let planned = seen.as_ref().ok().map(|seen| seen.plan.record.clone());
    match seen {
        Ok(seen) => match Way::into(job, &inspected.running, &seen) {
            Some(way) => match inspected.apply(job, seen, way, &shut).await {
                Ok(left) => problems.extend(left),
                Err(problem) => problems.push(problem),
            },
            // What brings it here again is the event that unpauses it, or the engine.
            None => {
                inspected.set_ready(job, &seen.view, &seen.plan, &shut);
                problems.extend(seen.problems);
                leave(seen.view);
            }
        },
        Err(problem) => problems.push(problem),
    }
    problems.extend(gate.close().await.err());
    if problems.iter().all(|problem| !problem.retry) {
        if planned.is_none() {
            inspected.sees_the_hosts_dev(job);
        }
        return problems;
    }
    let Some(engine) = engine else {
        return problems;
    };
    // What fails in a container that ends meanwhile is no problem. If it was started again, the
    // command may have been executed in the new one; its `start` event brings it here again.
    match (engine.inspect(id).await, planned) {
        (Ok(None), _) => Vec::new(),
        (Ok(Some(now)), Some(record)) if now.started_at != inspected.running.started_at => {
            let kept = put_record(world, id, &now, record).await;
            kept.err().into_iter().collect()
        }
        _ => problems,
    }
}

impl Inspected {
    /// Carries out what was planned. Returns what is in the way.
    async fn apply(
        &self,
        job: Job<'_>,
        seen: Seen,
        way: Way<'_>,
        shut: &BTreeSet<DevNum>,
    ) -> Result<Vec<Problem>, Problem> {
        let Job { world, id, .. } = job;
        let Self {
            running,
            wants,
            record,
        } = self;
        let Seen {
            view,
            plan,
            problems,
        } = seen;
        // A command that was begun before may still make what it was told to, so that nothing is
        // forgotten for not being there yet.
        let started_at = running.started_at.clone();
        let before = world.borrow_mut().served.insert(id.clone(), started_at);
        let may_be_coming = before.as_ref() != Some(&running.started_at);
        let ours = |plan: &Plan, view: &View, all_ended: bool| match all_ended {
            true => pruned(&plan.record, &view.actual),
            false => merged(record.clone(), plan.record.clone()),
        };
        let herald = self.herald(job, shut);
        if may_be_coming {
            herald.knows(&view);
        }
        if plan.ops.is_empty() {
            put_record(world, id, running, ours(&plan, &view, !may_be_coming)).await?;
            herald.tells(&view).await;
            self.set_ready(job, &view, &plan, shut);
            leave(view);
            return Ok(problems);
        }
        put_record(world, id, running, ours(&plan, &view, false)).await?;

        let all_paths = paths(wants, &plan.record);
        let (mut outcome, mut view) = way.carry_out(job, running, &plan, view, &all_paths).await?;
        let mut all_ended = outcome.has_ended() && !may_be_coming;
        let (mut left, mut problems) = compare(wants, &view, &plan.record);
        let inject = world.borrow().settings.inject;
        if let (Way::Exec(_), InjectPolicy::Auto, Some(first)) = (way, inject, left.ops.first()) {
            let cannot = outcome.is_the_containers();
            let refused = outcome.problem(&first.to_string());
            let way = Way::Namespace;
            (outcome, view) = way.carry_out(job, running, &left, view, &all_paths).await?;
            all_ended = all_ended && outcome.has_ended();
            (left, problems) = compare(wants, &view, &plan.record);
            if cannot && left.ops.is_empty() {
                tracing::info!(
                    container_name = job.name, container_id = %id.0, reason = refused.cause,
                    "a command in the container cannot do it; nodes are made from outside from \
                     now on"
                );
                let started_at = running.started_at.clone();
                let from_outside = &mut world.borrow_mut().from_outside;
                from_outside.insert(id.clone(), started_at);
            }
        }
        put_record(world, id, running, ours(&plan, &view, all_ended)).await?;
        herald.tells(&view).await;
        self.set_ready(job, &view, &left, shut);
        leave(view);
        let is_left = |op: &&Op| {
            let blocked = left.blocked.iter().map(|blocked| blocked.path.as_str());
            let mut paths = left.ops.iter().map(Op::path).chain(blocked);
            paths.any(|path| path == op.path())
        };
        let rights = self.gate(job).rights();
        for op in plan.ops.iter().filter(|op| !is_left(op)) {
            log_done(op, job, wants, &rights);
        }
        problems.extend(
            left.ops
                .first()
                .map(|first| outcome.problem(&first.to_string())),
        );
        Ok(problems)
    }

    /// Devices that it may not open, if the rights could not be given: all but those that its
    /// definition gives, and those that could be given before.
    fn shut(&self, world: &RefCell<World>, id: &ContainerId) -> BTreeSet<DevNum> {
        let world = world.borrow();
        let wants = self.wants.iter().filter(|want| !world.is_ready(id, want));
        let numbers = wants.map(|want| want.devnum);
        numbers.filter(|n| !self.running.rights.allow(*n)).collect()
    }

    /// A port is ready when its node is there as it should be, and may be opened. Its links have
    /// been tried by then, and what is in the way of one of them does not keep the node from being
    /// opened.
    fn set_ready(&self, job: Job<'_>, view: &View, left: &Plan, shut: &BTreeSet<DevNum>) {
        let is_left = |path: &NodePath| left.ops.iter().any(|op| op.path() == path.as_str());
        let ready = self
            .wants
            .iter()
            .filter(|want| view.actual.has(&want.node, want.devnum) && !is_left(&want.node))
            .filter(|want| !shut.contains(&want.devnum));
        self.are_ready(job, ready);
    }

    /// Where nothing may be written there is nothing to wait for but the device itself.
    fn sees_the_hosts_dev(&self, job: Job<'_>) {
        self.are_ready(job, self.wants.iter());
    }

    fn are_ready<'a>(&self, job: Job<'_>, wants: impl Iterator<Item = &'a WantedPort>) {
        let ready = wants.map(|want| (want.node.clone(), want.devnum));
        let mut world = job.world.borrow_mut();
        if world.ended.get(job.id) != Some(&self.running.started_at) {
            world.ready.insert(job.id.clone(), ready.collect());
        }
    }
}

fn paths(wants: &[WantedPort], record: &Record) -> BTreeSet<NodePath> {
    let wanted = wants
        .iter()
        .flat_map(|want| std::iter::once(&want.node).chain(&want.links));
    wanted.chain(record.keys()).cloned().collect()
}

async fn put_record(
    world: &RefCell<World>,
    id: &ContainerId,
    running: &Running,
    record: Record,
) -> Result<(), Problem> {
    let started_at = &running.started_at;
    world.borrow_mut().store.put_record(id, started_at, record);
    on_record(world, id).await
}

/// One line per node or link that was made or removed.
fn log_done(op: &Op, job: Job<'_>, wants: &[WantedPort], rights: &DeviceRules) {
    let Job {
        id, name, since, ..
    } = job;
    let latency = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let of: BTreeMap<&NodePath, &WantedPort> =
        wants.iter().map(|want| (&want.node, want)).collect();
    match op {
        Op::MakeNode { path, devnum, .. } => {
            let want = of.get(path);
            let device = want.map_or("", |want| &want.device);
            tracing::info!(
                message_id = kind::MADE, action = "make", port = want.map_or("", |want| &want.port),
                serial_device = device, device_number = %devnum, container_name = name,
                container_id = %id.0, container_path = %path, latency_ms = latency, operation = %op,
                "node made"
            );
            if !rights.allow(*devnum) {
                tracing::warn!(
                    message_id = kind::NO_RIGHT, serial_device = device, container_name = name,
                    container_id = %id.0, container_path = %path,
                    remedy = DeviceRules::compose_line(*devnum),
                    "the node is there, but the container has no right to open it"
                );
            }
        }
        Op::MakeLink { path, target, .. } => tracing::info!(
            message_id = kind::MADE, action = "link", link_target = target, container_name = name,
            container_id = %id.0, container_path = %path, latency_ms = latency, operation = %op,
            "link made"
        ),
        Op::RemoveNode { path, devnum, .. } => tracing::info!(
            message_id = kind::REMOVED, action = "remove", device_number = %devnum,
            container_name = name, container_id = %id.0, container_path = %path,
            latency_ms = latency, "node removed"
        ),
        Op::RemoveLink { path, target } => tracing::info!(
            message_id = kind::REMOVED, action = "unlink", link_target = target, container_name = name,
            container_id = %id.0, container_path = %path, latency_ms = latency, "link removed"
        ),
        Op::Sweep { path } => tracing::info!(
            action = "sweep", container_name = name, container_id = %id.0, container_path = path,
            "temporary name removed that an earlier run had left"
        ),
    }
}
