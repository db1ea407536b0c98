//! `ttyplugd check`: everything that would stop a port from working, and what to do about it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use super::{ConfigFile, EXIT_USAGE, block_on, plain, print, print_json, survey};
use crate::assign::{Conflict, Want, shared_links};
use crate::config::LabelPolicy;
use crate::docker::{Engine, Running};
use crate::holds::answering_keepers;
use crate::inventory::{Container, ContainerId, ContainerState};
use crate::labels;
use crate::model::DevNum;
use crate::monitor;
use crate::observe::{has_remapped_users, missing_programs};
use crate::reconcile::preview;
use crate::rights::Rights;
use crate::world::World;

/// The name under which the wrapper is registered in the engine.
const RUNTIME: &str = "ttyplug";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// A port does not work because of it.
    Error,
    /// A port may not work as it is meant to.
    Warning,
    /// Good to know.
    Note,
}

#[derive(Debug)]
struct Finding {
    level: Level,
    /// What it is about: a file, a port, a container.
    subject: String,
    what: String,
    /// What mends it; empty for a note.
    remedy: String,
}

#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
    /// Containers whose keepers answer.
    keepers: BTreeSet<ContainerId>,
}

impl Report {
    fn add(&mut self, level: Level, subject: &str, what: impl Into<String>, remedy: &str) {
        self.findings.push(Finding {
            level,
            subject: subject.to_owned(),
            what: what.into(),
            remedy: remedy.to_owned(),
        });
    }
}

pub(super) fn run(
    config: &ConfigFile,
    state: &Path,
    run_dir: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    let settings = match config.load() {
        Ok(settings) => settings,
        Err(errors) => {
            for error in errors {
                let place = match error.line {
                    Some(line) => format!("{}:{line}", error.file.display()),
                    None => error.file.display().to_string(),
                };
                let remedy = "correct it; a running daemon keeps the old configuration until then";
                report.add(Level::Error, &place, error.message, remedy);
            }
            report.print(as_json)?;
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    if config.is_missing() {
        let what = "there is no such file; ports are given by labels alone";
        report.add(
            Level::Warning,
            &config.path().display().to_string(),
            what,
            "check the path",
        );
    }
    if !monitor::udevd_is_there() {
        report.add(
            Level::Error,
            "udev",
            "udevd is not running, so that no plug is ever heard",
            "systemctl start systemd-udevd",
        );
    }
    block_on(async {
        match survey(settings, state).await {
            Ok((engine, world)) => {
                report.engine(&engine).await;
                report.runtime(&engine).await;
                report.ports(&world.borrow());
                report.keepers = answering_keepers(run_dir).await;
                let containers = world.borrow().inventory.containers.clone();
                for (id, container) in &containers {
                    report.container(&engine, &world, id, container).await;
                }
            }
            Err(error) => report.add(
                Level::Error,
                "engine",
                format!("{error:#}"),
                "start Docker, or set DOCKER_HOST=unix://…; reading its socket takes root",
            ),
        }
    })?;
    report.print(as_json)?;
    let failed = report.findings.iter().any(|f| f.level == Level::Error);
    Ok(ExitCode::from(u8::from(failed)))
}

impl Report {
    async fn engine(&mut self, engine: &Engine) {
        match engine.version().await {
            Ok(version) => self.add(
                Level::Note,
                "engine",
                format!("Docker {version} answers"),
                "",
            ),
            Err(error) => self.add(
                Level::Error,
                "engine",
                error.to_string(),
                "systemctl status docker",
            ),
        }
    }

    /// Whether early opens can be held at all.
    async fn runtime(&mut self, engine: &Engine) {
        match engine.has_runtime(RUNTIME).await {
            Ok(true) => self.add(Level::Note, "runtime", "ttyplug is registered", ""),
            Ok(false) => self.add(
                Level::Note,
                "runtime",
                "ttyplug is not registered, so that early opens are not held; add to \
                 /etc/docker/daemon.json: {\"runtimes\": {\"ttyplug\": {\"path\": \
                 \"/usr/bin/ttyplug-runtime\"}}}, and then: systemctl reload docker",
                "",
            ),
            Err(error) => self.add(
                Level::Error,
                "runtime",
                error.to_string(),
                "see docker info",
            ),
        }
        let Ok(output) = Command::new("runc").arg("--version").output() else {
            return;
        };
        let version = String::from_utf8_lossy(&output.stdout);
        if let Err(reason) = crate::runc::can_notify(&version) {
            let what = format!("{reason}, so that early opens are not held");
            self.add(Level::Warning, "runtime", what, "upgrade runc");
        }
    }

    /// Whether early opens are held in one container.
    fn holding(&mut self, subject: &str, running: &Running, id: &ContainerId) {
        let answers = self.keepers.contains(id);
        match (running.runtime == RUNTIME, answers) {
            (true, true) => self.add(Level::Note, subject, "its early opens are held", ""),
            (true, false) => self.add(
                Level::Error,
                subject,
                "its keeper does not answer: serial opens fail with ENOSYS, or it was started \
                 before it had a port",
                &format!("docker restart {}", id.short()),
            ),
            (false, _) => self.add(
                Level::Note,
                subject,
                "its early opens are not held; to have that, add to its service: runtime: ttyplug",
                "",
            ),
        }
    }

    /// What can be said of the ports without looking into a container.
    fn ports(&mut self, world: &World) {
        let World {
            settings,
            inventory,
            assigned,
            ..
        } = world;
        for port in &settings.ports {
            let subject = format!("port {}", port.name);
            let devices: Vec<_> = inventory
                .devices
                .values()
                .filter(|device| port.device.matches(device))
                .map(|device| device.node.as_str())
                .collect();
            match devices.as_slice() {
                [] => self.add(
                    Level::Warning,
                    &subject,
                    format!("no device that is plugged in matches {}", port.device),
                    "plug it in, or compare with `ttyplugd ports`",
                ),
                [device] => self.add(Level::Note, &subject, format!("is {device}"), ""),
                several => self.add(
                    Level::Warning,
                    &subject,
                    format!("several devices match: {}", several.join(", ")),
                    "add `serial` or `by-path` to its match, so that the choice is yours",
                ),
            }
            let users: Vec<_> = assigned
                .shares
                .iter()
                .filter_map(|(id, share)| {
                    let share = share.as_ref().ok()?;
                    let has = share
                        .wants
                        .iter()
                        .any(|want| want.port == port.name.as_str())
                        || share
                            .absent
                            .iter()
                            .any(|absent| absent.port == port.name.as_str());
                    Some(inventory.containers.get(id)?.name.as_str()).filter(|_| has)
                })
                .collect();
            if users.is_empty() {
                self.add(
                    Level::Warning,
                    &subject,
                    "no container is to have it",
                    "compare its `containers` with `docker ps --all`, or set the label \
                     ttyplugd.port.NAME.use=true on a container",
                );
            } else {
                self.add(
                    Level::Note,
                    &subject,
                    format!("is for {}", users.join(", ")),
                    "",
                );
            }
            if port.known_names().is_empty() {
                let what = "has neither a `node` nor a link that is known, so that opens of it \
                            are held only once its device has been seen";
                self.add(Level::Note, &subject, what, "");
            }
        }
        for (link, devices) in shared_links(&inventory.devices) {
            self.add(
                Level::Warning,
                link.as_str(),
                format!(
                    "is claimed by {}; the last one that was plugged in has it",
                    devices.join(" and ")
                ),
                "match these devices by by-path",
            );
        }
    }

    async fn container(
        &mut self,
        engine: &Engine,
        world: &std::cell::RefCell<World>,
        id: &ContainerId,
        container: &Container,
    ) {
        let subject = format!("container {}", container.name);
        let policy = world.borrow().settings.labels;
        if policy == LabelPolicy::Container {
            let image = container.image_labels.as_ref().unwrap_or(&container.labels);
            for label in labels::ignored_labels(&container.labels, image) {
                self.add(
                    Level::Warning,
                    &subject,
                    format!("the label {label} came with the image and does not count"),
                    "give the container a [[port]] in the configuration, or set labels = \"image\" \
                     there",
                );
            }
        }
        match world.borrow().assigned.shares.get(id) {
            None => return,
            Some(Err(error)) => {
                let remedy = "correct the label and create the container again";
                let what = format!("{error}; it gets no port");
                return self.add(Level::Error, &subject, what, remedy);
            }
            Some(Ok(share)) => {
                for conflict in &share.conflicts {
                    let level = match conflict {
                        Conflict::Node { .. } => Level::Error,
                        Conflict::Link { .. } => Level::Warning,
                    };
                    self.add(level, &subject, conflict.to_string(), conflict.remedy());
                }
            }
        }
        if container.state == ContainerState::Stopped {
            return self.add(
                Level::Note,
                &subject,
                "is not running; it is served when it starts",
                "",
            );
        }
        let running = match engine.inspect(id).await {
            Ok(Some(mut running)) => {
                running
                    .rights
                    .devices
                    .extend(world.borrow().store.granted(id));
                running
            }
            Ok(None) => return,
            Err(error) => {
                return self.add(Level::Error, &subject, error.to_string(), "look at its log");
            }
        };
        let wants = world.borrow().assigned.wants(id).to_vec();
        self.rights(&subject, &running, &wants);
        self.holding(&subject, &running, id);
        match preview(engine, world, id).await {
            Ok(Some(preview)) => {
                for trouble in &preview.troubles {
                    let port = trouble.port.as_deref().unwrap_or_default();
                    let what = format!("port {port}: {}", trouble.cause);
                    self.add(Level::Error, &subject, what, &trouble.remedy);
                }
            }
            Ok(None) => return,
            // It sees the host's /dev, and may work all the same.
            Err(trouble) if !trouble.retry => {
                return self.add(Level::Warning, &subject, trouble.cause, &trouble.remedy);
            }
            Err(trouble) => {
                return self.add(Level::Error, &subject, trouble.cause, &trouble.remedy);
            }
        }
        self.exec(&subject, &running, id);
    }

    /// The second gate, the device cgroup.
    fn rights(&mut self, subject: &str, running: &Running, wants: &[Want]) {
        let majors: BTreeSet<u32> = wants
            .iter()
            .filter(|want| !running.rights.allow(want.devnum))
            .map(|want| want.devnum.major)
            .collect();
        for major in majors {
            let line = Rights::missing_line(DevNum { major, minor: 0 });
            self.add(
                Level::Error,
                subject,
                format!("its device cgroup does not let it open devices of major number {major}"),
                &format!("add to its service: {line}"),
            );
        }
    }

    /// What keeps a command in it from making nodes.
    fn exec(&mut self, subject: &str, running: &Running, id: &ContainerId) {
        if running.paused {
            self.add(
                Level::Note,
                subject,
                "is paused; it is served when it goes on",
                "",
            );
        }
        if running.drops_mknod {
            self.add(
                Level::Error,
                subject,
                "the capability MKNOD was taken from it (cap_drop)",
                "add to its service: cap_add: [MKNOD, CHOWN, FOWNER]",
            );
        }
        match has_remapped_users(running.pid, id) {
            Ok(false) => {}
            Ok(true) => self.add(
                Level::Error,
                subject,
                "its users are remapped, and the kernel lets nobody open a node on its /dev",
                "add to its service: userns_mode: host",
            ),
            Err(error) => self.add(Level::Error, subject, format!("{error:#}"), "run as root"),
        }
        match missing_programs(running.pid, id, &running.path) {
            Ok(missing) if missing.is_empty() => {}
            Ok(missing) => self.add(
                Level::Error,
                subject,
                format!("its image lacks {}", missing.join(", ")),
                "use an image that has them, e.g. one with busybox or coreutils",
            ),
            Err(error) => self.add(Level::Error, subject, format!("{error:#}"), "run as root"),
        }
    }

    fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            let findings: Vec<Value> = self.findings.iter().map(as_value).collect();
            let ok = self.findings.iter().all(|f| f.level != Level::Error);
            return print_json(&json!({ "schema": 1, "ok": ok, "findings": findings }));
        }
        let mut text = String::new();
        for finding in &self.findings {
            let style = match finding.level {
                Level::Error => anstyle::AnsiColor::Red.on_default().bold(),
                Level::Warning => anstyle::AnsiColor::Yellow.on_default(),
                Level::Note => anstyle::AnsiColor::Green.on_default(),
            };
            let word = finding.level.word();
            let (subject, what) = (plain(&finding.subject), plain(&finding.what));
            text += &format!("{style}{word:<7}{style:#} {subject}: {what}\n");
            if finding.level != Level::Note {
                text += &format!("        {}\n", plain(&finding.remedy));
            }
        }
        print(&text)
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "ok",
        }
    }
}

fn as_value(finding: &Finding) -> Value {
    json!({
        "level": match finding.level { Level::Note => "note", level => level.word() },
        "subject": finding.subject,
        "what": finding.what,
        "remedy": finding.remedy,
    })
}
