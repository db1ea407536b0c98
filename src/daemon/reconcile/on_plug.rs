//! Restarts or signals a container when a port has come back to it: many applications never open their
//! port again.
//!
//! Whether it has come back follows from which plug the port was last ready with in this start. That is on
//! record, so a daemon that starts later knows it too.

use crate::daemon::reconcile::handle::{Handle, Stop, engine_problem};
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::model::on_plug::OnPlug;
use crate::model::problem::{Failure, Problem};
use crate::plan::assign::WantedPort;
use crate::sys::clock::monotonic;
use crate::sys::logging::kind;

/// How often something is done for a port of a container, at most, in milliseconds. What comes back
/// sooner is seen by the next resync.
const PERIOD: u64 = 60_000;

impl Handle<'_> {
    /// Does what is set for ports that have come back since the start.
    ///
    /// # Errors
    /// The start has ended, or a problem.
    pub async fn act_on_plugs(&self, engine: Option<&Engine>) -> Result<(), Stop> {
        let ready = self
            .wants
            .iter()
            .filter(|want| want.on_plug != OnPlug::None && self.is_ready(want));
        let mut back = Vec::new();
        for want in ready {
            if self.has_come_back(want)? {
                back.push(want);
            }
        }
        // Before anything is done: a daemon that is killed now does it once too few, not twice.
        self.write().await?;
        match back.iter().any(|want| want.on_plug == OnPlug::Restart) {
            true => self.restart(engine, &back).await,
            false => self.signal(&back).await,
        }
    }

    /// Whether the port was ready in this start with another plug, and it is time to do something. Puts
    /// the first plug of a start on record.
    fn has_come_back(&self, want: &WantedPort) -> Result<bool, Stop> {
        let last = self.last_plug(&want.port);
        let acted = last.as_ref().and_then(|last| last.acted);
        match last.filter(|last| last.start.is(&self.running.start)) {
            Some(last) => {
                let is_time = acted.is_none_or(|acted| monotonic().saturating_sub(acted) >= PERIOD);
                Ok(last.plugged != want.plugged && is_time)
            }
            None => self
                .put_plug(&want.port, want.plugged, acted)
                .map(|()| false),
        }
    }

    /// Restarts the container once for all these ports, unless it is paused or somebody is stopping it.
    async fn restart(&self, engine: Option<&Engine>, back: &[&WantedPort]) -> Result<(), Stop> {
        let Some(engine) = engine.filter(|_| !self.running.paused) else {
            return Ok(());
        };
        if !engine.takes_commands() {
            return Err(cannot_restart(back).into());
        }
        let before: Vec<_> = back.iter().map(|want| self.last_plug(&want.port)).collect();
        self.put_acted(back).await?;
        if self.start.is_stopping() || self.start.has_ended() {
            return Ok(());
        }
        match engine.restart(self.id()).await {
            Ok(()) | Err(EngineError::Silent) => {}
            Err(error) => {
                for (want, last) in back.iter().zip(before) {
                    let plugged = last.as_ref().map_or(0, |last| last.plugged);
                    self.put_plug(&want.port, plugged, last.and_then(|last| last.acted))?;
                }
                return Err(engine_problem(&error, &self.id().engine).into());
            }
        }
        self.metrics().restarts.add(1);
        self.log_action(
            back,
            "restart",
            "container restarted because its port came back",
        );
        Ok(())
    }

    /// Sends the container's first process each signal once.
    async fn signal(&self, back: &[&WantedPort]) -> Result<(), Stop> {
        if back.is_empty() {
            return Ok(());
        }
        self.put_acted(back).await?;
        let mut sent = Vec::new();
        for want in back {
            if let OnPlug::Signal(signal) = want.on_plug {
                if !sent.contains(&signal) && self.start.entrance().signal(signal).is_ok() {
                    sent.push(signal);
                    self.metrics().signals.add(1);
                    let what = format!("{signal} sent because its port came back");
                    self.log_action(&[want], "signal", &what);
                }
            }
        }
        Ok(())
    }

    /// Puts on record that something is done for these plugs now.
    async fn put_acted(&self, back: &[&WantedPort]) -> Result<(), Stop> {
        let now = Some(monotonic());
        for want in back {
            self.put_plug(&want.port, want.plugged, now)?;
        }
        self.write().await
    }

    fn log_action(&self, back: &[&WantedPort], action: &str, what: &str) {
        let ports: Vec<&str> = back.iter().map(|want| &*want.port).collect();
        tracing::info!(
            message_id = kind::ON_PLUG,
            action,
            port = ports.join(","),
            container_name = self.name(),
            container_id = self.id().id,
            engine = self.engine_name(),
            "{what}"
        );
    }
}

fn cannot_restart(back: &[&WantedPort]) -> Problem {
    let cause = "it came back, and the container cannot be restarted: ttyplugd does not speak to its engine";
    let fix = "set its on-plug to a signal that ends the application, e.g. \"signal TERM\"";
    let problem = Problem::lasting(Failure::Definition, cause, fix);
    match back.first() {
        Some(want) => problem.of_port(&want.port),
        None => problem,
    }
}
