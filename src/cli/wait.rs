//! `ttyplugd wait`: returns when a port is ready. For scripts.

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::time::timeout;

use crate::cli::block_on::block_on;
use crate::cli::client::{Watcher, no_answer};
use crate::cli::options::RunDirectory;
use crate::cli::output::printable;
use crate::cli::progress;
use crate::daemon::status::document::{PortState, PortStatus, Status};
use crate::model::{Hold, PortName};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the port.
    port: PortName,
    /// Wait for this container alone. [default: all running containers of the port]
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Longest time to wait: a time such as 60s or 5m, or forever.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_timeout)]
    timeout: Hold,
    #[command(flatten)]
    run: RunDirectory,
}

fn parse_timeout(text: &str) -> Result<Hold, String> {
    match text.parse() {
        Ok(Hold::Off) | Err(_) => Err("expected \"forever\" or a time such as \"60s\"".into()),
        Ok(timeout) => Ok(timeout),
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        port, container, ..
    } = arguments;
    let run_dir = &arguments.run.run_dir;
    block_on(wait(run_dir, port, container.as_deref(), arguments.timeout))??;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the port is ready, and shows on a terminal for how long it has waited for what.
///
/// # Errors
/// It is not ready in time, with the reason.
pub(super) async fn wait(
    run_dir: &Path,
    port: &PortName,
    container: Option<&str>,
    limit: Hold,
) -> anyhow::Result<()> {
    let reason = RefCell::new(no_answer(run_dir));
    let ready = until_ready(run_dir, port, container, &reason);
    let ready = progress::shown(ready, || format!("for port {port}: {}", reason.borrow()));
    let Hold::Seconds(seconds) = limit else {
        return ready.await;
    };
    match timeout(Duration::from_secs(seconds), ready).await {
        Ok(result) => result,
        Err(_) => bail!(
            "port {port} is not ready after {seconds} s: {}",
            reason.borrow()
        ),
    }
}

/// Keeps in `reason` why the port is not ready yet.
async fn until_ready(
    run_dir: &Path,
    port: &PortName,
    container: Option<&str>,
    reason: &RefCell<String>,
) -> anyhow::Result<()> {
    let mut watcher = Watcher::wait_and_connect(run_dir).await?;
    loop {
        while let Some(status) = watcher.next().await {
            match why_not_ready(&status, port.as_str(), container) {
                None => return Ok(()),
                Some(why) => drop(reason.replace(why)),
            }
        }
        reason.replace(no_answer(run_dir));
        watcher.reconnect().await?;
    }
}

/// Why the port is not ready; `None` if it is.
fn why_not_ready(status: &Status, port: &str, container: Option<&str>) -> Option<String> {
    let rows = rows_of(status, port, container);
    let why = if rows.is_empty() {
        why_no_container(status, container)
    } else {
        let row = rows.iter().find(|row| row.state != PortState::Ready)?;
        let cause = row.cause.as_deref().unwrap_or("the port is being created");
        let fix = row.fix.as_deref().map(|fix| format!("; {fix}"));
        format!(
            "in container {}: {cause}{}",
            row.container,
            fix.unwrap_or_default()
        )
    };
    Some(printable(&why))
}

/// The port in the containers that count.
fn rows_of<'a>(status: &'a Status, port: &str, container: Option<&str>) -> Vec<&'a PortStatus> {
    let counts = |row: &&PortStatus| match container {
        // The row of a container with an invalid label names no port, and stands for all of them.
        Some(name) => row.container == name && (row.port == port || row.port.is_empty()),
        None => row.port == port,
    };
    let mut rows: Vec<_> = status.ports.iter().filter(counts).collect();
    // Stopped containers count only if no container of the port is running.
    if container.is_none() && rows.iter().any(|row| !row.stopped) {
        rows.retain(|row| !row.stopped);
    }
    rows
}

fn why_no_container(status: &Status, container: Option<&str>) -> String {
    const COMPARE: &str = "see ttyplugd status, and the `containers` of the port";
    match (&status.engine_error, container) {
        (Some(error), _) => {
            format!("the engine cannot be reached: {error}; see ttyplugd check")
        }
        (None, _) if !status.engine => {
            "the engine has not answered yet; see ttyplugd check".to_owned()
        }
        (None, Some(name)) => format!("no container {name} has a port of that name; {COMPARE}"),
        (None, None) => format!("no container has a port of that name; {COMPARE}"),
    }
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
            engine: None,
            stopped: false,
            node: None,
            device: None,
            state,
            since: None,
            cause: failed.then(|| "a directory is\u{1b} in the way".into()),
            fix: failed.then(|| "remove it".into()),
            notes: Vec::new(),
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
            engines: Vec::new(),
            state_error: None,
            config_error: None,
            reloads: Some(0),
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
        let why = |port, container| why_not_ready(&status, port, container);
        assert_eq!(why("meter", None), None);
        assert_eq!(why("zwave", Some("a")), None);
        let failed = "in container b: a directory is\u{fffd} in the way; remove it";
        assert_eq!(why("zwave", None).unwrap(), failed);
        assert_eq!(why("zwave", Some("b")).unwrap(), failed);
        let creating = "in container c: the port is being created";
        assert_eq!(why("modem", None).unwrap(), creating);
        let label = why("zwave", Some("d")).unwrap();
        assert!(label.starts_with("in container d: "), "{label}");
        for (port, container) in [("nothing", None), ("meter", Some("a"))] {
            let nobody = why(port, container).unwrap();
            assert!(nobody.contains("has a port of that name"), "{nobody}");
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
        assert_eq!(why_not_ready(&both, "zwave", None), None);
        let why = "in container old: its container does not run; start it: docker start old";
        assert_eq!(why_not_ready(&both, "zwave", Some("old")).unwrap(), why);
        assert_eq!(why_not_ready(&alone, "zwave", None).unwrap(), why);
    }

    #[test]
    fn the_reason_is_the_engine_while_it_is_down() {
        let mut status = status(Vec::new());
        status.engine = false;
        assert!(
            why_not_ready(&status, "zwave", None)
                .unwrap()
                .contains("engine")
        );
        status.engine_error = Some("connection refused".into());
        let reason = why_not_ready(&status, "zwave", None).unwrap();
        assert!(reason.contains("connection refused"), "{reason}");
    }

    #[test]
    fn a_timeout_is_a_time_or_forever() {
        assert_eq!(parse_timeout("90s"), Ok(Hold::Seconds(90)));
        assert_eq!(parse_timeout("forever"), Ok(Hold::Forever));
        for bad in ["", "off", "0s", "60", "-1s"] {
            assert!(parse_timeout(bad).is_err(), "{bad}");
        }
    }
}
