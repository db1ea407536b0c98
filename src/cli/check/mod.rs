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
use crate::cli::snapshot::{Engines, snapshot};
use crate::config::ConfigError;
use crate::config::labels::port_requests;
use crate::config::settings::Settings;
use crate::daemon::keepers::{Answer, answering_keepers};
use crate::daemon::state::State;
use crate::engine::places::podman_is_silent;
use crate::engine::runtimes::EngineInfo;
use crate::hold::protocol::HeldOpen;
use crate::model::Hold;
use crate::model::inventory::{Container, ContainerId, EngineName};
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
    if podman_is_silent(settings.engines.as_deref()) {
        report.podman_is_silent();
    }
    let (engines, state) = match snapshot(settings, run_dir, state_dir).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report.no_engine(&error);
            return None;
        }
    };
    for error in &engines.errors {
        report.no_engine(error);
    }
    let infos = infos(report, &engines).await;
    let only_told = state.borrow().only_told.clone();
    if infos.is_empty() && only_told.is_empty() {
        return None;
    }
    report.told_engines(only_told.iter().map(|id| &id.engine).collect());
    let keepers = answering_keepers(run_dir).await.inspect_err(|error| {
        let what = format!("cannot read {}/k: {error}", run_dir.display());
        report.warning(codes::HOST_UNREADABLE, "host", what, "run as root");
    });
    let keepers = keepers.ok().map(|answers| held(&state.borrow(), answers));
    Some(Context {
        infos,
        state,
        host,
        keepers,
    })
}

/// The opens that keepers hold, by containers.
fn held(state: &State, answers: Vec<Answer>) -> BTreeMap<ContainerId, Vec<HeldOpen>> {
    let mut held: BTreeMap<_, Vec<HeldOpen>> = BTreeMap::new();
    for answer in answers {
        let id = state.identify(&answer.told()).unwrap_or(answer.told());
        held.entry(id).or_default().extend(answer.report.held);
    }
    held
}

/// What the engines say of themselves.
async fn infos(report: &mut Report, engines: &Engines) -> BTreeMap<EngineName, EngineInfo> {
    let mut infos = BTreeMap::new();
    for (name, engine) in engines.all() {
        match engine.info().await {
            Ok(info) => {
                let info = info.unwrap_or_default();
                report.engine(name, &info);
                infos.insert(name.clone(), info);
            }
            Err(error) => {
                let fix = match name.unit() {
                    Some(unit) => format!("systemctl status {unit}"),
                    None => format!("look at the log of the engine at {name}"),
                };
                report.error(codes::ENGINE, "engine", error.to_string(), fix);
            }
        }
    }
    infos
}

/// Checks all containers at the same time, so a slow one does not delay the others.
async fn check_containers(report: &mut Report, context: Rc<Context>) {
    let containers = context.state.borrow().inventory.containers.clone();
    let checks = containers.into_iter().map(|(id, container)| {
        let (engine, name) = (id.engine.clone(), container.name.clone());
        let sets_hold = sets_hold(&context.state.borrow(), &id, &container);
        let check = container::check(context.clone(), id, container);
        (engine, name, sets_hold, spawn_local(check))
    });
    let mut findings = Report::default();
    let mut users = BTreeMap::<EngineName, Users>::new();
    for (engine, name, sets_hold, check) in checks.collect::<Vec<_>>() {
        let Ok(checked) = check.await else { continue };
        findings.append(checked.report);
        let Some(info) = context.infos.get(&engine) else {
            continue;
        };
        let users = users.entry(engine).or_default();
        let runtime = info.name_of(&checked.runtime);
        if info.is_ours(runtime) {
            let users = users.by_runtime.entry(runtime.to_owned());
            users.or_default().push(name);
        } else if sets_hold {
            users.with_hold.push(name);
        }
    }
    for (engine, info) in &context.infos {
        let users = users.remove(engine).unwrap_or_default();
        report.runtime(engine, info, &users.by_runtime, &users.with_hold);
    }
    report.append(findings);
}

/// The containers of an engine.
#[derive(Default)]
struct Users {
    /// Those whose runtime is the wrapper, by the name of that.
    by_runtime: BTreeMap<String, Vec<String>>,
    /// Others, for which `hold` is set.
    with_hold: Vec<String>,
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
