//! Commands that the engine executes in containers.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::engine::api::error::of_call;
use crate::engine::api::{Api, Result};
use crate::engine::exec::{EXEC_LIMIT, Executed, kill_runtime};
use crate::model::inventory::ContainerId;
use crate::sys::cgroup::is_in_container;
use crate::sys::logging::kind;
use crate::sys::pidfd::kill_member;

/// How much of its output is kept.
const OUTPUT_LIMIT: usize = 4096;

/// The pause before the engine is asked again how a command has ended.
const STATUS_PAUSE: Duration = Duration::from_millis(20);

/// The pause before the runtime of a command is looked for again in a paused container.
const RUNTIME_PAUSE: Duration = Duration::from_millis(100);

impl Api {
    /// Runs a command in a container as its user 0 and waits for its end. `said` is notified of all
    /// output, which is known some milliseconds before the end.
    ///
    /// A command has the environment of the container's definition, and what is given here on top
    /// of it (moby, daemon/exec.go, `ContainerExecCreate`): every variable of it is empty here.
    /// Otherwise the image decides which programs, libraries and functions run as root (ld.so(8),
    /// LD_PRELOAD; bash(1), BASH_ENV).
    ///
    /// `paused` ends when the container is paused. The runtime that starts the command waits for a
    /// process of its own in the container then, and the shim for the runtime, with a lock held
    /// that the unpause needs (containerd, runtime/v2/runc/container.go, `Exec`): the runtime is
    /// killed.
    ///
    /// # Errors
    /// The engine refuses, the container is gone, or it is paused.
    pub(in crate::engine) async fn exec(
        &self,
        id: &ContainerId,
        environment: &BTreeSet<String>,
        argv: Vec<String>,
        said: &Notify,
        paused: impl Future<Output = ()>,
    ) -> Result<Executed> {
        let limit = Instant::now() + EXEC_LIMIT;
        let config = config(environment, argv);
        let exec = self.call(self.docker.create_exec(&id.id, config)).await?.id;
        let run = async {
            let output = self.output(&exec, said).await?;
            let status = self.exit_status(&exec).await?;
            Ok(Executed::Ended { status, output })
        };
        let (is_paused, is_killed) = (Cell::new(false), Cell::new(false));
        // The runtime may be about to start when the container is paused.
        let in_pause = async {
            paused.await;
            is_paused.set(true);
            loop {
                if kill_runtime(&exec).await {
                    is_killed.set(true);
                }
                sleep(RUNTIME_PAUSE).await;
            }
        };
        tokio::select! {
            executed = run => match is_killed.get() {
                true => Ok(Executed::Interrupted),
                false => executed,
            },
            _ = timeout_at(limit, in_pause) => {
                kill_runtime(&exec).await;
                self.kill(id, &exec).await;
                Ok(if is_paused.get() { Executed::Interrupted } else { Executed::Hung })
            }
        }
    }

    async fn output(&self, exec: &str, said: &Notify) -> Result<String> {
        let error = |error| of_call(error, &self.socket);
        let mut text = String::new();
        let started = self.docker.start_exec(exec, None).await.map_err(error)?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(chunk) = output.next().await {
                said.notify_one();
                let chunk = chunk.map_err(error)?.into_bytes();
                if text.len() < OUTPUT_LIMIT {
                    text.push_str(&String::from_utf8_lossy(&chunk));
                }
            }
        }
        Ok(text)
    }

    /// The output may end before the engine has taken note of the status (moby, daemon/monitor.go).
    async fn exit_status(&self, exec: &str) -> Result<i64> {
        loop {
            let exec = self.call(self.docker.inspect_exec(exec)).await?;
            if let (Some(false), Some(status)) = (exec.running, exec.exit_code) {
                return Ok(status);
            }
            sleep(STATUS_PAUSE).await;
        }
    }

    /// The engine has no call that ends an exec. Otherwise every retry would add another one that
    /// hangs.
    async fn kill(&self, id: &ContainerId, exec: &str) {
        let pid = self.call(self.docker.inspect_exec(exec)).await.ok();
        let pid = pid
            .and_then(|exec| exec.pid)
            .and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.filter(|pid| *pid > 1) {
            if let Err(error) = kill_member(pid, |cgroup| is_in_container(cgroup, "", &id.id)) {
                tracing::warn!(
                    message_id = kind::UNFINISHED,
                    container_id = id.id,
                    engine = id.engine.unless_docker(),
                    pid,
                    %error,
                    "cannot kill a command that hangs in a container"
                );
            }
        }
    }
}

fn config(environment: &BTreeSet<String>, argv: Vec<String>) -> ExecConfig {
    ExecConfig {
        cmd: Some(argv),
        env: Some(environment.iter().map(|name| format!("{name}=")).collect()),
        user: Some("0:0".to_owned()),
        // The image's own working directory may be missing, and then nothing could run.
        working_dir: Some("/".to_owned()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    }
}
