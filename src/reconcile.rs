//! One container from what it has to what it should have: inspect, observe, plan, record,
//! execute, observe again.
//!
//! What has been achieved is read from the container, never believed from what a command in it
//! said.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::accounts;
use crate::assign::Want;
use crate::docker::{Engine, EngineError, Executed, Running};
use crate::inventory::ContainerId;
use crate::logging::kind;
use crate::metrics::Failure;
use crate::model::NodePath;
use crate::observe::{ObserveError, View, observe};
use crate::plan::{Found, Made, Op, Plan, Record, both, plan, settled};
use crate::report::Trouble;
use crate::rights::Rights;
use crate::script::{self, Explained};
use crate::world::World;

/// How long it may take to look into a container: its root may be on a file system that hangs.
const OBSERVE_LIMIT: Duration = Duration::from_secs(5);

/// What was found and what follows from it, before anything is done.
#[derive(Debug)]
pub struct Preview {
    pub running: Running,
    pub wants: Vec<Want>,
    /// What we have made in this start of the container.
    record: Record,
    pub view: View,
    pub plan: Plan,
    pub troubles: Vec<Trouble>,
}

/// Computes what is to be done in a container, and does nothing. `None` where the container does
/// not run or has nothing to do with us.
///
/// # Errors
/// The one trouble for which the container cannot be served at all.
pub async fn preview(
    engine: &Engine,
    world: &RefCell<World>,
    id: &ContainerId,
) -> Result<Option<Preview>, Trouble> {
    let Some(mut running) = engine.inspect(id).await.map_err(engine_trouble)? else {
        return Ok(None);
    };
    let (wants, record) = {
        let world = world.borrow();
        let record = world.store.record(id, &running.started_at);
        (world.assigned.wants(id).to_vec(), record)
    };
    if wants.is_empty() && record.is_empty() {
        return Ok(None);
    }
    running
        .rights
        .devices
        .extend(world.borrow().store.granted(id));
    let view = look(world, id, &running, paths(&wants, &record)).await?;
    let (plan, troubles) = compare(&wants, &view, &record);
    Ok(Some(Preview {
        running,
        wants,
        record,
        view,
        plan,
        troubles,
    }))
}

/// What is to be done about what was seen, and what is in the way.
fn compare(wants: &[Want], view: &View, record: &Record) -> (Plan, Vec<Trouble>) {
    let mut wanted = Vec::new();
    let mut keep = Record::new();
    let mut troubles = Vec::new();
    for want in wants {
        match accounts::resolve(want, &view.passwd, &view.group) {
            Ok(want) => wanted.push(want),
            // Many an image makes its accounts when it starts: what is there stays until then.
            Err(unknown) => {
                keep = both(keep, entries(want));
                let word = match unknown.kind {
                    "user" => "owner",
                    kind => kind,
                };
                let remedy = format!("give the port's {word} as a number");
                let trouble = Trouble::passing(Failure::Account, unknown.to_string(), remedy);
                troubles.push(trouble.of_port(&want.port));
            }
        }
    }
    let plan = plan(&wanted, &keep, &view.actual, record);
    troubles.extend(plan.blocked.iter().map(|blocked| {
        let cause = format!("{} at {}", blocked.cause, blocked.path);
        Trouble::lasting(Failure::InTheWay, cause, &blocked.remedy).of_port(&blocked.port)
    }));
    (plan, troubles)
}

/// What a port consists of in a container.
fn entries(want: &Want) -> Record {
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

/// Brings a container to what it should have. `since` is when the reason for it was heard of.
/// Returns what is in the way.
pub async fn reconcile(
    engine: &Engine,
    world: &RefCell<World>,
    id: &ContainerId,
    name: &str,
    since: Instant,
) -> Vec<Trouble> {
    let (preview, mut troubles) = match preview(engine, world, id).await {
        Ok(None) => {
            // Whatever is recorded is of an earlier start, and went with its /dev.
            return match world.borrow_mut().store.forget(id) {
                Ok(()) => Vec::new(),
                Err(error) => vec![disk_trouble(&error)],
            };
        }
        Ok(Some(preview)) => (Some(preview), Vec::new()),
        Err(trouble) => (None, vec![trouble]),
    };
    if let Some(preview) = &preview {
        troubles = if preview.running.paused {
            // The event that unpauses a container brings it here again.
            preview.troubles.clone()
        } else {
            let applied = apply(engine, world, id, name, since, preview).await;
            applied.unwrap_or_else(|trouble| vec![trouble])
        };
    }
    if troubles.iter().all(|trouble| !trouble.retry) {
        if preview.is_none() {
            sees_the_hosts_dev(world, id);
        }
        return troubles;
    }
    // What fails in a container that ends meanwhile is no trouble. If it was started again, the
    // command may have been executed in the new one; its `start` event brings it here again.
    match (engine.inspect(id).await, preview) {
        (Ok(None), _) => Vec::new(),
        (Ok(Some(now)), Some(before)) if now.started_at != before.running.started_at => {
            let kept = put_record(world, id, &now, before.plan.record);
            kept.err().into_iter().collect()
        }
        _ => troubles,
    }
}

async fn apply(
    engine: &Engine,
    world: &RefCell<World>,
    id: &ContainerId,
    name: &str,
    since: Instant,
    preview: &Preview,
) -> Result<Vec<Trouble>, Trouble> {
    let Preview {
        running,
        wants,
        record,
        view,
        plan,
        troubles,
    } = preview;
    // A command that was begun before may still make what it was told to, so that nothing is
    // forgotten for not being there yet.
    let started_at = running.started_at.clone();
    let before = world.borrow_mut().served.insert(id.clone(), started_at);
    let may_be_coming = before.as_ref() != Some(&running.started_at);
    let ours = |plan: &Plan, view: &View, all_ended: bool| match all_ended {
        true => settled(&plan.record, &view.actual),
        false => both(record.clone(), plan.record.clone()),
    };
    if plan.ops.is_empty() {
        put_record(world, id, running, ours(plan, view, !may_be_coming))?;
        set_ready(world, id, running, wants, view, plan);
        return Ok(troubles.clone());
    }
    put_record(world, id, running, ours(plan, view, false))?;

    let argv = script::command(plan, &view.real).ok_or_else(|| {
        let cause = "a directory of the plan was not looked at";
        Trouble::lasting(Failure::Look, cause, "report this")
    })?;
    let executed = engine.exec(id, argv).await;

    let view = look(world, id, running, paths(wants, &plan.record)).await?;
    let all_ended = matches!(executed, Ok(Executed::Ended(_))) && !may_be_coming;
    put_record(world, id, running, ours(plan, &view, all_ended))?;
    let (left, mut troubles) = compare(wants, &view, &plan.record);
    set_ready(world, id, running, wants, &view, &left);
    let is_left = |op: &&Op| {
        left.ops.iter().any(|other| other.path() == op.path())
            || left
                .blocked
                .iter()
                .any(|blocked| blocked.path.as_str() == op.path())
    };
    for op in plan.ops.iter().filter(|op| !is_left(op)) {
        log_done(op, id, name, wants, &running.rights, since);
    }
    if let Some(first) = left.ops.first() {
        troubles.push(failure(first, executed));
    }
    Ok(troubles)
}

/// Where nothing may be written there is nothing to wait for but the device itself.
fn sees_the_hosts_dev(world: &RefCell<World>, id: &ContainerId) {
    let mut world = world.borrow_mut();
    let wants = world.assigned.wants(id).iter();
    let plugged = wants.map(|want| (want.node.clone(), want.devnum)).collect();
    world.ready.insert(id.clone(), plugged);
}

/// A port is ready when its node is there as it should be. Its links have been tried by then, and
/// what is in the way of one of them does not keep the node from being opened.
fn set_ready(
    world: &RefCell<World>,
    id: &ContainerId,
    running: &Running,
    wants: &[Want],
    view: &View,
    left: &Plan,
) {
    let is_left = |path: &NodePath| left.ops.iter().any(|op| op.path() == path.as_str());
    let is_there = |want: &Want| match view.actual.entries.get(&want.node) {
        Some(Found::Node { devnum, .. } | Found::Mount(Some(devnum))) => *devnum == want.devnum,
        _ => false,
    };
    let ready = wants
        .iter()
        .filter(|want| is_there(want) && !is_left(&want.node))
        .map(|want| (want.node.clone(), want.devnum));
    let mut world = world.borrow_mut();
    if world.ended.get(id) != Some(&running.started_at) {
        world.ready.insert(id.clone(), ready.collect());
    }
}

fn failure(first: &Op, executed: Result<Executed, EngineError>) -> Trouble {
    let Explained { cause, remedy } = match executed {
        Ok(Executed::Ended(said)) => script::explain(&said),
        Ok(Executed::Hung) => Explained {
            cause: "the command in the container did not end in time and was killed".into(),
            remedy: "look at what /bin/sh and mknod are in the image".into(),
        },
        Err(EngineError::Other(said)) => script::explain(&said),
        Err(error) => return engine_trouble(error),
    };
    Trouble::passing(Failure::Exec, format!("{first} failed: {cause}"), remedy)
}

fn paths(wants: &[Want], record: &Record) -> BTreeSet<NodePath> {
    let wanted = wants
        .iter()
        .flat_map(|want| std::iter::once(&want.node).chain(&want.links));
    wanted.chain(record.keys()).cloned().collect()
}

async fn look(
    world: &RefCell<World>,
    id: &ContainerId,
    running: &Running,
    paths: BTreeSet<NodePath>,
) -> Result<View, Trouble> {
    let hangs = Trouble::passing(
        Failure::Look,
        "looking into the container takes too long",
        "look for a file system in it that hangs",
    );
    let still_hangs = {
        let hanging = &mut world.borrow_mut().hanging;
        hanging.retain(|_, look| !look.is_finished());
        hanging.contains_key(id)
    };
    if still_hangs {
        return Err(hangs);
    }
    let (pid, container, foreign) = (running.pid, id.clone(), running.foreign.clone());
    let mut look = spawn_blocking(move || observe(pid, &container, &foreign, &paths));
    match timeout(OBSERVE_LIMIT, &mut look).await {
        Ok(Ok(Ok(view))) => Ok(view),
        Ok(Ok(Err(ObserveError::Forbidden(forbidden)))) => Err(Trouble::lasting(
            Failure::HostDev,
            format!("{forbidden}: nothing is ever written there"),
            "where the container sees the host's /dev it needs only the device rule; else take \
             that mount out of its definition",
        )),
        Ok(Ok(Err(ObserveError::Other(error)))) => Err(Trouble::passing(
            Failure::Look,
            format!("{error:#}"),
            "wait for the next try",
        )),
        Ok(Err(panicked)) => Err(Trouble::passing(
            Failure::Look,
            panicked.to_string(),
            "report this",
        )),
        Err(_) => {
            world.borrow_mut().hanging.insert(id.clone(), look);
            Err(hangs)
        }
    }
}

fn put_record(
    world: &RefCell<World>,
    id: &ContainerId,
    running: &Running,
    record: Record,
) -> Result<(), Trouble> {
    let mut world = world.borrow_mut();
    world
        .store
        .put_record(id, &running.started_at, record)
        .map_err(|error| disk_trouble(&error))
}

fn disk_trouble(error: &anyhow::Error) -> Trouble {
    Trouble::passing(Failure::Disk, format!("{error:#}"), "make room on the disk")
}

fn engine_trouble(error: EngineError) -> Trouble {
    let remedy = "look at the engine's log";
    Trouble::passing(Failure::Engine, error.to_string(), remedy)
}

/// One line per node or link that was made or removed.
fn log_done(
    op: &Op,
    id: &ContainerId,
    name: &str,
    wants: &[Want],
    rights: &Rights,
    since: Instant,
) {
    let latency = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let of: BTreeMap<&NodePath, &Want> = wants.iter().map(|want| (&want.node, want)).collect();
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
                    remedy = Rights::missing_line(*devnum),
                    "the node is there, but the container has no right to open it"
                );
            }
        }
        Op::MakeLink { path, target, .. } => tracing::info!(
            message_id = kind::MADE, action = "link", link_target = target, container_name = name,
            container_id = %id.0, container_path = %path, latency_ms = latency, operation = %op,
            "link made"
        ),
        Op::RemoveNode { path, devnum } => tracing::info!(
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
