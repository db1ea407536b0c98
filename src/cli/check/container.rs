//! One container: whether its ports get in, and whether its application can open them.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::cgroup::InForce;
use super::codes;
use super::finding::{Level, Report};
use super::processes::{self, number_of};
use super::scene::Scene;
use crate::config::labels;
use crate::config::settings::{GrantPolicy, InjectPolicy, LabelPolicy};
use crate::container::observe::{has_remapped_users, missing_programs};
use crate::container::rootfs::Grounds;
use crate::daemon::reconcile::{Inspected, Seen, preview};
use crate::engine::container::{Mapping, Running};
use crate::model::DevNum;
use crate::model::device_access::Origin;
use crate::model::inventory::{Container, ContainerId};
use crate::plan::Found;
use crate::plan::assign::Conflict;
use crate::plan::passwd;

/// How long it may take to look into a container: its root may be on a file system that hangs.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// What is read in a container beside the paths of its ports.
struct Inside {
    in_force: InForce,
    nodes: Vec<(String, DevNum)>,
    /// The number that each of its `--device` has on the host now.
    mappings: Vec<(Mapping, Option<DevNum>)>,
    remapped: anyhow::Result<bool>,
    missing: anyhow::Result<Vec<String>>,
}

impl Inside {
    fn look(scene: &Scene, running: &Running, id: &ContainerId) -> impl FnOnce() -> Self + use<> {
        let (root, running, id) = (scene.host.root.clone(), running.clone(), id.clone());
        move || Self {
            in_force: InForce::read(&root, running.pid, &id),
            nodes: processes::nodes(&root.join(format!("proc/{}/root", running.pid)), &number_of),
            remapped: has_remapped_users(running.pid, &id),
            missing: missing_programs(running.pid, &id, &running.path),
            mappings: running
                .mappings
                .into_iter()
                .map(|mapping| {
                    let now = number_of(&root.join(mapping.host.trim_start_matches('/')));
                    (mapping, now)
                })
                .collect(),
        }
    }

    /// The same of a container whose /dev is its own, with the nodes that are on no other mount;
    /// `None` for one that sees the host's.
    fn look_at_own(
        scene: &Scene,
        running: &Running,
        id: &ContainerId,
    ) -> impl FnOnce() -> Option<Self> + use<> {
        let look = Self::look(scene, running, id);
        let (pid, id, foreign) = (running.pid, id.clone(), running.foreign.clone());
        move || {
            let grounds = Grounds::open(pid, &id, foreign).ok()?;
            grounds.directory("/dev").ok()?;
            let mut inside = look();
            inside.nodes.retain(|(path, _)| {
                let (directory, name) = path.rsplit_once('/').unwrap_or_default();
                let place = grounds.directory(directory);
                let found = place.map(|place| place.look(name));
                matches!(found, Ok(Ok(Found::Node { .. })))
            });
            Some(inside)
        }
    }
}

/// What was found out about a container.
#[derive(Default)]
pub(super) struct Looked {
    /// The runtime that it was created for; empty where the engine does not tell.
    pub(super) runtime: String,
    pub(super) report: Report,
}

/// Looks at a container, and does nothing to it.
pub(super) async fn check(scene: Rc<Scene>, id: ContainerId, container: Container) -> Looked {
    let mut looked = Looked::default();
    let report = &mut looked.report;
    let subject = format!("container {}", container.name);
    let is_served = report.definition(&subject, &scene, &id, &container);
    let described = match scene.engine.describe(&id).await {
        Ok(Some(described)) => described,
        Ok(None) => return looked,
        Err(error) => {
            if is_served {
                let fix = "look at the engine's log: journalctl -u docker";
                let what = error.to_string();
                report.error(codes::CONTAINER_UNREADABLE, &subject, what, fix);
            }
            return looked;
        }
    };
    looked.runtime = described.runtime;
    match described.running {
        None if is_served => {
            let what = "is not running; it is served when it starts";
            report.note(codes::CONTAINER, &subject, what, "");
        }
        None => {}
        Some(running) if !is_served => report.unserved(&subject, &scene, &id, &running).await,
        Some(running) => {
            let is_ours = scene.info.is_ours(&looked.runtime);
            let checked = report.container(&subject, &scene, &id, running, is_ours);
            checked.await;
        }
    }
    looked
}

impl Report {
    /// A container that runs and is to have ports.
    async fn container(
        &mut self,
        subject: &str,
        scene: &Scene,
        id: &ContainerId,
        mut running: Running,
        is_ours: bool,
    ) {
        let granted = scene.world.borrow().store.grants(id, &running.started_at);
        running.rights.add(&granted);
        let look = spawn_blocking(Inside::look(scene, &running, id));
        let Ok(Ok(inside)) = timeout(LOOK_LIMIT, look).await else {
            let what = "looking into the container takes too long";
            let fix = "look for a file system in it that hangs";
            self.error(codes::CONTAINER_UNREADABLE, subject, what, fix);
            return;
        };
        let wants = scene.world.borrow().assigned.wants(id).to_vec();
        // What was given to it while it runs was looked at then, and what was not is given by the
        // daemon.
        let grants = scene.world.borrow().settings.grant == GrantPolicy::Auto;
        let numbers = wants.iter().map(|want| want.devnum);
        let given = |n: &DevNum| {
            granted
                .get(n)
                .is_some_and(|grant| grant.origin == Origin::Daemon)
        };
        let defined = |n: &DevNum| running.rights.allow(*n) && !given(n);
        let numbers = numbers.filter(|n| !grants || defined(n));
        let driver = &scene.info.cgroup_driver;
        let (level, majors) = (Level::Error, &scene.host.majors);
        self.rights(level, subject, &running, &inside.in_force, numbers, majors);
        self.drivers(level, subject, &running, driver, majors);
        self.holding(subject, scene, id, is_ours);
        match preview(&scene.engine, &scene.world, id).await {
            Ok(None) => {}
            Ok(Some((inspected, seen))) => {
                self.problems(subject, &seen);
                self.access(subject, scene, id, &inspected, &seen);
                let ours = |path: &str| {
                    seen.plan.record.keys().any(|own| own.as_str() == path)
                        || seen.plan.ops.iter().any(|op| op.path() == path)
                        || wants.iter().any(|want| want.node.as_str() == path)
                };
                let devices = &scene.world.borrow().inventory.devices;
                let nodes = inside.nodes.iter().filter(|(path, _)| !ours(path));
                self.stale(subject, &scene.host, devices, nodes, &inside.mappings);
            }
            // It sees the host's /dev, and may work all the same.
            Err(problem) if !problem.retry => {
                self.warning(codes::HOST_DEV, subject, problem.cause, problem.fix);
                return;
            }
            Err(problem) => {
                self.error(
                    codes::CONTAINER_UNREADABLE,
                    subject,
                    problem.cause,
                    problem.fix,
                );
                return;
            }
        }
        let inject = scene.world.borrow().settings.inject;
        self.exec(subject, &running, inside, inject);
    }

    /// A container that runs and is to have nothing. What a script or a definition of before has
    /// left in it is told, since it may be about to be served; nothing of that is an error.
    async fn unserved(
        &mut self,
        subject: &str,
        scene: &Scene,
        id: &ContainerId,
        running: &Running,
    ) {
        if running.rights.everything {
            return;
        }
        let look = spawn_blocking(Inside::look_at_own(scene, running, id));
        let Ok(Ok(Some(inside))) = timeout(LOOK_LIMIT, look).await else {
            return;
        };
        let world = scene.world.borrow();
        let devices = &world.inventory.devices;
        let majors = &scene.host.majors;
        let numbers = devices.values().map(|device| device.devnum);
        let numbers = numbers.filter(|number| running.rights.allow(*number));
        let level = Level::Warning;
        self.rights(level, subject, running, &inside.in_force, numbers, majors);
        let driver = &scene.info.cgroup_driver;
        self.drivers(level, subject, running, driver, majors);
        // What we made ourselves goes with the daemon's next look.
        let record = world.store.record(id, &running.started_at);
        let ours = |path: &str| record.keys().any(|own| own.as_str() == path);
        let nodes = inside.nodes.iter().filter(|(path, _)| !ours(path));
        self.stale(subject, &scene.host, devices, nodes, &inside.mappings);
    }

    /// What its labels and the configuration make of it. Whether it is to have anything at all.
    fn definition(
        &mut self,
        subject: &str,
        scene: &Scene,
        id: &ContainerId,
        container: &Container,
    ) -> bool {
        let world = scene.world.borrow();
        if world.settings.labels == LabelPolicy::Container {
            let image = container.image_labels.as_ref().unwrap_or(&container.labels);
            for label in labels::ignored_labels(&container.labels, image) {
                self.warning(
                    codes::LABEL_IGNORED,
                    subject,
                    format!("the label {label} came with the image and does not count"),
                    "give the container a [[port]] in the configuration, or set labels = \"image\" \
                     there",
                );
            }
        }
        let share = match world.assigned.shares.get(id) {
            None => return false,
            Some(Err(error)) => {
                let fix = "correct the label and create the container again";
                let what = format!("{error}; it gets no port");
                self.error(codes::LABEL, subject, what, fix);
                return false;
            }
            Some(Ok(share)) => share,
        };
        for conflict in &share.conflicts {
            let (what, fix) = (conflict.to_string(), conflict.fix());
            match conflict {
                Conflict::Node { .. } => self.error(codes::PORTS_QUARREL, subject, what, fix),
                Conflict::Link { .. } => self.warning(codes::PORTS_QUARREL, subject, what, fix),
            }
        }
        true
    }

    /// Whether early opens are held in it.
    fn holding(&mut self, subject: &str, scene: &Scene, id: &ContainerId, is_ours: bool) {
        let answers = scene.keepers.as_ref().map(|keepers| keepers.contains(id));
        match (is_ours, answers) {
            (true, None) => {}
            (true, Some(true)) => {
                self.note(codes::OPENS_HELD, subject, "its early opens are held", "");
            }
            (true, Some(false)) => self.error(
                codes::KEEPER,
                subject,
                "its keeper does not answer: it was killed, or the container was started before it \
                 had a port",
                format!("docker restart {}", id.short()),
            ),
            (false, _) => {
                let what = "its early opens are not held";
                let fix = "to have that, add to its service: runtime: ttyplug";
                self.note(codes::OPENS_NOT_HELD, subject, what, fix);
            }
        }
    }

    fn problems(&mut self, subject: &str, seen: &Seen) {
        for problem in &seen.problems {
            let port = problem.port.as_deref().unwrap_or_default();
            let what = format!("port {port}: {}", problem.cause);
            self.error(codes::CONTAINER_NOT_SERVED, subject, what, &problem.fix);
        }
    }

    /// Whether its processes may open the nodes.
    fn access(
        &mut self,
        subject: &str,
        scene: &Scene,
        id: &ContainerId,
        inspected: &Inspected,
        seen: &Seen,
    ) {
        let inside: Vec<_> = scene.host.inside(id).collect();
        let (passwd, group) = (&seen.view.passwd, &seen.view.group);
        for want in &inspected.wants {
            if let Ok(node) = passwd::resolve(want, passwd, group) {
                let main = inspected.running.pid;
                self.access_to(subject, &node, main, &inside, &scene.host.group, group);
            }
        }
    }

    /// What keeps a command in it from making nodes. That is an error where nothing else may.
    fn exec(&mut self, subject: &str, running: &Running, inside: Inside, inject: InjectPolicy) {
        let elsewhere = inject != InjectPolicy::Exec;
        if running.paused {
            let what = match elsewhere {
                true => "is paused; nodes are made in it from outside",
                false => "is paused; it is served when it goes on",
            };
            self.note(codes::CONTAINER, subject, what, "");
        }
        if inject == InjectPolicy::Namespace {
            return;
        }
        let mut obstacle = |kind, what: String, fix: &str| match elsewhere {
            true => self.note(
                kind,
                subject,
                what + "; nodes are made in it from outside",
                "",
            ),
            false => self.error(kind, subject, what, fix),
        };
        if running.drops_mknod {
            obstacle(
                codes::CAPABILITY,
                "the capability MKNOD was taken from it (cap_drop)".into(),
                "add to its service: cap_add: [MKNOD, CHOWN, FOWNER]; or set inject = \"auto\"",
            );
        }
        if let Ok(true) = inside.remapped {
            obstacle(
                codes::REMAPPED_USERS,
                "its users are remapped".into(),
                "add to its service: userns_mode: host; or set inject = \"auto\"",
            );
        }
        if let Ok(missing) = &inside.missing {
            if !missing.is_empty() {
                obstacle(
                    codes::PROGRAMS,
                    format!("its image lacks {}", missing.join(", ")),
                    "use an image that has them, e.g. one with busybox or coreutils; or set \
                     inject = \"auto\"",
                );
            }
        }
        for error in inside
            .remapped
            .err()
            .into_iter()
            .chain(inside.missing.err())
        {
            let what = format!("{error:#}");
            self.error(codes::CONTAINER_UNREADABLE, subject, what, "run as root");
        }
    }
}
