//! The two ways in which the operations of a plan are carried out: by one command in the container,
//! and from outside through its root directory.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::settings::InjectPolicy;
use crate::container::inject::{InjectError, inject};
use crate::container::observe::{View, observe};
use crate::container::rootfs::{Grounds, RootError};
use crate::container::script::{self, Explained};
use crate::daemon::reconcile::{Job, Seen};
use crate::daemon::state::World;
use crate::engine::container::Running;
use crate::engine::{Engine, EngineError, Executed};
use crate::model::NodePath;
use crate::model::inventory::ContainerId;
use crate::model::problem::Failure;
use crate::model::problem::Problem;
use crate::plan::{Op, Plan};

#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// By one command in the container.
    Exec(&'a Engine),
    /// Through its root directory.
    Namespace,
}

/// How it went.
#[derive(Debug)]
pub enum Outcome {
    Exec(Result<Executed, EngineError>),
    Namespace(Result<(), InjectError>),
}

/// How long something in a container's root directory may take: it may be on a file system that
/// hangs.
const ROOT_LIMIT: Duration = Duration::from_secs(5);

impl<'a> Way<'a> {
    /// The way for a container as it runs now, if there is one: nothing can be executed in a paused
    /// container, or while the engine is away.
    pub fn into(job: Job<'a>, running: &Running, seen: &Seen) -> Option<Self> {
        let world = job.world.borrow();
        // Whatever the policy is now: no command can take a mount away.
        let unbinds = |op: &Op| matches!(op, Op::RemoveNode { bound: true, .. });
        if seen.plan.ops.iter().any(unbinds) {
            return Some(Self::Namespace);
        }
        let has_not_worked = world.from_outside.get(job.id) == Some(&running.started_at);
        let cannot_work = running.drops_mknod || seen.view.actual.remapped || has_not_worked;
        let exec = job.engine.filter(|_| !running.paused).map(Self::Exec);
        match world.settings.inject {
            InjectPolicy::Exec => exec,
            InjectPolicy::Auto if !cannot_work => exec.or(Some(Self::Namespace)),
            InjectPolicy::Auto | InjectPolicy::Namespace => Some(Self::Namespace),
        }
    }

    /// Carries out a plan, whatever comes of it, and looks at what has come of it.
    ///
    /// # Errors
    /// It cannot even be begun, or what has come of it cannot be seen.
    pub async fn carry_out(
        self,
        job: Job<'_>,
        running: &Running,
        plan: &Plan,
        view: View,
        paths: &BTreeSet<NodePath>,
    ) -> Result<(Outcome, View), Problem> {
        let Job { world, id, .. } = job;
        match self {
            Self::Exec(engine) => {
                let argv = script::command(plan, &view.real).ok_or_else(|| {
                    let cause = "a directory of the plan was not looked at";
                    Problem::lasting(Failure::Look, cause, "report this")
                })?;
                leave(view);
                let outcome = Outcome::Exec(engine.exec(id, argv).await);
                Ok((outcome, look(world, id, running, paths.clone()).await?))
            }
            Self::Namespace => {
                let (grounds, ops, paths) = (view.grounds, plan.ops.clone(), paths.clone());
                let work = move || (inject(&grounds, &ops), observe(grounds, &paths));
                let (done, view) = in_its_root(world, id, work).await?;
                Ok((Outcome::Namespace(done), seen(world, view)?))
            }
        }
    }
}

/// Looks into a container.
///
/// # Errors
/// It cannot be looked into, or nothing may be written there.
pub async fn look(
    world: &RefCell<World>,
    id: &ContainerId,
    running: &Running,
    paths: BTreeSet<NodePath>,
) -> Result<View, Problem> {
    let (pid, container, foreign) = (running.pid, id.clone(), running.foreign.clone());
    let work = move || {
        let grounds = Grounds::open(pid, &container, foreign)?;
        observe(grounds, &paths)
    };
    seen(world, in_its_root(world, id, work).await?)
}

/// Lets go of a container's root directory. Nobody waits for that: once the container has ended, its
/// file system may be written out then.
pub fn leave(view: View) {
    spawn_blocking(move || drop(view.grounds));
}

fn seen(world: &RefCell<World>, looked: Result<View, RootError>) -> Result<View, Problem> {
    match looked {
        Ok(mut view) => {
            // A command in the container can make nodes and nothing else.
            view.actual.remapped &= world.borrow().settings.inject != InjectPolicy::Exec;
            Ok(view)
        }
        Err(RootError::Forbidden(forbidden)) => Err(Problem::lasting(
            Failure::HostDev,
            format!("{forbidden}: nothing is ever written there"),
            "where the container sees the host's /dev it needs only the right to open the device; \
             else take that mount out of its definition",
        )),
        Err(RootError::Other(error)) => {
            let fix = "wait for the next try";
            Err(Problem::passing(Failure::Look, format!("{error:#}"), fix))
        }
    }
}

impl Outcome {
    /// Whether nothing of it can still be coming.
    pub fn has_ended(&self) -> bool {
        matches!(
            self,
            Self::Exec(Ok(Executed::Ended(_))) | Self::Namespace(_)
        )
    }

    /// Whether it is for a reason of the container's that something is left, and not of the
    /// engine's.
    pub fn is_the_containers(&self) -> bool {
        matches!(self, Self::Exec(Ok(_) | Err(EngineError::Other(_))))
    }

    /// Why something is left to be done: `what`.
    pub fn problem(self, what: &str) -> Problem {
        let (failure, Explained { cause, fix }) = match self {
            Self::Exec(Ok(Executed::Ended(said)) | Err(EngineError::Other(said))) => {
                (Failure::Exec, script::explain(&said))
            }
            Self::Exec(Ok(Executed::Hung)) => {
                let cause = "the command in the container did not end in time and was killed";
                let fix = "look at what /bin/sh and mknod are in the image";
                (Failure::Exec, explained(cause, fix))
            }
            Self::Exec(Err(error)) => return engine_problem(&error),
            Self::Namespace(Err(error)) => {
                let cause = error.to_string();
                (Failure::Inject, explained(cause, error.fix()))
            }
            Self::Namespace(Ok(())) => {
                let fix = "look at what the container does in its /dev";
                (Failure::Inject, explained("it was undone at once", fix))
            }
        };
        Problem::passing(failure, format!("{what} failed: {cause}"), fix)
    }
}

fn explained(cause: impl Into<String>, fix: &str) -> Explained {
    Explained {
        cause: cause.into(),
        fix: fix.into(),
    }
}

pub fn engine_problem(error: &EngineError) -> Problem {
    Problem::passing(
        Failure::Engine,
        error.to_string(),
        "look at the engine's log",
    )
}

/// What of a container is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// What is below its root directory, which the container can make hang.
    Root,
    /// Its control group, which it cannot.
    Group,
}

/// Does something in a container's root directory.
///
/// # Errors
/// It takes too long.
pub async fn in_its_root<T: Send + 'static>(
    world: &RefCell<World>,
    id: &ContainerId,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    in_place(world, (id.clone(), Place::Root), work).await
}

/// Does something in a container's control group.
///
/// # Errors
/// It takes too long.
pub async fn in_its_group<T: Send + 'static>(
    world: &RefCell<World>,
    id: &ContainerId,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    in_place(world, (id.clone(), Place::Group), work).await
}

/// What hangs cannot be stopped; as long as it does nothing else is begun in the same place.
async fn in_place<T: Send + 'static>(
    world: &RefCell<World>,
    place: (ContainerId, Place),
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let hangs = match place.1 {
        Place::Root => Problem::passing(
            Failure::Look,
            "looking into the container takes too long",
            "look for a file system in it that hangs",
        ),
        Place::Group => Problem::passing(
            Failure::Right,
            "changing what the container may open takes too long",
            "look at whether systemd answers: systemctl status",
        ),
    };
    let still_hangs = {
        let hanging = &mut world.borrow_mut().hanging;
        hanging.retain(|_, work| !work.is_finished());
        hanging.contains_key(&place)
    };
    if still_hangs {
        return Err(hangs);
    }
    let mut work = spawn_blocking(work);
    match timeout(ROOT_LIMIT, &mut work).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panicked)) => {
            let cause = panicked.to_string();
            Err(Problem::passing(Failure::Look, cause, "report this"))
        }
        Err(_) => {
            let mut world = world.borrow_mut();
            world.hanging.insert(place, work.abort_handle());
            Err(hangs)
        }
    }
}
