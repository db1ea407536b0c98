//! What holding an open costs, and what it brings: from a node in place to the return of the open
//! that waited for it, the price of the filter and of the runtime wrapper, the keeper's memory, and
//! what an application sees beside one that tries again.
//!
//! `make bench` runs it after the other measurements; `make bench ROUNDS=3` is a quick look. What
//! is compared takes turns in one run, so that whatever else the machine does hits both: containers
//! of the same image under `ttyplug` and under plain `runc`. All of them have Docker's default
//! profile. The programs in them are those of hold.c.
#![allow(clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use serde_json::{Value, json};

use figures::{Row, Statistic, median, print_rows, verdict};
use testbed::keeper::Keeper;
use testbed::{Container, Daemon, Port, Recipe, Testbed, run, settle, test_dir, until};

#[allow(dead_code)]
mod figures;
#[path = "../tests/it/testbed/mod.rs"]
#[allow(dead_code, unused_imports)]
mod testbed;

/// How many rounds are measured unless the caller says otherwise. What takes longer or shorter is
/// done less or more often, in proportion.
const ROUNDS: usize = 50;

/// How many opens of one program are held at once.
const THREADS: usize = 1000;

/// How many calls a batch of hold.c has, and how many of its batches make a round.
const BATCHES: &str = "8";

/// How many trapped opens make a round.
const TRAPPED: &str = "40";

/// After what has just happened, for the daemon and the engine to come to rest.
const REST: Duration = Duration::from_millis(100);

const CONFIG: &str = r#"
held-per-process = 1000

[[port]]
name = "held"
match = { serial = "T63" }
containers = ["bench-held"]
node = "/dev/held"
hold = "forever"

[[port]]
name = "plain"
match = { serial = "T62" }
containers = ["bench-plain"]
node = "/dev/plain"

[[port]]
name = "never"
match = { serial = "none" }
containers = ["bench-told", "bench-start"]
node = "/dev/never"
"#;

fn main() {
    let rounds = figures::rounds(ROUNDS);

    let (mut rows, keeper) = held_opens(rounds);
    for containers in [1, 32, 128] {
        println!("plugs into {containers} containers with keepers ...");
        rows.extend(plugs(rounds.div_ceil(5), containers));
    }
    print(&rows, &keeper);
    write_json(&rows, &keeper);
}

fn held_opens(rounds: usize) -> (Vec<Row>, KeeperCost) {
    let bed = Testbed::with_runtime(CONFIG);
    let daemon = bed.daemon();
    let program = test_dir().join("hold");
    compile(&program);
    let held = container("bench-held", &program, "ttyplug");
    let told = container("bench-told", &program, "ttyplug");
    let plain = container("bench-plain", &program, "runc");

    println!("docker exec, {} times ...", rounds * 6);
    let mut keeper = KeeperCost::of_execs(rounds * 6, &bed, &told);
    let mut rows = Vec::new();
    println!("an open that is held, {rounds} rounds ...");
    rows.extend(releases(rounds, &bed, &held, &plain));
    println!("an open that only a keeper is asked about ...");
    rows.push(tellings(rounds, &bed, &told));
    println!("{THREADS} opens at once ...");
    rows.extend(crowds(rounds.div_ceil(10), &bed, &held, &told));
    println!("keepers that are killed while they hold {THREADS} opens ...");
    rows.push(takeovers(rounds.div_ceil(5), &bed, &held));
    println!("opens that are not held ...");
    rows.extend(filters(rounds, &told, &plain));
    rows.extend(traps(rounds, &bed, &told, &held, &plain));
    println!("starts of containers ...");
    rows.extend(starts(rounds.div_ceil(2)));
    println!("opens that are held until nodes are made from outside ...");
    rows.extend(releases_from_outside(rounds * 4, &bed, &daemon, &held));
    keeper.last = Snapshot::when_at_rest(&bed, &told, keeper.first.descriptors);
    (rows, keeper)
}

/// What a plug and the unplug after it cost the daemon where each of many containers has a keeper
/// that follows it. Nodes are created from outside, so most of it is the daemon's own work.
fn plugs(rounds: usize, containers: usize) -> Vec<Row> {
    let config = "inject = \"namespace\"\n[[port]]\nname = \"many\"\nnode = \"/dev/many\"\n\
                  match = { serial = \"T63\" }\ncontainers = [\"many-*\"]\n";
    let bed = Testbed::with_runtime(config);
    let daemon = bed.daemon();
    let runtime = ["--runtime", "ttyplug"];
    let many: Vec<Container> = (0..containers)
        .map(|n| Recipe::new(&format!("many-{n}")).with(&runtime).start())
        .collect();
    let port = Port::new(63);
    let mut costs = Vec::new();
    // The first round warms up and is not counted.
    for _ in 0..=rounds {
        let before = processor_time(&daemon);
        for action in ["node made", "node removed"] {
            let done = daemon.count(&[action]) + many.len();
            match action {
                "node made" => drop(plug(&port)),
                _ => port.unplug(),
            }
            daemon.logs_again(done - 1, &[action]);
            settle();
            sleep(REST);
        }
        costs.push((processor_time(&daemon) - before) / MS);
    }
    let costs: Vec<f64> = costs.split_off(1);
    let each = costs.iter().map(|cost| cost / many.len() as f64).collect();
    let of =
        format!("plug and unplug, {containers} containers with keepers: daemon's processor time");
    vec![
        Row::new(&of, "ms", costs),
        Row::new("… per container", "ms", each),
    ]
}

/// How long the daemon has kept a processor busy so far, in nanoseconds (clock_getcpuclockid(3)).
fn processor_time(daemon: &Daemon) -> f64 {
    let clock = clock_getcpuclockid(daemon.pid()).expect("it runs");
    let time = clock_gettime(clock).expect("it runs");
    Duration::from(time).as_secs_f64() * 1e9
}

fn compile(program: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/hold.c");
    let words = ["-O2", "-Wall", "-static", "-pthread", "-o"].map(Path::new);
    run("cc", &[&words[..], &[program, &source]].concat());
}

/// With the program of hold.c, and with the right to open the ports from the beginning.
fn container(name: &str, program: &Path, runtime: &str) -> Container {
    let volume = format!("{}:/bin/hold:ro", program.display());
    let rule = ["--device-cgroup-rule", "c 4:* rmw"];
    let recipe = Recipe::new(name).with(&["--runtime", runtime, "--volume", &volume]);
    let container = recipe.with(&rule).start();
    // The directories of the links can be watched before there is any link.
    container.sh("mkdir -p /dev/serial/by-id /dev/serial/by-path; : >/dev/told");
    container
}

/// hold.c in a container. It works once for every [`Program::begin`].
struct Program {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(container: &Container, words: &[&str]) -> Self {
        let mut child = Command::new("timeout")
            .args(["300", "docker", "exec", "-i", container.name(), "hold"])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("timeout, of coreutils, runs");
        Self {
            stdin: child.stdin.take().expect("it is piped"),
            lines: BufReader::new(child.stdout.take().expect("it is piped")).lines(),
            child,
        }
    }

    fn begin(&mut self) {
        self.stdin.write_all(b"\n").expect("it reads");
    }

    /// The numbers that it says at its end.
    fn answer(&mut self) -> Vec<f64> {
        let line = self.lines.next().expect("it says something");
        let line = line.expect("it writes text");
        let words = line.split_whitespace().map(str::parse);
        words
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// When its open returned.
    fn returned(&mut self) -> f64 {
        self.answer()[0]
    }

    fn work(&mut self) -> Vec<f64> {
        self.begin();
        self.answer()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds of the clock that hold.c reads.
fn now() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is such a clock");
    Duration::from(time).as_secs_f64() * 1e9
}

/// Notes when a container gets its node and its two links, the node first. Each appears under its name
/// with its final owner and mode: it is linked there, or renamed where something is in its place.
fn watch(container: &Container) -> JoinHandle<[f64; 3]> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("the kernel has inotify");
    for directory in ["/dev", "/dev/serial/by-id", "/dev/serial/by-path"] {
        let directory = container.path(directory);
        let appears = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let added = inotify.add_watch(&directory, appears);
        added.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    }
    spawn(move || {
        let mut times = Vec::new();
        loop {
            let events = inotify.read_events().expect("it is watched");
            let time = now();
            let names = events.iter().filter_map(|event| event.name.as_ref());
            let made = names.filter(|name| !name.to_string_lossy().starts_with('.'));
            times.extend(made.map(|_| time));
            if let [node, first, last, ..] = times[..] {
                return [node, first, last];
            }
        }
    })
}

/// Opens that wait for a port to be plugged in, and those of a program that tries every second.
fn releases(rounds: usize, bed: &Testbed, held: &Container, plain: &Container) -> Vec<Row> {
    let mut once = Program::start(held, &["once", "/dev/held"]);
    let mut retry = Program::start(plain, &["retry", "/dev/plain"]);
    let (port, other) = (Port::new(63), Port::new(62));
    let retries = rounds.div_ceil(4);
    let (mut from_link, mut from_node) = (Vec::new(), Vec::new());
    let (mut held_view, mut retry_view, mut node_there) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        let [plugged, node, link, returned] = release(bed, held, &port, &mut once);
        if round > 0 {
            from_link.push((returned - link) / MS);
            from_node.push((returned - node) / MS);
            held_view.push((returned - plugged) / SECOND);
            node_there.push((node - plugged) / SECOND);
        }
        if (1..=retries).contains(&round) {
            retry.begin();
            // Over the rounds the port comes at every time between two tries.
            let phase = round as f64 / retries as f64;
            sleep(Duration::from_secs_f64(0.1 + phase));
            let plugged = plug(&other);
            retry_view.push((retry.returned() - plugged) / SECOND);
            unplug(&other, &plain.path("/dev/plain"));
        }
    }
    // As evenly as there are seconds in a minute, after the node is there.
    let node = Row::new("", "", node_there).median();
    let minute = (0..60).map(|second| node + f64::from(second) + 0.5);
    vec![
        Row::new(
            "last link in place → held open returns, by a command",
            "ms",
            from_link,
        )
        .goal(2.0, Statistic::P99),
        Row::new(
            "node in place → held open returns, by a command",
            "ms",
            from_node,
        ),
        Row::new("plug → open, held", "s", held_view),
        Row::new("plug → open, tried every second (runc)", "s", retry_view),
        Row::new(
            "plug → open, tried every minute (computed)",
            "s",
            minute.collect(),
        ),
    ]
}

/// The same opens where nodes are made from outside.
fn releases_from_outside(
    rounds: usize,
    bed: &Testbed,
    daemon: &Daemon,
    held: &Container,
) -> Vec<Row> {
    bed.configure(&format!("inject = \"namespace\"\n{CONFIG}"));
    daemon.reload();
    daemon.logs(&["configuration reloaded"]);
    let mut once = Program::start(held, &["once", "/dev/held"]);
    let port = Port::new(63);
    // The first round warms up and is not counted.
    let times: Vec<_> = (0..=rounds)
        .map(|_| release(bed, held, &port, &mut once))
        .skip(1)
        .collect();
    let since = |moment: usize| {
        let times = times.iter();
        times.map(|it| (it[3] - it[moment]) / MS).collect()
    };
    vec![
        Row::new(
            "last link in place → held open returns, from outside",
            "ms",
            since(2),
        )
        .goal(1.0, Statistic::P99),
        Row::new(
            "node in place → held open returns, from outside",
            "ms",
            since(1),
        ),
        Row::new("plug → held open returns, from outside", "ms", since(0)),
    ]
}

/// Returns when the port was plugged in, when its node and its last link were there, and when the
/// open returned.
fn release(bed: &Testbed, container: &Container, port: &Port, program: &mut Program) -> [f64; 4] {
    program.begin();
    bed.holds(&["/dev/held"]);
    sleep(REST);
    let watch = watch(container);
    let plugged = plug(port);
    let returned = program.returned();
    let [node, _, link] = watch.join().expect("it does not panic");
    unplug(port, &container.path("/dev/held"));
    [plugged, node, link, returned]
}

fn plug(port: &Port) -> f64 {
    port.describe();
    let time = now();
    port.uevent("add");
    time
}

/// Unplugs a port, until its node is gone. The log is limited, and does not have all of many rounds.
fn unplug(port: &Port, node: &Path) {
    settle();
    port.unplug();
    until("the node is gone", || !node.exists());
    sleep(REST);
}

/// A keeper's part alone: this program says in the daemon's place that a port is ready.
fn tellings(rounds: usize, bed: &Testbed, told: &Container) -> Row {
    let mut voice = Voice::to_keeper_of(bed, told);
    let mut program = Program::start(told, &["once", TOLD]);
    let times = (0..=rounds * 2).map(|_| {
        voice.say(false);
        // An open that came before this was heard would not be held.
        sleep(REST / 4);
        program.begin();
        bed.holds(&[TOLD]);
        sleep(REST / 4);
        let begin = voice.say(true);
        (program.returned() - begin) / MS
    });
    let times = times.skip(1).collect();
    Row::new("keeper is told → held open returns", "ms", times).goal(1.0, Statistic::P99)
}

/// What is held in the container `told`: a file that is there, so the open succeeds.
const TOLD: &str = "/dev/told";

/// The daemon's voice at a keeper, in the words of version 1.
struct Voice(UnixStream);

impl Voice {
    fn to_keeper_of(bed: &Testbed, container: &Container) -> Self {
        let stream = UnixStream::connect(keeper_of(bed, container).socket);
        Self(stream.expect("the keeper listens"))
    }

    /// Returns when that was said.
    fn say(&mut self, ready: bool) -> f64 {
        let port = json!({ "port": "told", "names": [TOLD], "ready": ready, "hold": "forever" });
        let message = json!({
            "ttyplugd": 1, "ports": { "ports": [port], "every": false, "per_process": THREADS },
        });
        let line = format!("{message}\n");
        let time = now();
        self.0.write_all(line.as_bytes()).expect("the keeper reads");
        time
    }
}

/// Many threads of one program that wait, until the last of their opens has returned.
fn crowds(rounds: usize, bed: &Testbed, held: &Container, told: &Container) -> Vec<Row> {
    let count = THREADS.to_string();
    let port = Port::new(63);
    let mut voice = Voice::to_keeper_of(bed, told);
    let mut of_daemon = Program::start(held, &["threads", "/dev/held", &count]);
    let mut of_keeper = Program::start(told, &["threads", TOLD, &count]);
    let (mut from_link, mut from_telling, mut until_held) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = now();
        of_daemon.begin();
        bed.holds(&["/dev/held"; THREADS]);
        until_held.push((now() - begin) / MS);
        sleep(REST);
        let watch = watch(held);
        plug(&port);
        let last = of_daemon.returned();
        let [.., link] = watch.join().expect("it does not panic");
        from_link.push((last - link) / MS);
        unplug(&port, &held.path("/dev/held"));

        voice.say(false);
        // An open that came before this was heard would not be held.
        sleep(REST / 4);
        of_keeper.begin();
        bed.holds(&[TOLD; THREADS]);
        sleep(REST);
        let begin = voice.say(true);
        from_telling.push((of_keeper.returned() - begin) / MS);
    }
    let row = |what: &str, times| Row::new(&format!("{THREADS} opens: {what}"), "ms", times);
    vec![
        row("last link in place → the last returns", from_link).goal(50.0, Statistic::Median),
        row("keeper is told → the last returns", from_telling).goal(50.0, Statistic::Median),
        row("begun → all are held", until_held),
    ]
}

/// How long it takes until another keeper holds all that one held which was killed.
fn takeovers(rounds: usize, bed: &Testbed, held: &Container) -> Row {
    let port = Port::new(63);
    let mut program = Program::start(held, &["threads", "/dev/held", &THREADS.to_string()]);
    program.begin();
    bed.holds(&["/dev/held"; THREADS]);
    let mut times = Vec::new();
    for _ in 0..rounds {
        sleep(REST);
        let all = bed.keepers();
        let holds = |keeper: &Keeper| keeper.held().is_ok_and(|held| held.len() == THREADS);
        let keeper = all.into_iter().find(holds).expect("there is one");
        let begin = now();
        keeper.signal(Signal::SIGKILL);
        // The next one has the same socket.
        while !holds(&keeper) {
            sleep(Duration::from_millis(1));
        }
        times.push((now() - begin) / MS);
    }
    plug(&port);
    program.returned();
    port.unplug();
    let what = format!("keeper killed → another holds all {THREADS} opens");
    Row::new(&what, "ms", times).goal(50.0, Statistic::Median)
}

/// Opens that the filter lets pass, which is all but those of serial ports.
fn filters(rounds: usize, told: &Container, plain: &Container) -> Vec<Row> {
    let mut ttyplug = Program::start(told, &["plain", BATCHES]);
    let mut runc = Program::start(plain, &["plain", BATCHES]);
    let rounds = alternate([&mut ttyplug, &mut runc], rounds * 2);
    let best = |which: usize| Row::new("", "", flat(&rounds, which)).best();
    let differences = rounds
        .iter()
        .map(|[ttyplug, runc]| (median(ttyplug) - median(runc)) / US)
        .collect();
    let row = |runtime: &str, which| {
        let times = flat(&rounds, which).iter().map(|time| time / US).collect();
        Row::new(
            &format!("openat that is not asked about, {runtime}"),
            "µs",
            times,
        )
    };
    vec![
        row("ttyplug", 0),
        row("runc", 1),
        Row::new("… the difference, by rounds", "µs", differences).goal(0.2, Statistic::Median),
        Row::new(
            "… of the best batches",
            "µs",
            vec![(best(0) - best(1)) / US],
        ),
    ]
}

/// Opens that look like a serial port's and are of something else: in a container whose port is away,
/// and in one whose port is there.
fn traps(
    rounds: usize,
    bed: &Testbed,
    told: &Container,
    held: &Container,
    plain: &Container,
) -> Vec<Row> {
    const PATH: &str = "/dev/no-port";
    let port = Port::new(63);
    plug(&port);
    until("the node is there", || held.path("/dev/held").exists());
    Voice::to_keeper_of(bed, told).say(false);
    sleep(REST);
    let mut away = Program::start(told, &["trapped", PATH, TRAPPED]);
    let mut there = Program::start(held, &["trapped", PATH, TRAPPED]);
    let mut agent = Program::start(plain, &["agent", PATH, TRAPPED]);
    let mut nobody = Program::start(plain, &["trapped", PATH, TRAPPED]);
    let rounds = alternate([&mut away, &mut there, &mut agent, &mut nobody], rounds);
    unplug(&port, &held.path("/dev/held"));
    let row = |whom: &str, which| {
        let times = flat(&rounds, which).iter().map(|time| time / US).collect();
        Row::new(&format!("open of no port, {whom}"), "µs", times)
    };
    let ratio = |what: &str, which: usize| {
        let ratios = rounds.iter().map(|of| median(&of[which]) / median(&of[2]));
        Row::new(what, "×", ratios.collect()).goal(2.0, Statistic::Median)
    };
    vec![
        row("the keeper is asked, its port is away", 0).goal(30.0, Statistic::Median),
        row("the keeper is asked, its port is there", 1),
        row("a minimal C agent is asked", 2),
        row("nobody is asked (runc)", 3),
        ratio("… keeper whose port is away by agent, by rounds", 0),
        ratio("… keeper whose port is there by agent, by rounds", 1),
    ]
}

/// Has the programs take turns. The first round is not counted.
fn alternate<const N: usize>(programs: [&mut Program; N], rounds: usize) -> Vec<[Vec<f64>; N]> {
    let mut programs = programs;
    let mut turn = || programs.each_mut().map(|program| program.work());
    turn();
    (0..rounds).map(|_| turn()).collect()
}

fn flat<const N: usize>(rounds: &[[Vec<f64>; N]], which: usize) -> Vec<f64> {
    rounds
        .iter()
        .flat_map(|round| round[which].clone())
        .collect()
}

/// A container that does nothing, from the command to its end.
fn starts(rounds: usize) -> Vec<Row> {
    let start = |runtime: &str| {
        let words = "run --rm --network none --name bench-start --runtime";
        let words = words
            .split(' ')
            .chain([runtime, "ttyplugd-test/busybox", "true"]);
        let begin = now();
        run("docker", &words.collect::<Vec<_>>());
        (now() - begin) / MS
    };
    let mut times = Vec::new();
    for round in 0..=rounds {
        // Who is first changes, since the engine may have work left from the one before.
        let mut pair = [0.0; 2];
        for turn in 0..2 {
            let which = (round + turn) % 2;
            pair[which] = start(["ttyplug", "runc"][which]);
        }
        if round > 0 {
            times.push(pair);
        }
    }
    let of = |which: usize| times.iter().map(|pair| pair[which]).collect();
    let differences = times.iter().map(|[ttyplug, runc]| ttyplug - runc).collect();
    vec![
        Row::new("docker run --rm … true, ttyplug", "ms", of(0)),
        Row::new("docker run --rm … true, runc", "ms", of(1)),
        Row::new("… the difference, by rounds", "ms", differences).goal(10.0, Statistic::Median),
    ]
}

fn keeper_of(bed: &Testbed, container: &Container) -> Keeper {
    let id = container.inspect("{{.Id}}");
    let keepers = bed.keepers().into_iter();
    let mut keepers = keepers.filter(|keeper| keeper.container == id);
    keepers.next().expect("the container has a keeper")
}

/// What a keeper takes.
struct KeeperCost {
    first: Snapshot,
    execs: usize,
    after_execs: Snapshot,
    last: Snapshot,
}

/// Memory is in kB.
#[derive(Clone, Copy)]
struct Snapshot {
    anonymous: u64,
    pss: u64,
    descriptors: usize,
}

impl KeeperCost {
    /// Every `docker exec` brings the keeper a listener, until its program has ended.
    fn of_execs(count: usize, bed: &Testbed, container: &Container) -> Self {
        let first = Snapshot::of(bed, container);
        for _ in 0..count {
            run("docker", &["exec", container.name(), "true"]);
        }
        let after_execs = Snapshot::when_at_rest(bed, container, first.descriptors);
        Self {
            first,
            execs: count,
            after_execs,
            last: after_execs,
        }
    }
}

impl Snapshot {
    /// Programs that have been killed end soon, and their listeners with them.
    fn when_at_rest(bed: &Testbed, container: &Container, descriptors: usize) -> Self {
        for _ in 0..20 {
            if Self::of(bed, container).descriptors <= descriptors {
                break;
            }
            sleep(REST);
        }
        Self::of(bed, container)
    }

    fn of(bed: &Testbed, container: &Container) -> Self {
        let keeper = keeper_of(bed, container);
        let file = PathBuf::from(format!("/proc/{}/smaps_rollup", keeper.pid()));
        let rollup = fs::read_to_string(&file).expect("it runs");
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let pss = pss.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        Self {
            anonymous: keeper.memory("RssAnon"),
            pss: pss.unwrap_or_else(|| panic!("{rollup}")),
            descriptors: keeper.descriptors(),
        }
    }

    fn json(self) -> Value {
        json!({ "rss_anon_kb": self.anonymous, "pss_kb": self.pss, "fds": self.descriptors })
    }
}

const US: f64 = 1e3;
const MS: f64 = 1e6;
const SECOND: f64 = 1e9;

/// Two tables in Markdown.
fn print(rows: &[Row], keeper: &KeeperCost) {
    print_rows(rows);
    let KeeperCost {
        first,
        execs,
        after_execs,
        last,
    } = keeper;
    println!("\n| keeper | at first | after {execs} × docker exec | after all of this | goal |");
    println!("|---|--:|--:|--:|---|");
    let three = |of: fn(&Snapshot) -> u64| [of(first), of(after_execs), of(last)];
    for (what, [first, after, last], goal) in [
        ("RssAnon, kB", three(|at| at.anonymous), 300),
        ("Pss, kB", three(|at| at.pss), 1024),
        (
            "open files",
            three(|at| at.descriptors as u64),
            first.descriptors as u64,
        ),
    ] {
        let goal = verdict("after execs", goal as f64, after as f64);
        println!("| {what} | {first} | {after} | {last} | {goal} |");
    }
}

fn write_json(rows: &[Row], keeper: &KeeperCost) {
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    let result = json!({
        "rows": rows,
        "keeper": {
            "at_first": keeper.first.json(),
            "execs": keeper.execs,
            "after_execs": keeper.after_execs.json(),
            "at_last": keeper.last.json(),
        },
    });
    figures::write("hold.json", &result);
}
