//! `ttyplugd check`: finds everything that keeps ports from working, and how to fix it.
//!
//! It changes nothing, and works with or without the daemon. The order of the findings: host,
//! engine, daemon, other programs, ports, runtime, containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::timeout;

use self::context::Context;
use self::finding::{Level, Report};
use self::host::Host;
use self::processes::number_of;
use self::service::Unit;
use crate::cli::block_on::block_on;
use crate::cli::client::fetch_status;
use crate::cli::options::ConfigFile;
use crate::cli::output::{EXIT_USAGE, print, print_json};
use crate::cli::snapshot::snapshot;
use crate::config::ConfigError;
use crate::config::labels::port_requests;
use crate::config::settings::Settings;
use crate::daemon::keepers::answering_keepers;
use crate::daemon::state::State;
use crate::model::Hold;
use crate::model::inventory::{Container, ContainerId};
use crate::monitor;

mod brltty;
mod cgroup_rules;
mod codes;
mod container;
mod context;
mod credentials;
mod device_cgroup;
mod engine;
mod finding;
#[cfg(test)]
mod golden;
mod host;
mod kernel;
mod node_access;
mod ports;
mod processes;
mod service;
mod stale_nodes;

/// The time limit for reading the host's files.
const HOST_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(
    config: &ConfigFile,
    state_dir: &Path,
    run_dir: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    let code = match config.load() {
        Ok(settings) => {
            if config.is_missing() {
                let file = config.path().display().to_string();
                let what = "file not found";
                report.warning(codes::CONFIGURATION_MISSING, &file, what, "check the path");
            }
            block_on(run_checks(&mut report, settings, state_dir, run_dir))?;
            u8::from(report.count(Level::Error) > 0)
        }
        Err(errors) => {
            report.configuration(errors);
            EXIT_USAGE
        }
    };
    report.sort();
    if as_json {
        print_json(&report.as_value())?;
    } else {
        print(&report.as_text())?;
    }
    Ok(ExitCode::from(code))
}

async fn run_checks(report: &mut Report, settings: Settings, state_dir: &Path, run_dir: &Path) {
    if !monitor::udevd_was_started() {
        let what = "udevd is not running";
        report.error(codes::UDEVD, "udev", what, "systemctl start systemd-udevd");
    }
    let host = read_host(report).await;
    let status = fetch_status(run_dir).await;
    let context = context(report, settings, state_dir, host, run_dir).await;
    report.service(&status, Unit::read(Path::new("/")));
    let Some(context) = context else { return };
    {
        let state = context.state.borrow();
        report.host(&context.host, &state.inventory, &state.assigned);
        report.ports(&state);
    }
    check_containers(report, Rc::new(context)).await;
    if let Ok(status) = status {
        report.failed_ports(&status);
    }
}

async fn read_host(report: &mut Report) -> Host {
    let read = spawn_blocking(|| Host::read(Path::new("/"), &number_of));
    match timeout(HOST_LIMIT, read).await {
        Ok(Ok(host)) => host,
        _ => {
            let what = "reading /proc and the udev rules takes too long";
            let fix = "look for a file system that hangs";
            report.warning(codes::HOST_UNREADABLE, "host", what, fix);
            Host::default()
        }
    }
}

/// `None` if the engine cannot be asked.
async fn context(
    report: &mut Report,
    settings: Settings,
    state_dir: &Path,
    host: Host,
    run_dir: &Path,
) -> Option<Context> {
    let (engine, state) = match snapshot(settings, run_dir, state_dir).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let what = format!("{error:#}");
            let fix = "start Docker, or set DOCKER_HOST=unix://…, or run as root";
            report.error(codes::ENGINE, "engine", what, fix);
            return None;
        }
    };
    let info = match engine.info().await {
        Ok(info) => info,
        Err(error) => {
            let fix = "systemctl status docker";
            report.error(codes::ENGINE, "engine", error.to_string(), fix);
            return None;
        }
    };
    report.engine(&info);
    let keepers = answering_keepers(run_dir).await.inspect_err(|error| {
        let what = format!("cannot read {}/k: {error}", run_dir.display());
        report.warning(codes::HOST_UNREADABLE, "host", what, "run as root");
    });
    Some(Context {
        engine,
        info,
        state,
        host,
        keepers: keepers.ok(),
    })
}

/// Checks all containers at the same time, so a slow one does not delay the others.
async fn check_containers(report: &mut Report, context: Rc<Context>) {
    let containers = context.state.borrow().inventory.containers.clone();
    let checks = containers.into_iter().map(|(id, container)| {
        let name = container.name.clone();
        let sets_hold = sets_hold(&context.state.borrow(), &id, &container);
        let check = container::check(context.clone(), id, container);
        (name, sets_hold, spawn_local(check))
    });
    let (mut with_hold, mut findings) = (Vec::new(), Report::default());
    let mut users = BTreeMap::<_, Vec<_>>::new();
    for (name, sets_hold, check) in checks.collect::<Vec<_>>() {
        let Ok(checked) = check.await else { continue };
        if context.info.is_ours(&checked.runtime) {
            users.entry(checked.runtime).or_default().push(name);
        } else if sets_hold {
            with_hold.push(name);
        }
        findings.append(checked.report);
    }
    report.runtime(&context.info, &users, &with_hold);
    report.append(findings);
}

/// Whether `hold` is set for a port of the container, in the configuration or by a label.
fn sets_hold(state: &State, id: &ContainerId, container: &Container) -> bool {
    let Some(Ok(assignment)) = state.assigned.by_container.get(id) else {
        return false;
    };
    let (policy, defined) = (state.settings.labels, &state.settings.ports);
    let labels = container.counting_labels(policy);
    let requests = port_requests(&labels, policy, defined).unwrap_or_default();
    let holds = |hold: Option<Hold>| hold.is_some_and(|hold| hold != Hold::Off);
    let in_file = defined
        .iter()
        .filter(|port| assignment.has(port.name.as_str()));
    let mut of_file = in_file.map(|port| requests.hold.or(port.hold));
    let mut own = requests.own.iter().map(|port| port.hold);
    of_file.any(holds) || own.any(holds)
}

impl Report {
    fn configuration(&mut self, errors: Vec<ConfigError>) {
        for error in errors {
            let place = match error.line {
                Some(line) => format!("{}:{line}", error.file.display()),
                None => error.file.display().to_string(),
            };
            let fix = "correct it, then: systemctl reload ttyplugd";
            self.error(codes::CONFIGURATION, &place, error.message, fix);
        }
    }
}
