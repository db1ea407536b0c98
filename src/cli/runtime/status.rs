//! `ttyplugd runtime status`: whether containers can use the runtime, and which do.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use super::docker_setup::DockerSetup;
use super::engines::Engines;
use crate::cli::output::{print, print_json, printable};
use crate::engine::containers_conf::DROP_IN;
use crate::engine::daemon_json::{EngineFile, RUNTIME, Registration};
use crate::engine::podman;
use crate::engine::runtimes::User;
use crate::runtime::{oci_args, version};
use crate::sys::child;
use crate::sys::seccomp::try_listener;
use crate::sys::trusted_file::WholeFile;

/// Something that keeps the runtime from working.
struct Problem {
    what: String,
    fix: &'static str,
}

/// The runtime in one engine.
struct Status {
    /// `docker` or `podman`.
    name: &'static str,
    file: PathBuf,
    /// In the file, or else in the engine.
    registration: Option<Registration>,
    /// The version of the engine.
    engine: Option<String>,
    /// The version of the real runtime, e.g. `runc version 1.1.5`.
    behind: Option<String>,
    users: Vec<User>,
    problems: Vec<Problem>,
}

pub(super) async fn run(file: Option<PathBuf>, as_json: bool) -> anyhow::Result<ExitCode> {
    let engines = Engines::of(file.as_deref());
    let mut all = Vec::new();
    if engines.docker {
        all.push(Status::of_docker(&DockerSetup::find(file).await?).await);
    }
    if engines.podman {
        all.push(Status::of_podman());
    }
    match as_json {
        true => print_json(&as_value(&all))?,
        false => print(&as_text(&all))?,
    }
    let is_ok = all.iter().all(|status| status.problems.is_empty());
    Ok(ExitCode::from(u8::from(!is_ok)))
}

impl Status {
    fn new(name: &'static str, file: &Path) -> Self {
        Self {
            name,
            file: file.to_owned(),
            registration: None,
            engine: None,
            behind: None,
            users: Vec::new(),
            problems: Vec::new(),
        }
    }

    async fn of_docker(setup: &DockerSetup) -> Self {
        let mut status = Self::new("docker", &setup.file);
        status.read_file(setup);
        status.ask_engine(setup).await;
        status.ask_runtime();
        status
    }

    fn of_podman() -> Self {
        let mut status = Self::new("podman", Path::new(DROP_IN));
        match podman::about() {
            Ok(about) => status.engine = Some(about.version),
            Err(error) => {
                status.add(format!("{error:#}"), "run this as root; podman info");
                return status;
            }
        }
        match podman::users() {
            Ok(users) => status.users = users,
            Err(error) => status.add(format!("{error:#}"), "podman ps --all"),
        }
        match podman::program(RUNTIME) {
            Ok(path) => status.registration = Some(Registration::of(path)),
            Err(error) if status.file.exists() => {
                status.add(format!("{error:#}"), "sudo ttyplugd runtime enable");
            }
            Err(_) => status.add("ttyplug is not registered", "sudo ttyplugd runtime enable"),
        }
        status.ask_runtime();
        status
    }

    fn add(&mut self, what: impl Into<String>, fix: &'static str) {
        let what = what.into();
        self.problems.push(Problem { what, fix });
    }

    fn read_file(&mut self, setup: &DockerSetup) {
        let read = || -> anyhow::Result<Option<Registration>> {
            let file = WholeFile::read(&setup.file)?;
            let parsed = file.text().map(EngineFile::parse).transpose()?;
            Ok(parsed.and_then(|parsed| parsed.registration().cloned()))
        };
        match read() {
            Ok(registration) => self.registration = registration,
            Err(error) => self.add(
                format!("{} cannot be read: {error:#}", setup.file.display()),
                "correct the file: dockerd does not start with it",
            ),
        }
    }

    async fn ask_engine(&mut self, setup: &DockerSetup) {
        let (engine, about) = match &setup.engine {
            Ok(engine) => engine,
            Err(error) => {
                let what = format!("the engine at {}: {error}", setup.socket);
                return self.add(what, "systemctl start docker, or run this as root");
            }
        };
        self.engine = Some(about.version.clone());
        match engine.users().await {
            Ok(users) => self.users = users,
            Err(error) => self.add(error.to_string(), "systemctl status docker"),
        }
        let in_file = self.registration.as_ref().map(|its| &its.path);
        match (in_file, &about.runtime) {
            (None, None) => self.add("ttyplug is not registered", "sudo ttyplugd runtime enable"),
            (Some(file), Some(engine)) if file == engine => {}
            (None, Some(path)) => self.registration = Some(Registration::of(path.clone())),
            (Some(_), _) => self.add(
                "the engine has not loaded its file",
                "sudo systemctl reload docker",
            ),
        }
    }

    /// Asks the wrapper for its version. The wrapper executes the real runtime, which prints its
    /// own.
    fn ask_runtime(&mut self) {
        let Some(registration) = &self.registration else {
            return;
        };
        let mut command = Command::new(&registration.path);
        command.args(&registration.runtime_args).arg("--version");
        let output = child::output(command.stdin(Stdio::null()), version::LIMIT);
        let version = match output {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => {
                let what = format!("{} cannot be executed: {error}", registration.path);
                let fix = "install ttyplugd, then: sudo ttyplugd runtime enable";
                return self.add(what, fix);
            }
        };
        self.behind = version.lines().next().map(String::from);
        if let Err(reason) = oci_args::can_notify(&version) {
            self.add(format!("opens are not held: {reason}"), "upgrade it");
        }
        if let Err(error) = try_listener() {
            let what =
                format!("opens are not held: seccomp filters cannot notify a supervisor: {error}");
            self.add(what, "use Linux 5.7 or newer, with CONFIG_SECCOMP_FILTER");
        }
    }

    fn as_text(&self) -> String {
        let path = self.registration.as_ref().map(|its| its.path.as_str());
        let users: Vec<_> = self.users.iter().map(User::to_string).collect();
        let or_dash = |text: Option<&str>| printable(text.unwrap_or("-"));
        let mut text = format!(
            "file     {}\nruntime  {}\nbehind   {}\nengine   {}\nused by  {}\n",
            printable(&self.file.display().to_string()),
            or_dash(path),
            or_dash(self.behind.as_deref()),
            or_dash(self.engine_text().as_deref()),
            or_dash((!users.is_empty()).then(|| users.join(", ")).as_deref()),
        );
        let style = anstyle::AnsiColor::Red.on_default().bold();
        for problem in &self.problems {
            let what = printable(&problem.what);
            text += &format!(
                "{style}error{style:#}    {what}\n         {}\n",
                problem.fix
            );
        }
        text
    }

    fn engine_text(&self) -> Option<String> {
        let version = self.engine.as_ref()?;
        Some(match self.name {
            "podman" => format!("Podman {version}"),
            _ => version.clone(),
        })
    }

    fn as_value(&self) -> Value {
        json!({
            "name": self.name,
            "file": self.file,
            "registered": self.registration.is_some(),
            "path": self.registration.as_ref().map(|its| &its.path),
            "arguments": self.registration.as_ref().map(|its| &its.runtime_args),
            "behind": self.behind,
            "engine": self.engine,
            "containers": self.users.iter().map(container).collect::<Vec<_>>(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    }
}

fn container(user: &User) -> Value {
    json!({ "name": user.name, "state": user.state, "runtime": user.runtime })
}

fn problem(problem: &Problem) -> Value {
    json!({ "what": problem.what, "remedy": problem.fix })
}

fn as_text(all: &[Status]) -> String {
    let texts: Vec<_> = all.iter().map(Status::as_text).collect();
    texts.join("\n")
}

/// What there is of the first engine, the containers and problems of all of them, and then each.
fn as_value(all: &[Status]) -> Value {
    let mut value = all.first().map(Status::as_value).unwrap_or_default();
    let containers = all.iter().flat_map(|status| &status.users).map(container);
    let problems = all.iter().flat_map(|status| &status.problems).map(problem);
    value["containers"] = containers.collect();
    value["problems"] = problems.collect();
    value["schema"] = 1.into();
    value["ok"] = (value["problems"] == json!([])).into();
    value["engines"] = all.iter().map(Status::as_value).collect();
    value
}
