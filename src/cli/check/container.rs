//! One container: whether its ports work, and whether its application can open them.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::cgroup_rules::CgroupRules;
use super::codes;
use super::context::Context;
use super::device_cgroup::{Of, restart};
use super::finding::{Code, Level, Report};
use super::node_access::GroupFiles;
use super::processes::{self, number_of};
use super::stale_nodes::MappingNow;
use crate::cli::snapshot::engine_of;
use crate::config::labels;
use crate::config::settings::{GrantPolicy, InjectPolicy, LabelPolicy};
use crate::container::observe::{has_remapped_users, missing_programs, replaceable};
use crate::container::rootfs::{Entered, Rootfs};
use crate::daemon::reconcile::{Preview, preview};
use crate::engine::container::Running;
use crate::engine::runtimes::EngineInfo;
use crate::hold::ContainerPorts;
use crate::hold::protocol::HeldOpen;
use crate::model::DevNum;
use crate::model::device_access::{Grants, Origin};
use crate::model::inventory::{Container, ContainerId};
use crate::model::match_key::LINK_DIRECTORIES;
use crate::model::problem::Failure;
use crate::plan::assign::Conflict;
use crate::plan::passwd;
use crate::plan::{Found, Remark};

/// The time limit for looking into a container: its root may be on a file system that hangs.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The result for one container.
pub(super) struct Checked {
    /// The runtime that it was created with; empty if unknown.
    pub(super) runtime: String,
    pub(super) report: Report,
}

pub(super) async fn check(context: Rc<Context>, id: ContainerId, container: Container) -> Checked {
    let mut check = ContainerCheck {
        context,
        id,
        subject: format!("container {}", container.name),
        report: Report::default(),
    };
    let runtime = check.run(&container).await;
    Checked {
        runtime: runtime.unwrap_or_default(),
        report: check.report,
    }
}

struct ContainerCheck {
    context: Rc<Context>,
    id: ContainerId,
    subject: String,
    report: Report,
}

impl ContainerCheck {
    /// Returns the container's runtime.
    async fn run(&mut self, container: &Container) -> Option<String> {
        let has_ports = self.definition(container);
        let engine = engine_of(&self.context.state, &self.id)?;
        let described = match engine.describe(&self.id).await {
            Ok(described) => described?,
            Err(error) => {
                if has_ports {
                    let fix = self.id.engine.log();
                    self.unreadable(error.to_string(), &fix);
                }
                return None;
            }
        };
        match described.running {
            Some(running) if has_ports => self.with_ports(running, &described.runtime).await,
            Some(running) => self.without_ports(&running).await,
            None if has_ports => {
                let what = "is not running; it gets its ports when it starts";
                self.report.note(codes::CONTAINER, &self.subject, what, "");
            }
            None => {}
        }
        Some(described.runtime)
    }

    /// Checks its labels and its ports as they are configured. Returns whether it has any.
    fn definition(&mut self, container: &Container) -> bool {
        let context = Rc::clone(&self.context);
        let state = context.state.borrow();
        if state.settings.labels == LabelPolicy::Container {
            self.ignored_labels(container);
        }
        let assignment = match state.assigned.by_container.get(&self.id) {
            None => return false,
            Some(Ok(assignment)) => assignment,
            Some(Err(error)) => {
                let what = format!("{error}; it gets no ports");
                let fix = "correct the label and recreate the container";
                self.report.error(codes::LABEL, &self.subject, what, fix);
                return false;
            }
        };
        for conflict in &assignment.conflicts {
            let (level, code) = match conflict {
                Conflict::Node { .. } => (Level::Error, codes::PORTS_QUARREL),
                Conflict::Link { .. } => (Level::Warning, codes::PORTS_QUARREL),
                Conflict::NotOffered { .. } => (Level::Error, codes::LABEL_NOT_OFFERED),
            };
            let (what, fix) = (conflict.to_string(), conflict.fix().to_owned());
            self.report.add(level, code, &self.subject, what, fix);
        }
        true
    }

    fn ignored_labels(&mut self, container: &Container) {
        let image = container.image_labels.as_ref().unwrap_or(&container.labels);
        for label in labels::ignored_labels(&container.labels, image) {
            self.report.warning(
                codes::LABEL_IGNORED,
                &self.subject,
                format!("the label {label} comes from the image and is ignored"),
                "add the container to a [[port]] in the configuration, or set labels = \"image\" \
                 there",
            );
        }
    }

    async fn with_ports(&mut self, mut running: Running, runtime: &str) {
        let grants = {
            let state = self.context.state.borrow();
            state.store.records.grants(&self.id, &running.start)
        };
        running.rights.add(&grants);
        let Some(contents) = Contents::read(&self.context, &running, &self.id).await else {
            let fix = "look for a file system in it that hangs";
            self.unreadable("inspecting it takes too long".to_owned(), fix);
            return;
        };
        self.device_cgroup(&running, &grants, &contents);
        let is_told = self.context.state.borrow().only_told.contains(&self.id);
        let is_ours = |info: &EngineInfo| info.is_ours(info.name_of(runtime));
        let is_ours = is_told || self.info().is_some_and(is_ours);
        self.held_opens(is_ours, &self.ports());
        if self.nodes(&contents).await {
            self.exec(&running, contents);
        }
    }

    fn device_cgroup(&mut self, running: &Running, grants: &Grants, contents: &Contents) {
        let context = Rc::clone(&self.context);
        let state = context.state.borrow();
        let wants = state.assigned.wants(&self.id).iter();
        // With grant = "auto" the daemon grants what the definition lacks, and checks what it grants.
        let daemon_grants = state.settings.grant == GrantPolicy::Auto;
        let by_daemon = |n: &DevNum| {
            grants
                .get(n)
                .is_some_and(|grant| grant.origin == Origin::Daemon)
        };
        let is_defined = |n: &DevNum| running.rights.allow(*n) && !by_daemon(n);
        let devices = wants
            .map(|want| want.devnum)
            .filter(|n| !daemon_grants || is_defined(n));
        self.cgroup_rules(Level::Error, running, contents, devices);
    }

    fn cgroup_rules(
        &mut self,
        level: Level,
        running: &Running,
        contents: &Contents,
        devices: impl Iterator<Item = DevNum>,
    ) {
        let majors = &self.context.host.majors;
        let driver = self.info().map(|info| info.cgroup_driver.clone());
        let driver = driver.unwrap_or_default();
        let of = Of {
            level,
            subject: &self.subject,
            engine: &self.id.engine,
        };
        let in_effect = &contents.cgroup_rules;
        self.report
            .device_cgroup(&of, running, in_effect, devices, majors);
        self.report.missing_drivers(&of, running, &driver, majors);
    }

    /// What its engine says of itself.
    fn info(&self) -> Option<&EngineInfo> {
        self.context.infos.get(&self.id.engine)
    }

    /// Its ports as far as holding is concerned.
    fn ports(&self) -> ContainerPorts {
        let state = self.context.state.borrow();
        match state.assigned.by_container.get(&self.id) {
            Some(Ok(assignment)) => assignment.ports(|_, _| false),
            _ => ContainerPorts::default(),
        }
    }

    /// Whether early opens are held in it.
    fn held_opens(&mut self, has_wrapper: bool, ports: &ContainerPorts) {
        let context = Rc::clone(&self.context);
        let keepers = context.keepers.as_ref();
        let held = keepers.and_then(|keepers| keepers.get(&self.id));
        self.only_threads(held.map(Vec::as_slice).unwrap_or_default());
        let answers = keepers.map(|_| held.is_some());
        match (has_wrapper, answers) {
            (true, _) if !ports.may_hold() => {
                let what = "its early opens are not held: hold is off for all of its ports";
                self.report
                    .note(codes::OPENS_NOT_HELD, &self.subject, what, "");
            }
            (true, None) => {}
            (true, Some(false)) if self.info().is_some_and(|info| info.is_rootless) => {
                let what = "its early opens are not held: the runtime of a rootless engine cannot \
                            reach ttyplugd";
                let fix = "run it with root's engine";
                self.report
                    .note(codes::OPENS_NOT_HELD, &self.subject, what, fix);
            }
            (true, Some(true)) => {
                let what = match ports.held_names().as_slice() {
                    [] => "its early opens are held once a name of its ports is known".to_owned(),
                    names => format!("its early opens are held, of {}", names.join(", ")),
                };
                self.report.note(codes::OPENS_HELD, &self.subject, what, "");
            }
            (true, Some(false)) => {
                let what = "its keeper does not answer: it was killed, or no port of the container \
                            had a hold when it started";
                let fix = restart(&self.id.engine, &self.subject);
                self.report.error(codes::KEEPER, &self.subject, what, fix);
            }
            (false, _) => {
                let what = "its early opens are not held";
                let fix = "to hold them, add to its service: runtime: ttyplug";
                self.report
                    .note(codes::OPENS_NOT_HELD, &self.subject, what, fix);
            }
        }
    }

    /// Finds processes that do nothing else while an open of them is held.
    fn only_threads(&mut self, held: &[HeldOpen]) {
        for held in held.iter().filter(|held| held.only_thread) {
            let (command, path) = (&held.command, &held.path);
            let what = format!("{command} waits for {path} in its only thread");
            let fix = "if it has other work, open the port in a thread, or set a shorter `hold`";
            let code = codes::HELD_ONLY_THREAD;
            self.report.note(code, &self.subject, what, fix);
        }
    }

    /// Checks the nodes of its ports and all others. Returns whether nodes can be created in it.
    async fn nodes(&mut self, contents: &Contents) -> bool {
        let context = Rc::clone(&self.context);
        let Some(engine) = engine_of(&context.state, &self.id) else {
            return true;
        };
        match preview(&engine, &context.state, &self.id).await {
            Ok(None) => true,
            Ok(Some(previewed)) => {
                self.problems(&previewed);
                let Preview { seen, wants, .. } = &previewed;
                // Nothing is ever made in it, and the nodes that it sees are somebody else's.
                if seen.view.actual.mounted.is_empty() {
                    return false;
                }
                self.node_access(&previewed);
                let is_port = |path: &str| {
                    seen.plan.record.keys().any(|own| own.as_str() == path)
                        || seen.plan.ops.iter().any(|op| op.path() == path)
                        || wants.iter().any(|w| w.node.as_str() == path)
                };
                self.stale_nodes(contents, is_port);
                true
            }
            Err(problem) => {
                self.unreadable(problem.cause, &problem.fix);
                false
            }
        }
    }

    fn problems(&mut self, Preview { seen, wants, .. }: &Preview) {
        let opens = |port: &str| {
            let mut wants = wants.iter().filter(|want| want.port == port);
            wants.any(|want| seen.view.actual.opens(&want.node, want.devnum))
        };
        for problem in &seen.problems {
            let port = problem.port.as_deref().unwrap_or_default();
            let (level, code) = match problem.failure {
                Failure::HostDev if opens(port) => (Level::Warning, codes::HOST_DEV),
                Failure::HostDev => (Level::Error, codes::HOST_DEV),
                Failure::Placeholder => (Level::Error, codes::PLACEHOLDER),
                _ => (Level::Error, codes::CONTAINER_NOT_SERVED),
            };
            let what = format!("port {port}: {}", problem.cause);
            self.report
                .add(level, code, &self.subject, what, problem.fix.clone());
        }
        for note in &seen.plan.notes {
            let code = match note.about {
                Remark::Forbidden(_) => codes::HOST_DEV,
                Remark::Changed { .. } => codes::NODE_CHANGED,
            };
            let what = format!("port {}: {note}", note.port);
            self.report.note(code, &self.subject, what, "");
        }
    }

    fn node_access(&mut self, previewed: &Preview) {
        let view = &previewed.seen.view;
        let host = &self.context.host;
        let processes: Vec<_> = host.processes_in(&self.id).collect();
        let groups = GroupFiles {
            host: &host.group,
            container: &view.group,
            added: &previewed.running.added_groups,
        };
        for want in &previewed.wants {
            if let Ok(mut node) = passwd::resolve(want, &view.passwd, &view.group) {
                // The container may have changed it.
                if let Some(now) = view.actual.at(&want.node).permissions() {
                    (node.uid, node.gid, node.mode) = (now.uid, now.gid, now.mode);
                }
                let main = previewed.running.pid;
                self.report
                    .node_access(&self.subject, &node, main, &processes, groups);
            }
        }
    }

    fn stale_nodes(&mut self, contents: &Contents, is_port: impl Fn(&str) -> bool) {
        let devices = &self.context.state.borrow().inventory.devices;
        let nodes = contents.nodes.iter().filter(|(path, _)| !is_port(path));
        let (host, mappings) = (&self.context.host, &contents.mappings);
        self.report
            .stale_nodes(&self.subject, host, devices, nodes, mappings);
    }

    /// A running container without ports. It may be about to get some, so leftovers of a script or
    /// of its definition are warnings.
    async fn without_ports(&mut self, running: &Running) {
        if running.rights.everything {
            return;
        }
        let context = Rc::clone(&self.context);
        let Some(contents) = Contents::read_own_dev(&context, running, &self.id).await else {
            return;
        };
        let state = context.state.borrow();
        let devices = state.inventory.devices.values().map(|d| d.devnum);
        let devices = devices.filter(|devnum| running.rights.allow(*devnum));
        self.cgroup_rules(Level::Warning, running, &contents, devices);
        // The daemon will remove what it created itself.
        let record = state.store.records.entries(&self.id, &running.start);
        self.stale_nodes(&contents, |path| {
            record.keys().any(|own| own.as_str() == path)
        });
    }

    /// Whether a command in the container can create nodes. With inject = "exec" there is no other
    /// way.
    fn exec(&mut self, running: &Running, contents: Contents) {
        let inject = self.context.state.borrow().settings.inject;
        if running.paused {
            let what = match inject {
                InjectPolicy::Exec => "is paused; its ports are updated when it continues",
                _ => "is paused; nodes are created from outside",
            };
            self.report.note(codes::CONTAINER, &self.subject, what, "");
        }
        if inject == InjectPolicy::Namespace {
            return;
        }
        for (code, what, fix) in contents.exec_obstacles(running) {
            match inject {
                InjectPolicy::Exec => self.report.error(code, &self.subject, what, fix),
                _ => {
                    let what = format!("{what}; nodes are created from outside");
                    self.report.note(code, &self.subject, what, "");
                }
            }
        }
        let errors = [
            contents.remapped_users.err(),
            contents.missing_programs.err(),
            contents.replaceable.err(),
        ];
        for error in errors.into_iter().flatten() {
            self.unreadable(format!("{error:#}"), "run as root");
        }
    }

    fn unreadable(&mut self, what: String, fix: &str) {
        let code = codes::CONTAINER_UNREADABLE;
        self.report.error(code, &self.subject, what, fix);
    }
}

/// What is read from a running container, beside the paths of its ports.
struct Contents {
    cgroup_rules: CgroupRules,
    /// The device nodes in its /dev.
    nodes: Vec<(String, DevNum)>,
    mappings: Vec<MappingNow>,
    remapped_users: anyhow::Result<bool>,
    missing_programs: anyhow::Result<Vec<String>>,
    replaceable: anyhow::Result<Option<String>>,
}

impl Contents {
    /// `None` if reading takes too long.
    async fn read(context: &Context, running: &Running, id: &ContainerId) -> Option<Self> {
        let read = Self::reader(context, running, id);
        timeout(LOOK_LIMIT, spawn_blocking(read)).await.ok()?.ok()
    }

    /// Reads only those nodes that are in the container's own /dev. `None` also for a container
    /// that has the host's.
    async fn read_own_dev(context: &Context, running: &Running, id: &ContainerId) -> Option<Self> {
        let read = Self::reader(context, running, id);
        let (pid, id, foreign) = (running.pid, id.clone(), running.foreign.clone());
        let read = move || {
            let rootfs = Rootfs::open(pid, &id, foreign).ok()?;
            let entered = rootfs.enter().ok()?;
            entered.directory("/dev").ok()?;
            let mut contents = read();
            contents.nodes.retain(|(path, _)| is_own(&entered, path));
            Some(contents)
        };
        timeout(LOOK_LIMIT, spawn_blocking(read)).await.ok()?.ok()?
    }

    /// What keeps a command in the container from creating nodes, and how to fix it.
    fn exec_obstacles(&self, running: &Running) -> Vec<(&'static Code, String, &'static str)> {
        let mut obstacles = Vec::new();
        if running.drops_mknod {
            obstacles.push((
                codes::CAPABILITY,
                "it lacks the capability MKNOD".to_owned(),
                "add to its service: cap_add: [MKNOD, CHOWN]; or set inject = \"auto\"",
            ));
        }
        if let Ok(true) = self.remapped_users {
            obstacles.push((
                codes::REMAPPED_USERS,
                "its users are remapped".to_owned(),
                "add to its service: userns_mode: host; or set inject = \"auto\"",
            ));
        }
        match &self.missing_programs {
            Ok(missing) if !missing.is_empty() => obstacles.push((
                codes::PROGRAMS,
                format!("its image lacks {}", missing.join(", ")),
                "use an image that has them, e.g. with busybox or coreutils; or set inject = \
                 \"auto\"",
            )),
            _ => {}
        }
        if let Ok(Some(replaceable)) = &self.replaceable {
            obstacles.push((
                codes::PROGRAMS,
                format!("users other than root could replace {replaceable} in it"),
                "make it root's alone in the image (chown root, chmod go-w); or set inject = \"auto\"",
            ));
        }
        obstacles
    }

    fn reader(
        context: &Context,
        running: &Running,
        id: &ContainerId,
    ) -> impl FnOnce() -> Self + use<> {
        let (root, running, id) = (context.host.root.clone(), running.clone(), id.clone());
        let state = context.state.borrow();
        let wants = state.assigned.wants(&id).iter();
        let paths = wants.flat_map(|want| want.links.iter().chain([&want.node]));
        let directories = paths.map(|path| path.directory().to_owned());
        let directories = directories.chain(LINK_DIRECTORIES.map(str::to_owned));
        let directories: BTreeSet<String> = directories.collect();
        move || {
            let container_root = root.join(format!("proc/{}/root", running.pid));
            let mappings = running.mappings.into_iter().map(|mapping| {
                let now = number_of(&root.join(mapping.host.trim_start_matches('/')));
                (mapping, now)
            });
            Self {
                cgroup_rules: CgroupRules::read(&root, running.pid, &id),
                nodes: processes::nodes(&container_root, &number_of),
                mappings: mappings.collect(),
                remapped_users: has_remapped_users(running.pid, &id),
                missing_programs: missing_programs(running.pid, &id),
                replaceable: replaceable(running.pid, &id, &directories),
            }
        }
    }
}

fn is_own(entered: &Entered, path: &str) -> bool {
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    let found = entered
        .directory(directory)
        .map(|directory| directory.find(name));
    matches!(found, Ok(Ok(Found::Node { .. })))
}
