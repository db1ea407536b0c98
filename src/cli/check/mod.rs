//! `ttyplugd check`: everything that would stop a port from working, and what to do about it.
//!
//! It reads and never changes anything, with the daemon or without it. What is found is told from
//! the ground up: udevd, the engine, the daemon, other programs, the ports, the runtime, the
//! containers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::timeout;

use self::finding::{Level, Report};
use self::host::Host;
use self::processes::number_of;
use self::scene::Scene;
use self::service::Unit;
use crate::cli::client;
use crate::cli::options::ConfigFile;
use crate::cli::output::{EXIT_USAGE, print, print_json};
use crate::cli::survey::{block_on, survey};
use crate::config::ConfigError;
use crate::config::settings::Settings;
use crate::daemon::keepers::answering_keepers;
use crate::daemon::state::World;
use crate::engine::Engine;
use crate::model::Hold;
use crate::model::inventory::{Container, ContainerId};
use crate::monitor;

mod access;
mod brltty;
mod cgroup;
mod codes;
mod container;
mod engine;
mod finding;
#[cfg(test)]
mod golden;
mod host;
mod kernel;
mod permissions;
mod ports;
mod processes;
mod scene;
mod service;

/// How long it may take to read the host's files.
const HOST_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(
    config: &ConfigFile,
    state: &Path,
    run_dir: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    let code = match config.load() {
        Ok(settings) => {
            if config.is_missing() {
                let file = config.path().display().to_string();
                let what = "there is no such file";
                report.warning(codes::CONFIGURATION_MISSING, &file, what, "check the path");
            }
            block_on(everything(&mut report, settings, state, run_dir))?;
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

async fn everything(report: &mut Report, settings: Settings, state: &Path, run_dir: &Path) {
    if !monitor::udevd_is_there() {
        let what = "udevd is not running";
        report.error(codes::UDEVD, "udev", what, "systemctl start systemd-udevd");
    }
    let host = look_at_host(report).await;
    let status = client::ask(run_dir).await;
    let scene = match survey(settings, state).await {
        Ok((engine, world)) => scene(report, engine, world, host, run_dir).await,
        Err(error) => {
            report.error(
                codes::ENGINE,
                "engine",
                format!("{error:#}"),
                "start Docker, or set DOCKER_HOST=unix://…; reading its socket takes root",
            );
            None
        }
    };
    report.service(&status, Unit::read(Path::new("/")));
    let Some(scene) = scene.map(Rc::new) else {
        return;
    };
    {
        let world = scene.world.borrow();
        report.host(&scene.host, &world.inventory, &world.assigned);
        report.ports(&world);
    }
    let (mut asking, mut of_containers) = (Vec::new(), Report::default());
    let mut users = BTreeMap::<_, Vec<_>>::new();
    let containers = scene.world.borrow().inventory.containers.clone();
    // Side by side, so that one that is slow delays no other.
    let looks = containers.into_iter().map(|(id, container)| {
        let name = container.name.clone();
        let asks = asks_to_hold(&scene.world.borrow(), &id, &container);
        let look = container::check(scene.clone(), id, container);
        (name, asks, spawn_local(look))
    });
    for (name, asks, look) in looks.collect::<Vec<_>>() {
        let Ok(looked) = look.await else { continue };
        if scene.info.is_ours(&looked.runtime) {
            users.entry(looked.runtime).or_default().push(name);
        } else if asks {
            asking.push(name);
        }
        of_containers.append(looked.report);
    }
    report.runtime(&scene.info, &users, &asking);
    report.append(of_containers);
    if let Ok(status) = status {
        report.failures(&status);
    }
}

async fn look_at_host(report: &mut Report) -> Host {
    let look = spawn_blocking(|| Host::look(Path::new("/"), &number_of));
    match timeout(HOST_LIMIT, look).await {
        Ok(Ok(host)) => host,
        _ => {
            let what = "reading /proc and udev's rules takes too long";
            let fix = "look for a file system that hangs";
            report.warning(codes::HOST_UNREADABLE, "host", what, fix);
            Host::default()
        }
    }
}

async fn scene(
    report: &mut Report,
    engine: Engine,
    world: RefCell<World>,
    host: Host,
    run_dir: &Path,
) -> Option<Scene> {
    match engine.info().await {
        Ok(info) => {
            report.engine(&info);
            let keepers = answering_keepers(run_dir).await.inspect_err(|error| {
                let what = format!(
                    "the keepers in {} cannot be asked: {error}",
                    run_dir.display()
                );
                report.warning(codes::HOST_UNREADABLE, "host", what, "run this as root");
            });
            Some(Scene {
                engine,
                info,
                world,
                host,
                keepers: keepers.ok(),
            })
        }
        Err(error) => {
            let fix = "systemctl status docker";
            report.error(codes::ENGINE, "engine", error.to_string(), fix);
            None
        }
    }
}

/// Whether a port of the container says itself for how long opens of it are to be held.
fn asks_to_hold(world: &World, id: &ContainerId, container: &Container) -> bool {
    let Some(Ok(share)) = world.assigned.shares.get(id) else {
        return false;
    };
    let mut of_file = world.settings.ports.iter().filter(|port| {
        let asks = port.hold.is_some_and(|hold| hold != Hold::Off);
        asks && share.has(port.name.as_str())
    });
    let own = container.counting_labels(world.settings.labels);
    let asks = |(key, value): (&String, &String)| {
        key.starts_with("ttyplugd.port.") && key.ends_with(".hold") && value != "off"
    };
    of_file.next().is_some() || own.iter().any(asks)
}

impl Report {
    fn configuration(&mut self, errors: Vec<ConfigError>) {
        for error in errors {
            let place = match error.line {
                Some(line) => format!("{}:{line}", error.file.display()),
                None => error.file.display().to_string(),
            };
            let fix = "correct it, and: systemctl reload ttyplugd";
            self.error(codes::CONFIGURATION, &place, error.message, fix);
        }
    }
}
