//! One container from what it has to what it should have: inspect, observe, plan, record,
//! execute, observe again.
//!
//! What has been achieved is read from the container, never believed from what a command in it
//! said.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::accounts;
use crate::assign::{Assigned, Want};
use crate::config::Settings;
use crate::docker::{Engine, EngineError, Executed, Running};
use crate::inventory::{ContainerId, Inventory};
use crate::logging::kind;
use crate::model::NodePath;
use crate::observe::{ObserveError, View, observe};
use crate::plan::{Op, Plan, Record, Wanted, plan, settled};
use crate::report::Trouble;
use crate::rights::Rights;
use crate::script::{self, Explained};
use crate::state::Store;

/// All that is known, and what of it outlives the daemon.
#[derive(Debug)]
pub struct World {
    pub settings: Settings,
    pub inventory: Inventory,
    pub assigned: Assigned,
    pub store: Store,
    /// Looks into containers that did not end in time. Their threads cannot be stopped, so that a
    /// container is not looked into again before its last one has ended.
    pub hanging: BTreeMap<ContainerId, JoinHandle<Look>>,
}

type Look = Result<View, ObserveError>;

/// How long it may take to look into a container: its root may be on a file system that hangs.
const OBSERVE_LIMIT: Duration = Duration::from_secs(5);

/// What was found and what follows from it, before anything is done.
#[derive(Debug)]
pub struct Preview {
    pub running: Running,
    pub wants: Vec<Want>,
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
    let Some(running) = engine.inspect(id).await.map_err(engine_trouble)? else {
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
    let view = look(world, id, &running, paths(&wants, &record)).await?;
    let mut troubles = Vec::new();
    let wanted = resolve(&wants, &view, &mut troubles);
    let plan = plan(&wanted, &view.actual, &record);
    troubles.extend(plan.blocked.iter().map(|blocked| Trouble {
        port: Some(blocked.port.clone()),
        cause: format!("{} at {}", blocked.cause, blocked.path),
        remedy: blocked.remedy.clone(),
        retry: false,
    }));
    Ok(Some(Preview {
        running,
        wants,
        view,
        plan,
        troubles,
    }))
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
    let troubles = match preview(engine, world, id).await {
        Ok(None) => return Vec::new(),
        // The event that unpauses a container brings it here again.
        Ok(Some(preview)) if preview.running.paused => preview.troubles,
        Ok(Some(preview)) => match apply(engine, world, id, name, since, preview).await {
            Ok(troubles) => troubles,
            Err(trouble) => vec![trouble],
        },
        Err(trouble) => vec![trouble],
    };
    // What fails in a container that ends meanwhile is no trouble.
    if troubles.iter().any(|trouble| trouble.retry) {
        if let Ok(None) = engine.inspect(id).await {
            return Vec::new();
        }
    }
    troubles
}

async fn apply(
    engine: &Engine,
    world: &RefCell<World>,
    id: &ContainerId,
    name: &str,
    since: Instant,
    preview: Preview,
) -> Result<Vec<Trouble>, Trouble> {
    let Preview {
        running,
        wants,
        view,
        plan,
        mut troubles,
    } = preview;
    put_record(world, id, &running, plan.record.clone())?;
    if plan.ops.is_empty() {
        put_record(world, id, &running, settled(&plan.record, &view.actual))?;
        return Ok(troubles);
    }

    let argv = script::command(&plan, &view.real)
        .ok_or_else(|| trouble("a directory of the plan was not looked at", "report this"))?;
    let executed = engine.exec(id, argv).await;

    let view = look(world, id, &running, paths(&wants, &plan.record)).await?;
    put_record(world, id, &running, settled(&plan.record, &view.actual))?;
    let mut unresolved = Vec::new();
    let wanted = resolve(&wants, &view, &mut unresolved);
    let left = self::plan(&wanted, &view.actual, &plan.record).ops;
    let done = |op: &&Op| left.iter().all(|other| other.path() != op.path());
    for op in plan.ops.iter().filter(done) {
        log_done(op, id, name, &wants, &running.rights, since);
    }
    if let Some(first) = left.first() {
        troubles.push(failure(first, executed));
    }
    Ok(troubles)
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
    Trouble {
        port: None,
        cause: format!("{first} failed: {cause}"),
        remedy,
        retry: true,
    }
}

fn paths(wants: &[Want], record: &Record) -> BTreeSet<NodePath> {
    let wanted = wants
        .iter()
        .flat_map(|want| std::iter::once(&want.node).chain(&want.links));
    wanted.chain(record.keys()).cloned().collect()
}

/// A port whose owner or group the container does not know is left out.
fn resolve(wants: &[Want], view: &View, troubles: &mut Vec<Trouble>) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for want in wants {
        match accounts::resolve(want, &view.passwd, &view.group) {
            Ok(want) => wanted.push(want),
            Err(unknown) => troubles.push(Trouble {
                port: Some(want.port.clone()),
                cause: unknown.to_string(),
                remedy: format!(
                    "give the port's {} as a number",
                    match unknown.kind {
                        "user" => "owner",
                        kind => kind,
                    }
                ),
                retry: false,
            }),
        }
    }
    wanted
}

async fn look(
    world: &RefCell<World>,
    id: &ContainerId,
    running: &Running,
    paths: BTreeSet<NodePath>,
) -> Result<View, Trouble> {
    let hangs = trouble(
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
        Ok(Ok(Err(ObserveError::Forbidden(forbidden)))) => Err(Trouble {
            port: None,
            cause: format!("{forbidden}: nothing is ever written there"),
            remedy: "where the container sees the host's /dev it needs only the device rule; \
                     else take that mount out of its definition"
                .into(),
            retry: false,
        }),
        Ok(Ok(Err(ObserveError::Other(error)))) => {
            Err(trouble(format!("{error:#}"), "wait for the next try"))
        }
        Ok(Err(panicked)) => Err(trouble(panicked.to_string(), "report this")),
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
        .map_err(|error| trouble(format!("{error:#}"), "make room on the disk"))
}

fn trouble(cause: impl Into<String>, remedy: &str) -> Trouble {
    Trouble {
        port: None,
        cause: cause.into(),
        remedy: remedy.into(),
        retry: true,
    }
}

fn engine_trouble(error: EngineError) -> Trouble {
    trouble(error.to_string(), "look at the engine's log")
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
