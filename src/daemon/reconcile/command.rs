//! A command in the container, from its start until its end was seen.
//!
//! The engine may be killed while it runs, the container paused while it starts, or the daemon
//! restarted. Its entries stay on record until it can act no more: it begins within its time or does
//! nothing, and once begun it is a process of the container.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::container::command::may_run;
use crate::container::script;
use crate::daemon::blocking::Part;
use crate::daemon::reconcile::handle::{Handle, Stop};
use crate::daemon::reconcile::look::Seen;
use crate::daemon::start::Entrance;
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::exec::{EXEC_LIMIT, Executed};
use crate::model::problem::{Failure, Problem};
use crate::plan::Record;
use crate::sys::clock::uptime;

/// How many lines of a command's output cause an early look into the container, at most.
const MOST_EARLY_LOOKS: usize = 4;

/// A command that acts at all is a process of the container so long after it was asked for. The script counts
/// whole seconds.
const SEEN_AFTER: Duration = EXEC_LIMIT.saturating_add(Duration::from_secs(2));

impl Handle<'_> {
    /// Executes one command for the whole plan. Its output says when it is done, and the result is
    /// looked at then: the engine reports its end some milliseconds later.
    ///
    /// # Errors
    /// The start has ended, or the plan cannot be a command.
    pub async fn execute(
        &self,
        engine: &Engine,
        seen: &Seen,
    ) -> Result<Result<Executed, EngineError>, Stop> {
        let until = uptime() + EXEC_LIMIT.as_secs();
        let argv = script::command(&seen.plan, &seen.view.real, until).ok_or_else(|| {
            let cause = "the plan names a directory that was not looked at";
            Problem::lasting(Failure::Look, cause, "report this bug")
        })?;
        let record = &seen.plan.record;
        let begun = self.start.begin_command(record);
        let output = Notify::new();
        let environment = &self.running.environment;
        let outcome = engine.exec(self.id(), environment, argv, &output, self.paused());
        let outcome = self.look_at_output(outcome, &output, record).await;
        // If this start has not ended, the command ran in it.
        if has_ended(&outcome) && !self.start.has_ended() {
            self.start.end_command(begun);
        }
        Ok(outcome)
    }

    /// Waits for the end of a command, and looks into the container whenever it prints something.
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
                    // After a failure the look at the end of the command is enough.
                    if let Ok(seen) = self.look(record).await {
                        self.set_ready(seen.ready(self));
                    }
                }
            }
        }
        command.await
    }

    /// Looks for the process of a command whose end was not seen. Without one, those that began a
    /// while ago can act no more.
    pub async fn look_for_command(&self) {
        let until = Instant::now().checked_sub(SEEN_AFTER);
        let Some(until) = until.filter(|_| self.start.has_unfinished()) else {
            return;
        };
        let look = |entrance: &Entrance| may_run(&*entrance.group()?, &entrance.rootfs);
        if let Ok(Ok(false)) = self.run(Part::Root, look).await {
            self.start.end_commands_until(until);
        }
    }
}

/// Whether the script itself has reported its end. The engine and the runtime have exit statuses of
/// their own for commands of which they know less.
fn has_ended(outcome: &Result<Executed, EngineError>) -> bool {
    matches!(outcome, Ok(Executed::Ended { status, .. }) if script::is_own_status(*status))
}
