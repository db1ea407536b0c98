//! How long it takes from a uevent to a node that can be opened in the containers, and from the
//! uevent of an unplug until the node is gone: by the udev rule and script that ttyplugd replaces,
//! and by ttyplugd. And what the daemon costs while nothing happens.
//!
//! `make bench` runs it; `make bench ROUNDS=3` is a quick look. The two take turns, one round each,
//! in the same containers and below the same udevd, so that whatever else the machine does hits
//! both. The times of two machines cannot be compared; the ratios can.
#![allow(clippy::print_stdout)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use bed::{
    Bed, Container, Entry, PROGRAM, Port, Recipe, SOON, docker_host, eventually, run, settle,
    test_dir,
};

#[path = "../tests/it/bed/mod.rs"]
#[allow(dead_code, unused_imports)]
mod bed;

/// How many rounds are measured unless the caller says otherwise.
const ROUNDS: usize = 30;

/// How many containers get the port at once.
const CONTAINERS: [usize; 3] = [1, 8, 32];

/// How often it is looked whether the nodes are there. Without a pause the look would take a core
/// away from what is measured; like this it takes a few per cent of one, and errs by less than 1 ms.
const LOOK: Duration = Duration::from_micros(500);

/// A round that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(90);

/// How long the daemon is watched doing nothing: in this time it looks at everything again once.
const IDLE: Duration = Duration::from_secs(60);

/// The largest ratio of ttyplugd's median to the script's, by the number of containers.
const RATIO_GOALS: [(usize, f64); 2] = [(1, 0.4), (32, 0.1)];
const MEMORY_GOAL_MB: f64 = 10.0;
const SIZE_GOAL_MB: f64 = 3.0;

fn main() {
    // cargo passes --bench before what the caller has to say.
    let rounds = std::env::args().find_map(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS).max(1);

    let bed = Bed::with_config(
        "[[port]]\nname = \"bench\"\nmatch = { serial = \"T63\" }\ncontainers = [\"bench-*\"]\n",
    );
    let daemon = Daemon::start(&bed);
    daemon.says(1, "connected to the engine");
    sleep(Duration::from_secs(2));
    let memory_after_start = daemon.memory_mb();

    let mut containers = Vec::new();
    let mut comparisons = Vec::new();
    for count in CONTAINERS {
        println!("{count} containers, {rounds} rounds ...");
        while containers.len() < count {
            let recipe = Recipe::new(&format!("bench-{:02}", containers.len() + 1));
            containers.push(recipe.with(&["--device-cgroup-rule", "c 4:* rmw"]).start());
        }
        comparisons.extend(compare(rounds, &containers, &daemon));
    }

    println!("{} s of nothing ...", IDLE.as_secs());
    Port::new(63).plug();
    daemon.says(2 * containers.len(), "link made");
    sleep(Duration::from_secs(2));
    let cost = Cost {
        memory_after_start,
        memory_serving: daemon.memory_mb(),
        idle: daemon.idle(),
        size: mb(fs::metadata(PROGRAM).expect("it has just run").len()),
    };

    print(&comparisons, &cost);
    write_json(&comparisons, &cost);
}

/// Plugs and unplugs in turn by each of the two.
fn compare(rounds: usize, containers: &[Container], daemon: &Daemon) -> [Comparison; 2] {
    let new = |event| Comparison {
        event,
        containers: containers.len(),
        script: Times::default(),
        ttyplugd: Times::default(),
    };
    let (mut plug, mut unplug) = (new("plug"), new("unplug"));
    // The first round warms up and is not counted. In it the nodes are proved to be of use.
    for round in 0..=rounds {
        let script = round_by_script(containers, round == 0);
        let ttyplugd = round_by_ttyplugd(containers, daemon, round == 0);
        if round > 0 {
            plug.script.0.push(script.plugged);
            plug.ttyplugd.0.push(ttyplugd.plugged);
            unplug.script.0.push(script.unplugged);
            unplug.ttyplugd.0.push(ttyplugd.unplugged);
        }
    }
    [plug, unplug].map(Comparison::sorted)
}

struct Round {
    plugged: Duration,
    unplugged: Duration,
}

/// The daemon hears of this port too, and has no container for it.
fn round_by_script(containers: &[Container], prove: bool) -> Round {
    let port = Port::new(62);
    let _script = Script::install(containers);
    round(&port, 0o777, containers, prove, |_| settle())
}

fn round_by_ttyplugd(containers: &[Container], daemon: &Daemon, prove: bool) -> Round {
    let port = Port::new(63);
    // The other contestant begins with an udevd that has just read its rules again, too.
    reload_rules();
    round(&port, 0o660, containers, prove, |action| match action {
        "add" => daemon.says(2 * containers.len(), "link made"),
        _ => daemon.says(containers.len(), "node removed"),
    })
}

/// Plugs and unplugs a port. `finish` waits until the work that follows from an event is done.
fn round(
    port: &Port,
    mode: u32,
    containers: &[Container],
    prove: bool,
    finish: impl Fn(&str),
) -> Round {
    let minor = port.node().minor;
    let is_there = |found: &Entry| matches!(found, Entry::Node(node) if (node.minor, node.mode) == (minor, mode));
    port.describe();
    let plugged = time(port, "add", containers, is_there);
    finish("add");
    if prove {
        open_everywhere(port, containers);
    }
    let unplugged = time(port, "remove", containers, |found| *found == Entry::Absent);
    finish("remove");
    Round { plugged, unplugged }
}

/// From the uevent until the node in every container is as it should be.
///
/// It is looked at from the host, because a process of its own in each of 32 containers would be in
/// the way of what it measures. To be open to a container's process takes the right number, the
/// final mode and the device cgroup's permission; the last was given when the container was created
/// and is proved in the first round.
fn time(
    port: &Port,
    action: &str,
    containers: &[Container],
    done: impl Fn(&Entry) -> bool,
) -> Duration {
    let path = |container: &Container| container.path(&port.host_node());
    let mut left: Vec<PathBuf> = containers.iter().map(path).collect();
    // For what the event before has left to do in the engine.
    sleep(Duration::from_millis(100));
    let begin = Instant::now();
    port.uevent(action);
    loop {
        left.retain(|path| !done(&Entry::at(path)));
        let time = begin.elapsed();
        if left.is_empty() {
            return time;
        }
        assert!(time < LIMIT, "{action}: nothing happens at {left:?}");
        sleep(LOOK);
    }
}

/// Opens the node in every container, as a process of the container.
fn open_everywhere(port: &Port, containers: &[Container]) {
    for container in containers {
        container.sh(&format!(": <>{}", port.host_node()));
    }
}

/// The procedure that ttyplugd replaces, word for word but for the places of the script, of its log
/// and of the engine.
struct Script {
    rules: Vec<PathBuf>,
}

const RULE: &str = r#"ACTION=="add", SUBSYSTEM=="tty", RUN+="/usr/local/bin/docker_tty.sh 'added' '%E{DEVNAME}' '%M' '%m'"
ACTION=="remove", SUBSYSTEM=="tty", RUN+="/usr/local/bin/docker_tty.sh 'removed' '%E{DEVNAME}' '%M' '%m'"
"#;

const SCRIPT: &str = r#"#!/usr/bin/env bash

echo "Usb event: $1 $2 $3 $4" >> /tmp/docker_tty.log
if [ ! -z "$(docker ps -qf name=<container name>)" ]
then
if [ "$1" == "added" ]
    then
        docker exec -u 0 <container name> mknod $2 c $3 $4
        docker exec -u 0 <container name> chmod -R 777 $2
        echo "Adding $2 to docker" >> /tmp/docker_tty.log
    else
        docker exec -u 0 <container name> rm $2
        echo "Removing $2 from docker" >> /tmp/docker_tty.log
    fi
fi
"#;

impl Script {
    /// A rule and a script for each container, since a script serves the one that it names.
    fn install(containers: &[Container]) -> Self {
        let mut script = Self { rules: Vec::new() };
        for container in containers {
            let name = container.name();
            let path = test_dir().join(format!("docker_tty-{name}.sh"));
            let log = test_dir().join("docker_tty.log");
            let text = SCRIPT
                .replace("<container name>", name)
                .replace("/tmp/docker_tty.log", &log.display().to_string());
            write(&path, &text);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");

            // What a rule puts into a device's environment is there for the programs that it runs.
            let host = format!("ENV{{DOCKER_HOST}}=\"{}\"\n", docker_host());
            let rule = RULE.replace("/usr/local/bin/docker_tty.sh", &path.display().to_string());
            let path = format!("/run/udev/rules.d/99-ttyplugd-bench-{name}.rules");
            write(Path::new(&path), &(host + &rule));
            script.rules.push(path.into());
        }
        reload_rules();
        script
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        for rule in &self.rules {
            let _ = fs::remove_file(rule);
        }
        reload_rules();
    }
}

/// Has udevd read its rules, which it does at the next event and not before.
fn reload_rules() {
    run("udevadm", &["control", "--reload"]);
    Port::new(60).uevent("change");
    settle();
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// ttyplugd as an operator has it, with its log in a file.
struct Daemon {
    child: Child,
    log: PathBuf,
    /// How much of the log has been read.
    read: Cell<usize>,
}

impl Daemon {
    fn start(bed: &Bed) -> Self {
        let log = bed.file("log");
        let child = Command::new(PROGRAM)
            .arg("run")
            .args(["--log-format", "text"])
            .arg("--config")
            .arg(bed.file("config.toml"))
            .arg("--run-dir")
            .arg(bed.file("run"))
            .arg("--state-dir")
            .arg(bed.file("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file can be made"))
            .spawn()
            .expect("ttyplugd can be started");
        Self {
            child,
            log,
            read: Cell::new(0),
        }
    }

    /// Waits for `count` log lines with these words, after those that have been waited for before.
    fn says(&self, count: usize, words: &str) {
        eventually(SOON, &format!("{count} log lines with {words:?}"), || {
            let log = fs::read_to_string(&self.log).expect("it was made");
            let new = &log[self.read.get()..];
            if new.matches(words).count() < count {
                return Err(format!("there is only\n{new}"));
            }
            self.read.set(log.len());
            Ok(())
        });
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }

    fn memory_mb(&self) -> f64 {
        field(&self.proc("status"), "VmRSS:") as f64 / 1024.0
    }

    /// Watches it for [`IDLE`].
    fn idle(&self) -> Idle {
        // Each thread counts for itself, and one that has nothing to do ends after some seconds:
        // hence a look every second.
        let begin = Instant::now();
        let first = self.threads();
        let mut last = first.clone();
        while begin.elapsed() < IDLE {
            sleep(Duration::from_secs(1));
            last.extend(self.threads());
        }
        let mut idle = Idle {
            cpu: Duration::ZERO,
            wakes: 0,
        };
        for (thread, (cpu, wakes)) in last {
            let (cpu_before, wakes_before) = first.get(&thread).copied().unwrap_or_default();
            idle.cpu += Duration::from_nanos(cpu - cpu_before);
            idle.wakes += wakes - wakes_before;
        }
        idle
    }

    /// By thread: nanoseconds on a core, and how often it went to sleep by itself.
    fn threads(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let tasks = fs::read_dir(self.proc("task")).expect("ttyplugd runs");
        let tasks = tasks.map(|task| task.expect("ttyplugd runs").path());
        tasks
            .map(|task| {
                let cpu = field(&task.join("schedstat"), "");
                let wakes = field(&task.join("status"), "\nvoluntary_ctxt_switches:");
                (task, (cpu, wakes))
            })
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number that follows a word in a file of /proc (proc(5)).
fn field(path: &Path, word: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let rest = text.split_once(word).map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{} has no {word:?}:\n{text}", path.display()))
}

/// What the daemon costs.
struct Cost {
    memory_after_start: f64,
    memory_serving: f64,
    idle: Idle,
    size: f64,
}

struct Idle {
    cpu: Duration,
    wakes: u64,
}

/// What was measured of one event for one number of containers.
struct Comparison {
    event: &'static str,
    containers: usize,
    script: Times,
    ttyplugd: Times,
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Comparison {
    fn sorted(mut self) -> Self {
        self.script.0.sort();
        self.ttyplugd.0.sort();
        self
    }

    fn ratio(&self) -> f64 {
        self.ttyplugd.median() / self.script.median()
    }
}

/// Of sorted times, in milliseconds.
impl Times {
    fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() % 2 {
            0 => f64::midpoint(ms(self.0[middle - 1]), ms(self.0[middle])),
            _ => ms(self.0[middle]),
        }
    }

    /// By nearest rank: the smallest time that 95 % of the rounds did not exceed.
    fn p95(&self) -> f64 {
        ms(self.0[(self.0.len() * 95).div_ceil(100) - 1])
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// Two tables in Markdown.
fn print(comparisons: &[Comparison], cost: &Cost) {
    let verdict =
        |goal: f64, met: bool| format!("≤ {goal}: {}", if met { "met" } else { "missed" });
    println!();
    println!(
        "| event | containers | n | script: median | p95 | ttyplugd: median | p95 | ratio | goal |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|---|");
    for comparison in comparisons {
        let Comparison {
            event,
            containers,
            script,
            ttyplugd,
        } = comparison;
        let ratio = comparison.ratio();
        let goal = RATIO_GOALS.iter().find(|(count, _)| count == containers);
        println!(
            "| {event} | {containers} | {} | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} ms | {ratio:.2} | {} |",
            script.0.len(),
            script.median(),
            script.p95(),
            ttyplugd.median(),
            ttyplugd.p95(),
            goal.map_or_else(String::new, |(_, goal)| verdict(*goal, ratio <= *goal)),
        );
    }
    println!();
    println!("| ttyplugd | | goal |");
    println!("|---|--:|---|");
    println!(
        "| memory (RSS) after its start | {:.1} MB | |",
        cost.memory_after_start
    );
    println!(
        "| memory (RSS) serving {} containers | {:.1} MB | {} |",
        CONTAINERS[CONTAINERS.len() - 1],
        cost.memory_serving,
        verdict(MEMORY_GOAL_MB, cost.memory_serving <= MEMORY_GOAL_MB)
    );
    println!(
        "| CPU time in an idle minute | {:.1} ms | |",
        ms(cost.idle.cpu)
    );
    println!("| wake-ups in an idle minute | {} | |", cost.idle.wakes);
    println!(
        "| size of the stripped program | {:.1} MB | {} |",
        cost.size,
        verdict(SIZE_GOAL_MB, cost.size <= SIZE_GOAL_MB)
    );
}

/// Writes bench/plug.json in cargo's target directory.
fn write_json(comparisons: &[Comparison], cost: &Cost) {
    let rounded = |number: f64| (number * 100.0).round() / 100.0;
    let row = |comparison: &Comparison, by: &str, times: &Times| {
        json!({
            "case": format!("{} by {by}", comparison.event),
            "containers": comparison.containers,
            "n": times.0.len(),
            "median_ms": rounded(times.median()),
            "p95_ms": rounded(times.p95()),
        })
    };
    let rows: Vec<_> = comparisons
        .iter()
        .flat_map(|c| [row(c, "script", &c.script), row(c, "ttyplugd", &c.ttyplugd)])
        .collect();
    let result = json!({
        "rows": rows,
        "daemon": {
            "memory_after_start_mb": rounded(cost.memory_after_start),
            "memory_serving_mb": rounded(cost.memory_serving),
            "idle_seconds": IDLE.as_secs(),
            "idle_cpu_ms": rounded(ms(cost.idle.cpu)),
            "idle_wakes": cost.idle.wakes,
            "program_mb": rounded(cost.size),
        },
    });
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("cargo makes it below the target directory");
    let directory = target.join("bench");
    let file = directory.join("plug.json");
    fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    write(&file, &format!("{result:#}\n"));
    // This runs as root, and the directory belongs to whoever runs cargo.
    let owner = fs::metadata(target).expect("it is there");
    for path in [&directory, &file] {
        chown(path, Some(owner.uid()), Some(owner.gid())).expect("root may do that");
    }
    println!("\nwritten to {}", file.display());
}
