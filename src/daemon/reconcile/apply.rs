//! Carries out a plan: by one command in the container, or from outside through its root directory.
//!
//! Attempt, fall back, settle. A port is ready as soon as it has been seen in place; what goes on
//! record, to the log and to the applications comes after that.

use std::pin::pin;

use tokio::sync::Notify;

use crate::config::settings::InjectPolicy;
use crate::container::inject::{InjectError, inject};
use crate::container::observe::observe;
use crate::container::rootfs::RootError;
use crate::container::script::{self, Explained};
use crate::daemon::reconcile::handle::{Handle, Stop, engine_problem};
use crate::daemon::reconcile::look::{Seen, not_seen};
use crate::daemon::start::Entrance;
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::exec::Executed;
use crate::model::problem::{Failure, Problem};
use crate::plan::{Op, Record, merged, pruned};

/// How the operations of a plan are carried out.
#[derive(Debug, Clone, Copy)]
enum Method<'a> {
    /// By one command in the container.
    Exec(&'a Engine),
    /// From outside, through its root directory.
    Namespace,
}

/// How that went.
#[derive(Debug)]
enum Outcome {
    Exec(Result<Executed, EngineError>),
    Namespace(Result<(), InjectError>),
}

/// How often a command that says something is taken at its word that there is something to see.
const MOST_EARLY_LOOKS: usize = 4;

/// What may still appear in the container though nobody makes it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    /// A command whose end was not seen goes on without us.
    Command,
}

impl Handle<'_> {
    /// Looks into the container and makes and removes what is to be. Returns the problems that are
    /// left.
    ///
    /// # Errors
    /// The start has ended, or the one problem for which nothing could be done at all.
    pub async fn apply(&self, engine: Option<&Engine>) -> Result<Vec<Problem>, Stop> {
        let record = self.record();
        let before = self.look(&record).await;
        let before = before.inspect_err(|problem| self.without_a_dev(problem))?;
        // What brings it here again is the event that unpauses it, or the engine.
        let Some(method) = self.method(engine, &before) else {
            self.set_ready(before.ready(self));
            return Ok(before.problems);
        };
        let mut pending = match self.start.begin_first_look() {
            true => Pending::Command,
            false => Pending::Nothing,
        };
        if pending == Pending::Command {
            self.was_announced(&before);
        }
        if before.plan.ops.is_empty() {
            self.set_ready(before.ready(self));
            self.settle(&record, &before.plan.record, &before, pending)
                .await?;
            return Ok(before.problems);
        }
        let planned = merged(record.clone(), before.plan.record.clone());
        self.put_record(planned).await?;

        let (mut outcome, mut after) = self.attempt(method, &before).await?;
        pending = pending.and(&outcome);
        if let (Method::Exec(_), true) = (method, self.falls_back(&after)) {
            let failed = outcome;
            (outcome, after) = self.attempt(Method::Namespace, &after).await?;
            if failed.is_the_containers() && after.plan.ops.is_empty() {
                self.use_namespace_from_now_on(failed, &before);
            }
        }
        let latency = self.since.elapsed();
        self.settle(&record, &before.plan.record, &after, pending)
            .await?;
        self.log_done(&before, &after, latency);
        let left = after.plan.ops.first();
        let left = left.map(|first| outcome.problem(&first.to_string()));
        Ok(after.problems.into_iter().chain(left).collect())
    }

    /// Where nothing may be written there is nothing to wait for but the device itself.
    fn without_a_dev(&self, problem: &Problem) {
        if problem.failure == Failure::HostDev {
            let wants = self.wants.iter();
            let ready = wants.filter(|want| self.may_open(want.devnum));
            let ready = ready.map(|want| (want.node.clone(), want.devnum));
            self.set_ready(ready.collect());
        }
    }

    /// The method for the container as it runs now, if there is one: nothing can be executed in a
    /// paused container, or while the engine is away.
    fn method<'a>(&self, engine: Option<&'a Engine>, seen: &Seen) -> Option<Method<'a>> {
        // Whatever the policy is now: no command can unmount a node.
        let unmounts = |op: &Op| matches!(op, Op::RemoveNode { bound: true, .. });
        if seen.plan.ops.iter().any(unmounts) {
            return Some(Method::Namespace);
        }
        let actual = &seen.view.actual;
        let cannot_work = self.running.drops_mknod || actual.remapped || self.start.exec_fails();
        let exec = engine.filter(|_| !self.running.paused).map(Method::Exec);
        match self.inject_policy() {
            InjectPolicy::Exec => exec,
            InjectPolicy::Auto if !cannot_work => exec.or(Some(Method::Namespace)),
            InjectPolicy::Auto | InjectPolicy::Namespace => Some(Method::Namespace),
        }
    }

    /// Carries out what is planned, whatever comes of it, and looks at what has come of it. What is in
    /// place then is ready.
    async fn attempt(&self, method: Method<'_>, seen: &Seen) -> Result<(Outcome, Seen), Stop> {
        let record = &seen.plan.record;
        let (outcome, after) = match method {
            Method::Exec(engine) => {
                let outcome = self.execute(engine, seen).await?;
                (outcome, self.look(record).await?)
            }
            Method::Namespace => {
                let (ops, paths) = (seen.plan.ops.clone(), self.paths(record));
                let work = move |entrance: &Entrance| -> Result<_, RootError> {
                    let entered = entrance.rootfs.enter()?;
                    let done = inject(&entered, &ops);
                    Ok((done, observe(&entered, &paths)?))
                };
                let (done, view) = self.in_root(work).await?.map_err(not_seen)?;
                (Outcome::Namespace(done), self.compare(view, record))
            }
        };
        self.set_ready(after.ready(self));
        Ok((outcome, after))
    }

    /// Executes one command for the whole plan. As soon as it says that it is done, what it has made is
    /// looked at: that it has ended is known some milliseconds later.
    async fn execute(&self, engine: &Engine, seen: &Seen) -> Result<Outcome, Stop> {
        let argv = script::command(&seen.plan, &seen.view.real).ok_or_else(|| {
            let cause = "a directory of the plan was not looked at";
            Problem::lasting(Failure::Look, cause, "report this bug")
        })?;
        let record = &seen.plan.record;
        self.start.begin_command(record);
        let output = Notify::new();
        let outcome = self.look_at_output(engine.exec(self.id, argv, &output), &output, record);
        let outcome = Outcome::Exec(outcome.await);
        // It ran in this start if this start is still there.
        if outcome.has_ended() && !self.start.has_ended() {
            self.start.end_command();
        }
        Ok(outcome)
    }

    /// Waits for the end of a command, and looks at what it has made whenever it says something.
    async fn look_at_output<T>(
        &self,
        command: impl Future<Output = T>,
        output: &Notify,
        record: &Record,
    ) -> T {
        let mut command = pin!(command);
        for _ in 0..MOST_EARLY_LOOKS {
            tokio::select! {
                ended = &mut command => return ended,
                () = output.notified() => {
                    // What cannot be seen now is seen when the command has ended.
                    if let Ok(seen) = self.look(record).await {
                        self.set_ready(seen.ready(self));
                    }
                }
            }
        }
        command.await
    }

    fn falls_back(&self, after: &Seen) -> bool {
        self.inject_policy() == InjectPolicy::Auto && !after.plan.ops.is_empty()
    }

    fn use_namespace_from_now_on(&self, failed: Outcome, before: &Seen) {
        let what = before.plan.ops.first().map(Op::to_string);
        let reason = failed.problem(&what.unwrap_or_default()).cause;
        tracing::info!(
            container_name = self.name, container_id = %self.id.0, reason,
            "docker exec cannot create nodes here; using namespace injection"
        );
        self.start.set_exec_fails();
    }

    /// Puts on record what is there now, and announces it.
    async fn settle(
        &self,
        before: &Record,
        planned: &Record,
        seen: &Seen,
        pending: Pending,
    ) -> Result<(), Stop> {
        let record = match pending {
            Pending::Nothing => pruned(planned, &seen.view.actual),
            // Nothing is forgotten for not being there yet.
            Pending::Command => merged(before.clone(), planned.clone()),
        };
        self.put_record(record).await?;
        self.announce(seen).await;
        Ok(())
    }
}

impl Pending {
    fn and(self, outcome: &Outcome) -> Self {
        match outcome.has_ended() {
            true => self,
            false => Self::Command,
        }
    }
}

impl Outcome {
    /// Whether nothing of it can still be coming.
    fn has_ended(&self) -> bool {
        matches!(
            self,
            Self::Exec(Ok(Executed::Ended { .. })) | Self::Namespace(_)
        )
    }

    /// Whether it is for a reason of the container's that something is left, and not of the engine's.
    fn is_the_containers(&self) -> bool {
        matches!(self, Self::Exec(Ok(_) | Err(EngineError::Refused { .. })))
    }

    /// Why something is left to be done: `what`.
    fn problem(self, what: &str) -> Problem {
        let (failure, Explained { cause, fix }) = match self {
            Self::Exec(Ok(Executed::Ended { status, output })) => {
                (Failure::Exec, script::explain(status, &output))
            }
            Self::Exec(Err(error @ EngineError::Refused { .. })) => {
                let cause = script::shorten(&error.to_string());
                (Failure::Exec, explained(cause, error.fix()))
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
                let cause = "the container removed the node immediately";
                let fix = "look at what the container does in its /dev";
                (Failure::Inject, explained(cause, fix))
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
