//! `ttyplugd wait`: returns when a port is ready, for scripts.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::time::timeout;

use crate::cli::client::{Watcher, not_there};
use crate::cli::options::RunDirectory;
use crate::cli::output::plain;
use crate::cli::survey::block_on;
use crate::daemon::status::document::{PortState, PortStatus, Status};
use crate::model::{Hold, PortName};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The name of the port.
    port: PortName,
    /// The container in which it has to be ready; without it, every one that runs and is
    /// to have the port.
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// For how long to wait at most: a time such as 60s or 5m, or forever.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = limit)]
    timeout: Hold,
    #[command(flatten)]
    run: RunDirectory,
}

fn limit(text: &str) -> Result<Hold, String> {
    match text.parse() {
        Ok(Hold::Off) | Err(_) => Err("is not \"forever\" or a time such as \"60s\"".into()),
        Ok(limit) => Ok(limit),
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        port, container, ..
    } = arguments;
    let run_dir = &arguments.run.run_dir;
    block_on(async {
        let mut reason = not_there(run_dir);
        let ready = until_ready(run_dir, port, container.as_deref(), &mut reason);
        let Hold::Seconds(seconds) = arguments.timeout else {
            return ready.await;
        };
        match timeout(Duration::from_secs(seconds), ready).await {
            Ok(result) => result,
            Err(_) => bail!("port {port} is not ready after {seconds} s: {reason}"),
        }
    })??;
    Ok(ExitCode::SUCCESS)
}

/// `reason` is why it is not, as long as it is not.
async fn until_ready(
    run_dir: &Path,
    port: &PortName,
    container: Option<&str>,
    reason: &mut String,
) -> anyhow::Result<()> {
    let mut watcher = Watcher::start_when_there(run_dir).await?;
    loop {
        while let Some(status) = watcher.next().await {
            match missing(&status, port.as_str(), container) {
                None => return Ok(()),
                Some(why) => *reason = why,
            }
        }
        *reason = not_there(run_dir);
        watcher.start_again().await?;
    }
}

/// What is missing for the port to be ready; `None` if nothing is.
fn missing(status: &Status, port: &str, container: Option<&str>) -> Option<String> {
    let is_meant = |row: &&PortStatus| match container {
        // A container with a label that is not understood has no port, and so this one neither.
        Some(name) => row.container == name && (row.port == port || row.port.is_empty()),
        None => row.port == port,
    };
    let mut rows: Vec<_> = status.ports.iter().filter(is_meant).collect();
    // One that does not run has nothing to be ready in, and counts only where no other does.
    if container.is_none() && rows.iter().any(|row| !row.stopped) {
        rows.retain(|row| !row.stopped);
    }
    if !rows.is_empty() {
        let row = rows.iter().find(|row| row.state != PortState::Ready)?;
        let cause = row.cause.as_deref().unwrap_or("it is being made");
        let fix = row.fix.as_deref().map(|fix| format!("; {fix}"));
        return Some(plain(&format!(
            "in container {} {cause}{}",
            row.container,
            fix.unwrap_or_default()
        )));
    }
    if let Some(error) = &status.engine_error {
        return Some(plain(&format!(
            "the engine is not there: {error}; systemctl status docker"
        )));
    }
    if !status.engine {
        return Some("the engine has not answered yet; systemctl status docker".into());
    }
    Some(plain(&match container {
        Some(name) => format!(
            "no container {name} is to have a port of that name; see ttyplugd status, and the \
             `containers` of the port"
        ),
        None => "no container is to have a port of that name; see ttyplugd status, and the \
                 `containers` of the port"
            .to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(port: &str, container: &str, state: PortState) -> PortStatus {
        let failed = state == PortState::Failed;
        PortStatus {
            port: port.into(),
            container: container.into(),
            container_id: "1".repeat(64),
            stopped: false,
            node: None,
            device: None,
            state,
            since: None,
            cause: failed.then(|| "a directory is\u{1b} in the way".into()),
            fix: failed.then(|| "remove it".into()),
            holding: false,
            bound: false,
        }
    }

    fn status(ports: Vec<PortStatus>) -> Status {
        Status {
            schema: 1,
            version: "0".into(),
            engine: true,
            engine_error: None,
            ports,
            held: Vec::new(),
        }
    }

    #[test]
    fn a_port_has_to_be_ready_in_every_container_or_in_the_named_one() {
        use PortState::{Failed, Ready, Waiting};
        let status = status(vec![
            row("zwave", "a", Ready),
            row("zwave", "b", Failed),
            row("meter", "b", Ready),
            row("modem", "c", Waiting),
            row("", "d", Failed),
        ]);
        let missing = |port, container| missing(&status, port, container);
        assert_eq!(missing("meter", None), None);
        assert_eq!(missing("zwave", Some("a")), None);
        let failed = "in container b a directory is\u{fffd} in the way; remove it";
        assert_eq!(missing("zwave", None).unwrap(), failed);
        assert_eq!(missing("zwave", Some("b")).unwrap(), failed);
        let making = "in container c it is being made";
        assert_eq!(missing("modem", None).unwrap(), making);
        let label = missing("zwave", Some("d")).unwrap();
        assert!(label.starts_with("in container d "), "{label}");
        for (port, container) in [("nothing", None), ("meter", Some("a"))] {
            let nobody = missing(port, container).unwrap();
            assert!(nobody.contains("is to have a port"), "{nobody}");
        }
    }

    #[test]
    fn a_container_that_does_not_run_counts_where_it_is_named_or_none_runs() {
        let stopped = PortStatus {
            stopped: true,
            cause: Some("its container does not run".into()),
            fix: Some("start it: docker start old".into()),
            ..row("zwave", "old", PortState::Waiting)
        };
        let alone = status(vec![stopped.clone()]);
        let both = status(vec![stopped, row("zwave", "new", PortState::Ready)]);
        assert_eq!(missing(&both, "zwave", None), None);
        let why = "in container old its container does not run; start it: docker start old";
        assert_eq!(missing(&both, "zwave", Some("old")).unwrap(), why);
        assert_eq!(missing(&alone, "zwave", None).unwrap(), why);
    }

    #[test]
    fn where_the_engine_is_not_there_that_is_the_reason() {
        let mut status = status(Vec::new());
        status.engine = false;
        assert!(missing(&status, "zwave", None).unwrap().contains("engine"));
        status.engine_error = Some("connection refused".into());
        let reason = missing(&status, "zwave", None).unwrap();
        assert!(reason.contains("connection refused"), "{reason}");
    }

    #[test]
    fn a_limit_is_a_time_or_forever() {
        assert_eq!(limit("90s"), Ok(Hold::Seconds(90)));
        assert_eq!(limit("forever"), Ok(Hold::Forever));
        for bad in ["", "off", "0s", "60", "-1s"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
