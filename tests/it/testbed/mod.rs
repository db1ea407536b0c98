//! The testbed: a real engine, a real udevd, real uevents and the real program.

mod container;
mod daemon;
mod delays;
mod disk;
mod entry;
mod journald;
pub(crate) mod keeper;
mod podman;
mod port;
mod process;
pub(crate) mod proxy;
mod terminal;
mod wait;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

pub(crate) use container::{Container, Recipe, names_below};
pub(crate) use daemon::{Daemon, PROGRAM};
pub(crate) use delays::{Delays, Random, seed};
pub(crate) use disk::Disk;
pub(crate) use entry::{Entry, Node};
pub(crate) use journald::{Journald, entries};
pub(crate) use podman::Podman;
pub(crate) use port::{HaltedUdevd, MAJOR, Port, SlowRule, settle};
pub(crate) use process::Process;
pub(crate) use terminal::Terminal;
pub(crate) use wait::{SOON, eventually, has_words, output, run, until, until_within};

/// The OCI runtime wrapper.
pub(crate) const RUNTIME: &str = env!("CARGO_BIN_EXE_ttyplug-runtime");

/// There is one set of test ttys and one engine, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The options for the files of one test, and their names in its directory.
const FILES: [(&str, &str); 3] = [
    ("--state-dir", "state"),
    ("--config", "config.toml"),
    ("--run-dir", "run"),
];

/// The turn of one test, and the daemon's files. At its end the ports are unplugged.
pub(crate) struct Testbed {
    directory: TempDir,
    /// In seconds since 1970.
    begun: u64,
    /// The wrapper, and the runtime behind it.
    runtime: PathBuf,
    real_runtime: String,
    _turn: MutexGuard<'static, ()>,
}

impl Testbed {
    /// Waits for its turn, and removes what a failed test left.
    pub(crate) fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        engine("start");
        unplug_everything();
        let left = run("docker", &["ps", "--all", "--quiet"]);
        for id in left.lines() {
            run("docker", &["rm", "--force", id]);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let bed = Self {
            directory: TempDir::new_in(test_dir()).expect("the test directory can be written to"),
            begun: now.map_or(0, |now| now.as_secs()),
            runtime: RUNTIME.into(),
            real_runtime: "runc".into(),
            _turn: turn,
        };
        bed.configure("");
        bed
    }

    /// A bed whose configuration file has this text.
    pub(crate) fn with_config(text: &str) -> Self {
        let bed = Self::new();
        bed.configure(text);
        bed
    }

    /// The same, and the engine knows the runtime `ttyplug`, which uses this bed's files.
    pub(crate) fn with_runtime(text: &str) -> Self {
        Self::with_runtime_in_front_of("runc", text)
    }

    /// The same with another real runtime than runc behind it.
    pub(crate) fn with_runtime_in_front_of(runtime: &str, text: &str) -> Self {
        let mut bed = Self::with_config(text);
        bed.real_runtime = runtime.into();
        configure_engine(&bed.engine_settings());
        bed
    }

    /// The same with the wrapper in another place.
    pub(crate) fn with_runtime_at(name: &str, text: &str) -> Self {
        let mut bed = Self::with_config(text);
        bed.runtime = bed.file(name);
        configure_engine(&bed.engine_settings());
        bed
    }

    fn engine_settings(&self) -> serde_json::Value {
        let runtime = ["--runtime".to_owned(), self.real_runtime.clone()];
        let arguments = [&runtime[..], &self.file_options()].concat();
        serde_json::json!({
            "runtimes": { "ttyplug": { "path": self.runtime, "runtimeArgs": arguments } },
            "live-restore": false,
        })
    }

    /// The options that make a program of ours use these files.
    pub(crate) fn file_options(&self) -> Vec<String> {
        self.options(&FILES)
    }

    fn options(&self, files: &[(&str, &str)]) -> Vec<String> {
        let path = |name| self.file(name).to_string_lossy().into_owned();
        let options = files.iter();
        let options = options.flat_map(|(option, name)| [(*option).to_owned(), path(name)]);
        options.collect()
    }

    /// From now on the engine knows the runtime `ttyplug` no more.
    pub(crate) fn forget_runtime(&self) {
        let settings = serde_json::json!({ "runtimes": {}, "live-restore": false });
        configure_engine(&settings);
    }

    /// Lets containers live on while the engine is down, until the returned value is dropped.
    pub(crate) fn live_restore(&self) -> LiveRestore {
        let off = self.engine_settings();
        let mut on = off.clone();
        on["live-restore"] = true.into();
        configure_engine(&on);
        LiveRestore { off }
    }

    /// Writes the configuration file. With TTYPLUGD_TEST_INJECT the tests show that it makes no
    /// difference how nodes get into containers.
    pub(crate) fn configure(&self, text: &str) {
        let inject = match std::env::var("TTYPLUGD_TEST_INJECT") {
            Ok(inject) if !text.contains("inject") => format!("inject = {inject:?}\n"),
            _ => String::new(),
        };
        let file = self.file("config.toml");
        fs::write(file, format!("{inject}{text}")).expect("a file can be written");
    }

    /// A file of the daemon's: `config.toml`, `run/owned.json`, …
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_at(&docker_host())
    }

    pub(crate) fn daemon_at(&self, docker_host: &str) -> Daemon {
        let mut daemon = Daemon::spawn(self.directory.path(), docker_host);
        daemon.notifies("READY=1");
        daemon
    }

    /// The same by another file of the program.
    pub(crate) fn daemon_by(&self, program: &Path) -> Daemon {
        let mut daemon = Daemon::spawn_as(program, self.directory.path(), &docker_host());
        daemon.notifies("READY=1");
        daemon
    }

    /// The daemon, which logs to the journal.
    pub(crate) fn daemon_with_journal(&self) -> Daemon {
        let mut daemon = Daemon::spawn_with_journal(self.directory.path(), &docker_host());
        daemon.notifies("READY=1");
        daemon
    }

    /// The daemon without a capability, e.g. `sys_admin`.
    pub(crate) fn daemon_without(&self, capability: &str) -> Daemon {
        let directory = self.directory.path();
        let mut daemon = Daemon::spawn_without(capability, directory, &docker_host());
        daemon.notifies("READY=1");
        daemon
    }

    /// A command of `ttyplugd` on the same files.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["100", PROGRAM])
            .args(self.arguments(arguments));
        command.env("NO_COLOR", "1");
        command
    }

    /// These arguments, and the options for the files that the command takes.
    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let files = match arguments {
            ["ports", ..] => &[],
            ["status" | "wait", ..] => &FILES[2..],
            ["add" | "remove", ..] => &FILES[1..],
            _ => &FILES[..],
        };
        let arguments = arguments.iter().copied().map(String::from);
        arguments.chain(self.options(files)).collect()
    }

    /// Runs it on a terminal.
    pub(crate) fn terminal(&self, arguments: &[&str]) -> Terminal {
        let words = [vec![PROGRAM.to_owned()], self.arguments(arguments)].concat();
        Terminal::start(&words)
    }

    /// Runs it to its end.
    pub(crate) fn ttyplugd(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        output.expect("timeout, of coreutils, runs")
    }

    /// Runs a command with `--json` and reads what it prints.
    pub(crate) fn json(&self, command: &str) -> serde_json::Value {
        let output = self.ttyplugd(&[command, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let value: serde_json::Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{command} --json: {error}\n{text}\n{output:?}"));
        assert_eq!(value["schema"], 1, "{text}");
        value
    }

    /// The daemon's own status.
    pub(crate) fn status(&self) -> Result<serde_json::Value, String> {
        let output = self.ttyplugd(&["status", "--json"]);
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).map_err(|error| format!("{error}: {output:?}"))
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        unplug_everything();
    }
}

fn unplug_everything() {
    for port in Port::all() {
        port.uevent("remove");
    }
    settle();
}

const HINT: &str = "these tests need an engine, a udevd and ttys of their own: run `make test`, \
                    or cargo test below tests/with-engine.sh";

/// The private engine. Any other is refused, since tests remove every container that they find.
pub(crate) fn docker_host() -> String {
    let host = std::env::var("DOCKER_HOST").expect(HINT);
    assert_eq!(
        host,
        format!("unix://{}/docker.sock", test_dir().display()),
        "{HINT}"
    );
    host
}

/// Where the private engine has its socket and the ports their properties.
pub(crate) fn test_dir() -> PathBuf {
    std::env::var_os("TTYPLUGD_TEST_DIR").expect(HINT).into()
}

#[derive(Debug)]
pub(crate) struct LiveRestore {
    off: serde_json::Value,
}

impl Drop for LiveRestore {
    fn drop(&mut self) {
        engine("start");
        configure_engine(&self.off);
    }
}

/// Gives the private engine other settings. It reads these again at SIGHUP (dockerd(8),
/// "Configuration reload behavior").
fn configure_engine(settings: &serde_json::Value) {
    docker_host();
    let file = test_dir().join("daemon.json");
    fs::write(file, settings.to_string()).expect("a file can be written");
    let pid = fs::read_to_string(test_dir().join("dockerd.pid")).expect("the engine runs");
    run("kill", &["-HUP", pid.trim()]);
    until("the engine has its new settings", || {
        let info = run("docker", &["info", "--format", "{{json .}}"]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
        let runtime = &settings["runtimes"]["ttyplug"];
        info["Runtimes"]["ttyplug"]["runtimeArgs"] == runtime["runtimeArgs"]
            && info["LiveRestoreEnabled"] == settings["live-restore"]
    });
}

/// Gives the private engine a file without our runtime, and waits until it has read it.
pub(crate) fn engine_without_runtime() {
    configure_engine(&serde_json::json!({ "runtimes": {}, "live-restore": false }));
}

/// Starts or stops the private engine.
pub(crate) fn engine(action: &str) {
    engine_with(action, &[]);
}

/// The same, with more arguments for dockerd.
pub(crate) fn engine_with(action: &str, arguments: &[&str]) {
    docker_host();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine.sh");
    let status = Command::new("timeout")
        .arg("170")
        .arg(script)
        .arg(action)
        .args(arguments)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "engine.sh {action} fails"
    );
}
