//! The engine, and whether it knows the runtime that holds early opens.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::codes;
use super::finding::{Level, Report};
use crate::engine::daemon_json::{PROGRAM, RUNTIME};
use crate::engine::{EngineInfo, Registered};
use crate::runtime::{Options, VERSION_LIMIT};
use crate::sys::child;

const REGISTER: &str = "sudo ttyplugd runtime enable";

impl Report {
    pub(super) fn engine(&mut self, info: &EngineInfo) {
        let what = format!(
            "Docker {} answers; cgroup driver {}, cgroup version {}",
            info.version, info.cgroup_driver, info.cgroup_version
        );
        self.note(codes::ENGINE, "engine", what, "");
    }

    /// Whether early opens can be held. `users` are the containers that were created for each
    /// runtime of ours, and `asking` others whose ports say for how long opens of them are to be
    /// held.
    pub(super) fn runtime(
        &mut self,
        info: &EngineInfo,
        users: &BTreeMap<String, Vec<String>>,
        asking: &[String],
    ) {
        let subject = "runtime";
        let ours = |(name, _): &(&String, _)| info.is_ours(name);
        for (name, registered) in info.runtimes.iter().filter(ours) {
            let level = match users.contains_key(name) {
                false => Level::Warning,
                true => Level::Error,
            };
            if self.runtime_works(name, registered, level) {
                let what = format!("{name} is registered ({})", registered.path);
                self.note(codes::RUNTIME, subject, what, "");
            }
        }
        if info.runtimes.contains_key(RUNTIME) {
            return;
        }
        if let Some(users) = users.get(RUNTIME) {
            let what = format!(
                "{RUNTIME} is not registered in the engine, and {} {} created for it",
                users.join(", "),
                if users.len() == 1 { "was" } else { "were" },
            );
            self.error(codes::RUNTIME_MISSING, subject, what, REGISTER);
        } else if !asking.is_empty() {
            let what = format!(
                "{RUNTIME} is not registered in the engine, and {} asks for held opens",
                asking.join(", ")
            );
            let fix = format!("{REGISTER}; and add to its service: runtime: {RUNTIME}");
            self.warning(codes::RUNTIME_MISSING, subject, what, fix);
        } else if !info.runtimes.iter().any(|its| ours(&its)) {
            let what = format!("{RUNTIME} is not registered: early opens are not held");
            let fix = format!("to have that: {REGISTER}");
            self.note(codes::RUNTIME, subject, what, fix);
        }
    }

    /// Whether the program is there and ours, and the runtime behind it can do its part.
    fn runtime_works(&mut self, name: &str, registered: &Registered, level: Level) -> bool {
        let subject = "runtime";
        let register = match name {
            RUNTIME => REGISTER.to_owned(),
            _ => format!(
                "correct the path of {name} in Docker's daemon.json, and: systemctl reload docker"
            ),
        };
        // The engine looks for a name in its own PATH, which is probably ours.
        let Some(program) = child::find(Path::new(&registered.path)) else {
            let what = format!(
                "{name} is {}, and there is no such program",
                registered.path
            );
            self.add(level, codes::RUNTIME_PROGRAM, subject, what, register);
            return false;
        };
        if let Some(own) = own_program().filter(|own| !is_same(own, &program)) {
            let what = format!(
                "{name} is {}, which is not the {PROGRAM} of this ttyplugd, {}",
                program.display(),
                own.display()
            );
            self.warning(codes::RUNTIME_PROGRAM, subject, what, register);
        }
        let real = Options::parse(registered.arguments.clone()).runtime;
        // One that does not start says nothing of its version; the engine says it when it is used.
        let mut command = Command::new(&real);
        command.arg("--version").stdin(Stdio::null());
        let Ok(output) = child::output(&mut command, VERSION_LIMIT) else {
            return true;
        };
        let version = String::from_utf8_lossy(&output.stdout);
        let Err(reason) = crate::runtime::oci_args::can_notify(&version) else {
            return true;
        };
        let what = format!("{name}: {reason}, so that early opens are not held");
        self.add(
            level,
            codes::RUNTIME_TOO_OLD,
            subject,
            what,
            "upgrade runc".to_owned(),
        );
        false
    }
}

/// The wrapper that was installed together with this program.
fn own_program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    own.exists().then_some(own)
}

/// The same file, or a copy of it.
fn is_same(one: &Path, other: &Path) -> bool {
    let same = || -> io::Result<bool> {
        let (a, b) = (fs::metadata(one)?, fs::metadata(other)?);
        let is_one_file = (a.dev(), a.ino()) == (b.dev(), b.ino());
        Ok(is_one_file || a.len() == b.len() && fs::read(one)? == fs::read(other)?)
    };
    same().unwrap_or(false)
}
