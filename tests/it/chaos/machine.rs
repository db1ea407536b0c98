//! Carries operations out on a real engine, udevd and kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;
use serde_json::{Value, json};
use ttyplugd::daemon::status::document::Status;

use crate::testbed::{
    Daemon, Disk, Journald, LiveRestore, PROGRAM, Port, RUNTIME, Testbed, docker_host, engine, run,
    test_dir, until, until_within,
};

use super::api;
use super::operation::{Mess, Operation};
use super::world::{KINDS, Kind, OWN, Stick, World};

/// Within which containerd ends a container whose shim was killed.
const SHIM_LIMIT: Duration = Duration::from_secs(30);

/// Within which a command can be executed again.
const EXEC_LIMIT: Duration = Duration::from_secs(5);

/// The programs, which an upgrade replaces.
const PROGRAMS: [&str; 2] = ["ttyplugd", "ttyplug-runtime"];

/// The names of the two builds in the bed's directory.
const BUILDS: [&str; 2] = ["this", "other"];

pub(super) struct Machine {
    slots: Vec<Mutex<Slot>>,
    daemon: Mutex<Option<Daemon>>,
    /// Which build is installed.
    build: Mutex<usize>,
    disk: Disk,
    _live_restore: LiveRestore,
    journald: Journald,
    pub(super) bed: Testbed,
}

/// A container of the engine.
#[derive(Debug)]
struct Slot {
    id: String,
    name: &'static str,
}

impl Machine {
    /// What [`World::new`] says.
    pub(super) fn new(world: &World) -> Self {
        let journald = Journald::start();
        let bed = Testbed::with_runtime_at("bin/ttyplug-runtime", &world.config.text());
        copy_builds(&bed);
        install(&bed, BUILDS[0]);
        let machine = Self {
            daemon: Mutex::new(Some(spawn(&bed))),
            build: Mutex::new(0),
            disk: Disk::at(bed.file("state")),
            _live_restore: bed.live_restore(),
            journald,
            slots: Vec::new(),
            bed,
        };
        let slots = KINDS.iter().enumerate().map(|(number, kind)| {
            let id = machine.create(number, kind.name);
            Mutex::new(Slot {
                id,
                name: kind.name,
            })
        });
        let slots = slots.collect();
        Self { slots, ..machine }
    }

    pub(super) fn id(&self, container: usize) -> String {
        self.slot(container).id.clone()
    }

    fn slot(&self, container: usize) -> std::sync::MutexGuard<'_, Slot> {
        let slot = self.slots[container].lock();
        slot.unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the daemon while nobody else does.
    pub(super) fn with_daemon<T>(&self, with: impl FnOnce(&mut Option<Daemon>) -> T) -> T {
        let daemon = self.daemon.lock();
        with(&mut daemon.unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the program of a container writes what became of its opens.
    pub(super) fn opens(&self, container: usize) -> PathBuf {
        self.bed.file(&format!("opens/{container}"))
    }

    fn create(&self, number: usize, name: &str) -> String {
        let kind = &KINDS[number];
        let directory = self.opens(number);
        fs::create_dir_all(&directory).expect("a directory can be made");
        let volume = format!("{}:/opens", directory.display());
        let image = format!("ttyplugd-test/{}", kind.image);
        let labels = labels(kind);
        let mut arguments = vec!["create", "--name", name, "--network", "none"];
        arguments.extend(["--volume", &volume]);
        for label in &labels {
            arguments.extend(["--label", label]);
        }
        if kind.wrapped {
            arguments.extend(["--runtime", "ttyplug"]);
        }
        arguments.extend(kind.options);
        arguments.push(&image);
        if !kind.opens.is_empty() {
            arguments.extend(["opens", "always", "/opens/log"]);
            arguments.extend(kind.opens);
        }
        run("docker", &arguments)
    }

    /// Carries one out.
    pub(super) fn carry_out(&self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Plug { socket, stick } => port(*socket, *stick).announce("add"),
            Operation::Unplug { socket } => uevent(*socket, "remove"),
            Operation::Blink { socket, times } => {
                for _ in 0..*times {
                    uevent(*socket, "remove");
                    uevent(*socket, "add");
                }
            }
            Operation::Mess(container, mess, path) => self.mess(*container, *mess, path)?,
            Operation::Reload(config) => {
                self.bed.configure(&config.text());
                self.reload();
            }
            Operation::KillDaemon { down } => self.restart_daemon(Signal::SIGKILL, *down),
            Operation::StopDaemon { down } => self.restart_daemon(Signal::SIGTERM, *down),
            Operation::Upgrade => self.upgrade(),
            Operation::KillEngine { down } => kill_engine(*down),
            Operation::KillContainerd { down } => kill_containerd(*down),
            Operation::FillDisk => self.disk.spoil("full"),
            Operation::MendDisk => self.disk.mend(),
            Operation::StopJournal => self.journald.stop(),
            Operation::ContinueJournal => self.journald.go_on(),
            Operation::Swap(a, b) => self.swap(*a, *b)?,
            Operation::Recreate(container) => self.recreate(*container)?,
            Operation::Exec(container) => self.exec(*container),
            Operation::KillShim(container) => self.kill_shim(*container),
            Operation::KillKeeper(container) => self.kill_keeper(*container),
            Operation::Start(container) => self.start(*container, "start")?,
            Operation::Stop(container) => self.post(*container, "stop?t=0", &[204])?,
            Operation::Kill(container) => self.post(*container, "kill", &[204])?,
            Operation::Restart(container) => self.start(*container, "restart?t=0")?,
            Operation::Pause(container) => self.pause(*container)?,
            Operation::Unpause(container) => self.post(*container, "unpause", &[204])?,
            Operation::Rename(container, name) => self.rename(*container, name)?,
            Operation::Update(container, shares) => {
                self.call(
                    *container,
                    "update",
                    &json!({ "CpuShares": shares }),
                    &[200],
                )?;
            }
        }
        Ok(())
    }

    fn post(&self, container: usize, what: &str, right: &[u16]) -> Result<(), String> {
        self.call(container, what, &Value::Null, right).map(drop)
    }

    fn call(
        &self,
        container: usize,
        what: &str,
        body: &Value,
        right: &[u16],
    ) -> Result<Value, String> {
        let path = format!("/containers/{}/{what}", self.id(container));
        expect("POST", &path, body, right)
    }

    /// What the engine says of a container.
    pub(super) fn inspect(&self, container: usize) -> Result<Value, String> {
        let path = format!("/containers/{}/json", self.id(container));
        expect("GET", &path, &Value::Null, &[200])
    }

    /// containerd gives up on a shim that is slow to listen (containerd, runtime/v2/binary.go), and a
    /// user starts the container again.
    fn start(&self, container: usize, how: &str) -> Result<(), String> {
        match self.post(container, how, &[204]) {
            Err(error) if error.contains("failed to start shim") => {
                self.post(container, "start", &[204])
            }
            ended => ended,
        }
    }

    /// runc gives up on a container that begins a process at every of its tries (libcontainer,
    /// cgroups/fs/freezer.go), and a user pauses it again.
    fn pause(&self, container: usize) -> Result<(), String> {
        let paused = || match self.post(container, "pause", &[204]) {
            Err(error) if error.contains("unable to freeze") => Err(error),
            ended => Ok(ended),
        };
        until("it can be frozen", paused)
    }

    fn rename(&self, container: usize, name: &'static str) -> Result<(), String> {
        self.post(container, &format!("rename?name={name}"), &[204])?;
        self.slot(container).name = name;
        Ok(())
    }

    fn swap(&self, a: usize, b: usize) -> Result<(), String> {
        let (name_a, name_b) = (self.slot(a).name, self.slot(b).name);
        self.rename(a, "swapped")?;
        self.rename(b, name_a)?;
        self.rename(a, name_b)
    }

    fn recreate(&self, container: usize) -> Result<(), String> {
        let path = format!("/containers/{}?force=1", self.id(container));
        expect("DELETE", &path, &Value::Null, &[204])?;
        let name = self.slot(container).name;
        self.slot(container).id = self.create(container, name);
        self.post(container, "start", &[204])
    }

    /// runc refuses it in the moment in which one keeper takes over from another.
    fn exec(&self, container: usize) {
        until_within(EXEC_LIMIT, "a command succeeds", || {
            self.try_to_exec(container)
        });
    }

    fn try_to_exec(&self, container: usize) -> Result<(), String> {
        let command = match KINDS[container].image {
            "noshell" => json!(["/sleep", "0"]),
            _ => json!(["true"]),
        };
        let body = json!({ "Cmd": command, "AttachStdout": true });
        let exec = self.call(container, "exec", &body, &[201])?;
        let id = exec["Id"].as_str().unwrap_or_default();
        expect("POST", &format!("/exec/{id}/start"), &json!({}), &[200])?;
        let exec = expect("GET", &format!("/exec/{id}/json"), &Value::Null, &[200])?;
        match exec["ExitCode"].as_i64() {
            Some(0) => Ok(()),
            _ => Err(format!("a command fails: {exec}")),
        }
    }

    fn root(&self, container: usize) -> Result<PathBuf, String> {
        let pid = &self.inspect(container)?["State"]["Pid"];
        Ok(format!("/proc/{pid}/root").into())
    }

    /// The host does in the container's /dev what a process of the container would do there. Nothing
    /// of it has to be possible.
    fn mess(&self, container: usize, mess: Mess, path: &str) -> Result<(), String> {
        let dev = self.root(container)?.join("dev");
        let path = dev.join(&path["/dev/".len()..]);
        let _ = match mess {
            Mess::Remove => fs::remove_file(&path),
            Mess::Move => fs::rename(&path, dev.join("moved")),
            Mess::RemoveLinks => fs::remove_dir_all(dev.join("serial")),
            Mess::EmptyFile => fs::remove_file(&path).and_then(|()| fs::write(&path, "")),
            Mess::OtherNode => {
                let null = makedev(1, 3);
                let mode = Mode::from_bits_truncate(0o666);
                let _ = fs::remove_file(&path);
                mknod(&path, SFlag::S_IFCHR, mode, null).map_err(Into::into)
            }
        };
        Ok(())
    }

    pub(super) fn reload(&self) {
        self.with_daemon(|daemon| {
            let daemon = daemon.as_mut().expect("it runs");
            daemon.reload();
            daemon.notifies("READY=1");
        });
    }

    fn restart_daemon(&self, signal: Signal, down: u64) {
        self.with_daemon(|daemon| {
            daemon.take().expect("it runs").end(signal);
            sleep(down);
            *daemon = Some(spawn(&self.bed));
        });
    }

    /// As the package does it: the programs are replaced, and the service is restarted.
    fn upgrade(&self) {
        let mut build = self.build.lock().unwrap_or_else(PoisonError::into_inner);
        *build = 1 - *build;
        install(&self.bed, BUILDS[*build]);
        self.restart_daemon(Signal::SIGTERM, 0);
    }

    fn kill_shim(&self, container: usize) {
        let id = self.id(container);
        for pid in processes(&["containerd-shim", &id]) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        until_within(SHIM_LIMIT, "the container of the shim ends", || {
            let container = self.inspect(container)?;
            match container["State"]["Running"].as_bool() {
                Some(false) => Ok(()),
                _ => Err(container["State"].to_string()),
            }
        });
    }

    /// Kills it when the daemon has had the time to get its listeners, and waits for the one that takes
    /// over. There is no systemd here to keep them for the next daemon.
    fn kill_keeper(&self, container: usize) {
        let id = self.id(container);
        let keepers = || self.bed.keepers().into_iter().filter(|k| k.container == id);
        sleep(1000);
        let Some(killed) = keepers().next() else {
            return;
        };
        let _ = kill(Pid::from_raw(killed.pid()), Signal::SIGKILL);
        until("another keeper takes over", || {
            keepers().any(|keeper| keeper.pid() != killed.pid() && keeper.held().is_ok())
        });
    }

    /// What the daemon says of itself.
    pub(super) fn status(&self) -> Result<Status, String> {
        let status = self.bed.status()?;
        serde_json::from_value(status).map_err(|error| error.to_string())
    }

    /// The memory that is the daemon's own, in kB, and how many descriptors it has.
    pub(super) fn size_of_daemon(&self) -> (u64, usize) {
        self.with_daemon(|daemon| {
            let proc = daemon.as_ref().expect("it runs").proc();
            let status = fs::read_to_string(proc.join("status")).expect("it runs");
            let memory = status
                .lines()
                .find_map(|line| line.strip_prefix("RssAnon:"));
            let memory = memory.and_then(|memory| memory.trim().strip_suffix(" kB"));
            let memory = memory.and_then(|memory| memory.parse().ok());
            let descriptors = fs::read_dir(proc.join("fd")).expect("it runs").count();
            (memory.expect("the kernel says it"), descriptors)
        })
    }

    /// Removes every container. Returns what is left of ours then.
    pub(super) fn left_behind(&self) -> Vec<String> {
        for container in 0..self.slots.len() {
            let path = format!("/containers/{}?force=1", self.id(container));
            expect("DELETE", &path, &Value::Null, &[204]).expect("it can be removed");
        }
        until("nothing is left", || {
            let left = self.left();
            left.is_empty().then_some(()).ok_or(format!("{left:#?}"))
        });
        self.left()
    }

    /// Keepers, the files of keepers, and what is on record.
    fn left(&self) -> Vec<String> {
        let keepers = self.bed.keepers().into_iter();
        let files = fs::read_dir(self.bed.file("run/k")).into_iter().flatten();
        let files = files.flatten().map(|file| format!("{:?}", file.path()));
        let keepers = keepers.map(|keeper| format!("{keeper:?}"));
        let record = fs::read_to_string(self.bed.file("run/owned.json")).unwrap_or_default();
        let record: Value = serde_json::from_str(&record).unwrap_or_default();
        let record = record["containers"].as_object().into_iter().flatten();
        let record = record.map(|(id, record)| format!("{id}: {record}"));
        keepers.chain(files).chain(record).collect()
    }
}

fn expect(method: &str, path: &str, body: &Value, right: &[u16]) -> Result<Value, String> {
    let (status, answer) = api::call(method, path, body)?;
    match right.contains(&status) {
        true => Ok(answer),
        false => Err(format!("{method} {path}: {status} {answer}")),
    }
}

fn labels(kind: &Kind) -> Vec<String> {
    let mut labels = vec!["ttyplugd.hold=forever".to_owned()];
    if kind.every {
        labels.push("ttyplugd.enable=true".to_owned());
    }
    if let Some(stick) = kind.own {
        labels.push(format!("ttyplugd.port.own.match=serial={}", stick.serial()));
        labels.push(format!("ttyplugd.port.own.node={OWN}"));
    }
    labels
}

/// A stick in a socket.
pub(super) fn port(socket: usize, stick: Stick) -> Port {
    Port::new(60 + socket as u64)
        .with("ID_SERIAL_SHORT", stick.serial())
        .with("TEST_BY_ID", format!("usb-Chaos_{}-if00", stick.serial()))
}

/// The kernel's name of the tty of a socket.
pub(super) fn tty(socket: usize) -> String {
    Port::new(60 + socket as u64).sysname()
}

fn uevent(socket: usize, action: &str) {
    Port::new(60 + socket as u64).uevent(action);
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// The build of this test, and another one: the same, unless TTYPLUGD_TEST_OTHER has a directory
/// with its programs.
fn copy_builds(bed: &Testbed) {
    let this = Path::new(PROGRAM).parent().expect("it is in a directory");
    let other = std::env::var_os("TTYPLUGD_TEST_OTHER").map(PathBuf::from);
    let other = other.unwrap_or_else(|| this.into());
    assert_eq!(Path::new(RUNTIME).parent(), Some(this));
    fs::create_dir(bed.file("bin")).expect("a directory can be made");
    for (name, from) in BUILDS.into_iter().zip([this, &other]) {
        fs::create_dir(bed.file(name)).expect("a directory can be made");
        for program in PROGRAMS {
            let to = bed.file(name).join(program);
            fs::copy(from.join(program), to).expect("the programs can be copied");
        }
    }
}

/// Puts the programs of a build in place, each by one rename.
fn install(bed: &Testbed, build: &str) {
    for program in PROGRAMS {
        let new = bed.file(&format!("bin/{program}.new"));
        fs::hard_link(bed.file(build).join(program), &new).expect("it is a new name");
        fs::rename(&new, bed.file("bin").join(program)).expect("it can be renamed");
    }
}

fn spawn(bed: &Testbed) -> Daemon {
    let program = Command::new(bed.file("bin/ttyplugd"));
    let directory = bed.file("");
    let mut daemon = Daemon::spawn_by(program, "journal", &directory, &docker_host());
    daemon.notifies("READY=1");
    daemon
}

fn kill_engine(down: u64) {
    let file = test_dir().join("dockerd.pid");
    let pid = fs::read_to_string(file).expect("the engine runs");
    let pid = Pid::from_raw(pid.trim().parse().expect("it is a number"));
    kill(pid, Signal::SIGKILL).expect("the engine runs");
    until("the engine has ended", || kill(pid, None).is_err());
    sleep(down);
    engine("start");
}

/// Starts it again as it was started (tests/lane.sh).
fn kill_containerd(down: u64) {
    let config = test_dir().join("containerd.toml");
    let pids = processes(&["containerd", &config.to_string_lossy()]);
    let [pid] = pids[..] else {
        panic!("not one containerd: {pids:?}");
    };
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    kill(pid, Signal::SIGKILL).expect("it runs");
    until("containerd has ended", || kill(pid, None).is_err());
    sleep(down);
    let log = fs::File::options()
        .append(true)
        .open(test_dir().join("containerd.log"));
    let log = log.expect("it is there");
    let started = Command::new("setsid")
        .arg("--fork")
        .args(line.split_terminator('\0'))
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().expect("it is open"))
        .stderr(log)
        .status();
    assert!(started.is_ok_and(|started| started.success()));
    until("containerd answers the engine", || {
        let version = expect("GET", "/version", &Value::Null, &[200])?;
        let components = version["Components"].as_array().into_iter().flatten();
        let mut names = components.filter_map(|component| component["Name"].as_str());
        let answers = names.any(|name| name == "containerd");
        answers.then_some(()).ok_or(version.to_string())
    });
}

/// Processes whose program's name begins with the first word, and whose arguments have all others.
fn processes(words: &[&str]) -> Vec<Pid> {
    let all = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let found = all.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(process.path().join("cmdline")).ok()?;
        let mut line = line.split('\0');
        let program = line.next()?.rsplit('/').next()?;
        let arguments: Vec<_> = line.collect();
        let fits =
            program.starts_with(words[0]) && words[1..].iter().all(|word| arguments.contains(word));
        fits.then(|| Pid::from_raw(pid))
    });
    found.collect()
}
