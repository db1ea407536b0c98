//! Carries out a plan: by one command in the container, or from the host through its root directory.
//!
//! Attempt, fall back, settle. A port is ready as soon as its node was seen in place; the record, the
//! log and the uevents come after that.

use std::time::{Duration, Instant};

use tokio::task::yield_now;

use crate::config::settings::InjectPolicy;
use crate::container::inject::{InjectError, inject};
use crate::container::observe::{Question, observe};
use crate::container::script::{self, Explained};
use crate::daemon::blocking::Part;
use crate::daemon::reconcile::handle::{Handle, Stop, engine_problem};
use crate::daemon::reconcile::look::{Seen, not_seen};
use crate::daemon::start::Entrance;
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::exec::Executed;
use crate::model::inventory::EngineName;
use crate::model::problem::{Failure, Problem};
use crate::plan::{Op, Record, merged, pruned};

/// How the operations of a plan are carried out.
#[derive(Debug, Clone, Copy)]
enum Method<'a> {
    /// By one command in the container.
    Exec(&'a Engine),
    /// From the host, through its root directory.
    Namespace,
}

/// The result of carrying out a plan.
#[derive(Debug)]
enum Outcome {
    Exec(Result<Executed, EngineError>),
    Namespace(Result<(), InjectError>),
}

/// A container before anything is made in it.
#[derive(Debug)]
pub struct Before {
    seen: Seen,
    /// When that was.
    at: Instant,
    /// Nobody has looked into this start before.
    is_first: bool,
}

/// What was seen is acted upon for so long. The container goes on meanwhile, and while it is granted access
/// systemd may be asked, which takes longer.
const FRESH: Duration = Duration::from_millis(10);

impl Handle<'_> {
    /// Looks into the container before anything is made in it.
    ///
    /// # Errors
    /// The container cannot be read.
    pub async fn look_before(&self) -> Result<Before, Problem> {
        let record = self.record();
        let is_first = self.start.begin_first_look();
        if is_first && (!record.is_empty() || self.records_are_lost()) {
            // Those of a command of an earlier daemon, for all that is known.
            self.start.begin_command(&record);
        }
        self.look_for_command().await;
        let at = Instant::now();
        let seen = self.look(&record).await?;
        Ok(Before { seen, at, is_first })
    }

    /// Looks again if it was long ago.
    async fn look_now(&self, before: Before) -> Result<Before, Problem> {
        if before.at.elapsed() < FRESH {
            return Ok(before);
        }
        let at = Instant::now();
        let seen = self.look(&self.record()).await?;
        Ok(Before { seen, at, ..before })
    }

    /// Makes what is wanted in the container and removes the rest. Returns the problems that are left.
    ///
    /// # Errors
    /// The start has ended, or a problem because of which nothing could be done.
    pub async fn apply(
        &self,
        engine: Option<&Engine>,
        before: Result<Before, Problem>,
    ) -> Result<Vec<Problem>, Stop> {
        let Before { seen, is_first, .. } = self.look_now(before?).await?;
        let before = seen;
        // The container is tried again when it is unpaused, or when the engine is back.
        let Some(method) = self.method(engine, &before) else {
            self.set_ready(before.ready(self));
            return Ok(before.problems);
        };
        let method = self.where_safe(method, &before).await;
        let method = method.inspect_err(|_| self.set_ready(before.ready(self)))?;
        if is_first {
            self.was_announced(&before);
        }
        if before.plan.ops.is_empty() {
            self.set_ready(before.ready(self));
            self.settle(&before.plan.record, &before).await?;
            return Ok(before.problems);
        }
        let planned = merged(self.record(), before.plan.record.clone());
        self.put_record(planned).await?;
        self.carry_out(method, &before).await
    }

    /// Carries out a plan that is on record. Returns the problems that are left.
    async fn carry_out(&self, method: Method<'_>, before: &Seen) -> Result<Vec<Problem>, Stop> {
        let (outcome, after) = self.attempt_or_fall_back(method, before).await?;
        let latency = self.since().elapsed();
        self.settle(&before.plan.record, &after).await?;
        self.log_done(before, &after, latency);
        let left = after.plan.ops.first();
        let left = left.and_then(|first| outcome.problem(&first.to_string(), &self.id().engine));
        Ok(after.problems.into_iter().chain(left).collect())
    }

    async fn attempt_or_fall_back(
        &self,
        method: Method<'_>,
        before: &Seen,
    ) -> Result<(Outcome, Seen), Stop> {
        let (failed, after) = self.attempt(method, before).await?;
        if matches!(method, Method::Namespace) || !self.falls_back(&after) {
            return Ok((failed, after));
        }
        let (outcome, after) = self.attempt(Method::Namespace, &after).await?;
        if failed.is_the_containers() && after.plan.ops.is_empty() {
            let operation = before.plan.ops.first().map(Op::to_string);
            if let Some(problem) = failed.problem(&operation.unwrap_or_default(), &self.id().engine)
            {
                self.use_namespace_from_now_on(problem.cause);
            }
        }
        Ok((outcome, after))
    }

    /// The method for the container as it runs now. `None` if a command is needed but cannot be
    /// executed: the container is paused, or the engine does not answer.
    fn method<'a>(&self, engine: Option<&'a Engine>, seen: &Seen) -> Option<Method<'a>> {
        // No command can unmount a node, whatever the policy is now.
        let unmounts = |op: &Op| matches!(op, Op::RemoveNode { bound: true, .. });
        if seen.plan.ops.iter().any(unmounts) {
            return Some(Method::Namespace);
        }
        let actual = &seen.view.actual;
        let exec_cannot_work =
            self.running.drops_mknod || actual.remapped || self.start.exec_fails();
        let exec = engine.filter(|_| !self.running.paused).map(Method::Exec);
        match self.inject_policy {
            InjectPolicy::Exec => exec,
            InjectPolicy::Auto if !exec_cannot_work => exec.or(Some(Method::Namespace)),
            InjectPolicy::Auto | InjectPolicy::Namespace => Some(Method::Namespace),
        }
    }

    /// The method, but no command where users other than the container's root could make use of it.
    ///
    /// # Errors
    /// The container cannot be read, or a command is the only method.
    async fn where_safe<'a>(&self, method: Method<'a>, seen: &Seen) -> Result<Method<'a>, Problem> {
        if seen.plan.ops.is_empty() || matches!(method, Method::Namespace) {
            return Ok(method);
        }
        let policy = self.inject_policy;
        let cause = match self.replaceable(seen).await {
            Ok(None) => return Ok(method),
            Ok(Some(path)) => format!("users other than root could replace {path} in it"),
            Err(problem) if policy == InjectPolicy::Exec => return Err(problem),
            Err(problem) => problem.cause,
        };
        match policy {
            InjectPolicy::Exec => Err(Problem::lasting(
                Failure::Exec,
                format!("no command is executed: {cause}"),
                "set inject = \"auto\", or make it root's alone in the image: chown root, chmod go-w",
            )),
            InjectPolicy::Auto | InjectPolicy::Namespace => {
                self.use_namespace_from_now_on(cause);
                Ok(Method::Namespace)
            }
        }
    }

    async fn replaceable(&self, seen: &Seen) -> Result<Option<String>, Problem> {
        let directories: Vec<String> = seen.view.real.values().cloned().collect();
        let look = self.run(Part::Root, move |entrance| {
            let entered = entrance.rootfs.enter()?;
            entered.replaceable(directories.iter().map(String::as_str))
        });
        look.await?.map_err(|error| not_seen(&error))
    }

    /// Carries out the plan and looks at the result, also after a failure. Nodes that are in place then
    /// are ready.
    async fn attempt(&self, method: Method<'_>, seen: &Seen) -> Result<(Outcome, Seen), Stop> {
        let record = &seen.plan.record;
        let (outcome, after) = match method {
            Method::Exec(engine) => {
                let outcome = self.execute(engine, seen).await?;
                (Outcome::Exec(outcome), self.look(record).await?)
            }
            Method::Namespace => {
                let (ops, question) = (seen.plan.ops.clone(), self.question(record));
                let was_swept = self.start.is_swept();
                self.start.set_swept(false);
                let work = move |entrance: &Entrance| -> anyhow::Result<_> {
                    let entered = entrance.rootfs.enter()?;
                    let done = inject(&entered, &ops);
                    let question = Question {
                        // All that was seen before has been swept, unless sweeping has failed.
                        leftovers: done.is_err(),
                        ..question
                    };
                    Ok((done, observe(&entered, &question)?))
                };
                let (done, view) = self
                    .run(Part::Root, work)
                    .await?
                    .map_err(|error| not_seen(&error))?;
                self.start.set_swept(was_swept && done.is_ok());
                (Outcome::Namespace(done), self.compare(view, record))
            }
        };
        self.set_ready(after.ready(self));
        Ok((outcome, after))
    }

    fn falls_back(&self, after: &Seen) -> bool {
        self.inject_policy == InjectPolicy::Auto && !after.plan.ops.is_empty()
    }

    fn use_namespace_from_now_on(&self, reason: String) {
        tracing::info!(
            container_name = self.name(),
            container_id = self.id().id,
            engine = self.engine_name(),
            reason,
            "commands cannot create nodes here; using namespace injection"
        );
        self.start.set_exec_fails();
    }

    /// Puts on record what is in place now and what a command may still make. Notes what is left as it
    /// is, and announces what is in place.
    async fn settle(&self, planned: &Record, seen: &Seen) -> Result<(), Stop> {
        // The connections to keepers come first: opens wait for what is ready now.
        yield_now().await;
        self.set_notes(&seen.plan.notes);
        let in_place = pruned(planned, &seen.view.actual);
        self.put_record(merged(in_place, self.start.unfinished()))
            .await?;
        self.announce(seen).await;
        Ok(())
    }
}

impl Outcome {
    /// Whether the container, and not the engine, is why operations are left.
    fn is_the_containers(&self) -> bool {
        match self {
            Self::Exec(Ok(Executed::Ended { status, .. })) => !script::began_too_late(*status),
            Self::Exec(Ok(_) | Err(EngineError::Refused { .. })) => true,
            _ => false,
        }
    }

    /// Why `operation` is left; `None` if the container was paused, after which it is tried again.
    fn problem(self, operation: &str, engine: &EngineName) -> Option<Problem> {
        let (failure, Explained { cause, fix }) = match self {
            Self::Exec(Ok(Executed::Ended { status, output })) => {
                (Failure::Exec, script::explain(status, &output, engine))
            }
            Self::Exec(Err(error @ EngineError::Refused { .. })) => {
                let cause = script::shorten(&error.to_string());
                (Failure::Exec, explained(cause, &error.fix(engine)))
            }
            Self::Exec(Ok(Executed::Hung)) => {
                let cause = "the command in the container did not end in time and was killed";
                let fix = "check /bin/sh and mknod in the image";
                (Failure::Exec, explained(cause, fix))
            }
            Self::Exec(Ok(Executed::Interrupted)) => return None,
            Self::Exec(Err(error)) => return Some(engine_problem(&error, engine)),
            Self::Namespace(Err(error)) => {
                let cause = error.to_string();
                (Failure::Inject, explained(cause, error.fix()))
            }
            Self::Namespace(Ok(())) => {
                let cause = "the container removed the node immediately";
                (Failure::Inject, explained(cause, script::LOOK_IN_DEV))
            }
        };
        let cause = format!("{operation} failed: {cause}");
        Some(Problem::passing(failure, cause, fix))
    }
}

fn explained(cause: impl Into<String>, fix: &str) -> Explained {
    Explained {
        cause: cause.into(),
        fix: fix.into(),
    }
}
