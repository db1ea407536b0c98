//! The engine and the runtime that holds early opens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::codes;
use super::finding::{Level, Report};
use crate::engine::daemon_json::{PROGRAM, RUNTIME};
use crate::engine::runtimes::{EngineInfo, Registered};
use crate::model::inventory::EngineName;
use crate::runtime::options::Options;
use crate::runtime::{oci_args, real, version};
use crate::sys::child;

const SUBJECT: &str = "runtime";

const ENABLE: &str = "sudo ttyplugd runtime enable";

impl Report {
    pub(super) fn no_engine(&mut self, error: &anyhow::Error) {
        let what = format!("{error:#}");
        let fix = "start Docker or podman.socket, or set DOCKER_HOST=unix://…, or run as root";
        self.error(codes::ENGINE, "engine", what, fix);
    }

    pub(super) fn podman_is_silent(&mut self) {
        let what = "Podman is installed and does not listen, so its containers get no ports";
        let fix = "systemctl enable --now podman.socket";
        self.note(codes::ENGINE, "engine", what, fix);
    }

    pub(super) fn engine(&mut self, name: &EngineName, info: &EngineInfo) {
        let name = match name.as_str() {
            "docker" => "Docker",
            "podman" => "Podman",
            other => other,
        };
        let rootless = if info.is_rootless { "; rootless" } else { "" };
        let what = format!(
            "{name} {} answers; cgroup driver {}, cgroup version {}{rootless}",
            info.version, info.cgroup_driver, info.cgroup_version
        );
        self.note(codes::ENGINE, "engine", what, "");
    }

    /// The engines of containers of which only wrappers tell.
    pub(super) fn told_engines(&mut self, engines: BTreeSet<&EngineName>) {
        for engine in engines {
            let what = format!(
                "the containers of {engine} are known that have the runtime ttyplug, and no others"
            );
            self.note(codes::ENGINE, "engine", what, "");
        }
    }

    /// Whether early opens can be held. `users` are the containers of each runtime that is the
    /// wrapper; `with_hold` are other containers, for which `hold` is set.
    pub(super) fn runtime(
        &mut self,
        engine: &EngineName,
        info: &EngineInfo,
        users: &BTreeMap<String, Vec<String>>,
        with_hold: &[String],
    ) {
        let is_wrapper = |(name, _): &(&String, _)| info.is_ours(name);
        for (name, registered) in info.runtimes.iter().filter(is_wrapper) {
            let level = match users.contains_key(name) {
                false => Level::Warning,
                true => Level::Error,
            };
            if self.runtime_works(engine, name, registered, level) {
                let what = format!("{name} is registered ({})", registered.path);
                self.note(codes::RUNTIME, SUBJECT, what, "");
            }
        }
        if !info.runtimes.contains_key(RUNTIME) {
            let has_other = info.runtimes.iter().any(|runtime| is_wrapper(&runtime));
            self.not_registered(users.get(RUNTIME), with_hold, has_other);
        }
    }

    /// `users` are containers that were created with `runtime: ttyplug`. `has_other`: the wrapper
    /// is registered under another name.
    fn not_registered(
        &mut self,
        users: Option<&Vec<String>>,
        with_hold: &[String],
        has_other: bool,
    ) {
        if let Some(users) = users {
            let users = users.join(", ");
            let what = format!("{RUNTIME} is not registered, but is the runtime of {users}");
            self.error(codes::RUNTIME_MISSING, SUBJECT, what, ENABLE);
        } else if !with_hold.is_empty() {
            let with_hold = with_hold.join(", ");
            let what = format!("{RUNTIME} is not registered, but `hold` is set for {with_hold}");
            let fix = format!("{ENABLE}; then add to its service: runtime: {RUNTIME}");
            self.warning(codes::RUNTIME_MISSING, SUBJECT, what, fix);
        } else if !has_other {
            let what = format!("{RUNTIME} is not registered, so early opens are not held");
            let fix = format!("to hold them: {ENABLE}");
            self.note(codes::RUNTIME, SUBJECT, what, fix);
        }
    }

    /// Whether the wrapper is installed, and the real runtime supports held opens.
    fn runtime_works(
        &mut self,
        engine: &EngineName,
        name: &str,
        registered: &Registered,
        level: Level,
    ) -> bool {
        let register = match name {
            RUNTIME => ENABLE.to_owned(),
            _ if *engine == EngineName::PODMAN => {
                format!("correct the path of {name}: grep -r {name} /etc/containers")
            }
            _ => format!(
                "correct the path of {name} in Docker's daemon.json, then: systemctl reload docker"
            ),
        };
        // The engine searches its own PATH, which is probably the same as ours.
        let Some(program) = child::find(Path::new(&registered.path)) else {
            let what = format!(
                "{name} is registered as {}, which is not an executable file",
                registered.path
            );
            self.add(level, codes::RUNTIME_PROGRAM, SUBJECT, what, register);
            return false;
        };
        if let Some(own) = own_program().filter(|own| !is_same(own, &program)) {
            let what = format!(
                "{name} is registered as {}, but the {PROGRAM} of this ttyplugd is {}",
                program.display(),
                own.display()
            );
            self.warning(codes::RUNTIME_PROGRAM, SUBJECT, what, register);
        }
        let named = Options::parse(registered.arguments.clone()).runtime;
        let real = match real::find(named.as_deref()) {
            Ok(real) => real,
            Err(error) => {
                let what = format!("{name} starts no container: {error}");
                let fix = "apt-get install runc".to_owned();
                self.add(level, codes::RUNTIME_PROGRAM, SUBJECT, what, fix);
                return false;
            }
        };
        // If it does not start, its version is unknown; the engine reports it when it is used.
        let mut command = Command::new(&real);
        command.arg("--version").stdin(Stdio::null());
        let Ok(output) = child::output(&mut command, version::LIMIT) else {
            return true;
        };
        let version = String::from_utf8_lossy(&output.stdout);
        let Err(reason) = oci_args::can_notify(&version) else {
            return true;
        };
        let what = format!("{name} cannot hold early opens: {reason}");
        let fix = "upgrade it".to_owned();
        self.add(level, codes::RUNTIME_TOO_OLD, SUBJECT, what, fix);
        false
    }
}

/// The wrapper that is installed beside this program.
fn own_program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    own.exists().then_some(own)
}

/// Whether two files are the same or have the same content.
fn is_same(one: &Path, other: &Path) -> bool {
    let same = || -> io::Result<bool> {
        let (a, b) = (fs::metadata(one)?, fs::metadata(other)?);
        let is_one_file = (a.dev(), a.ino()) == (b.dev(), b.ino());
        Ok(is_one_file || a.len() == b.len() && fs::read(one)? == fs::read(other)?)
    };
    same().unwrap_or(false)
}
