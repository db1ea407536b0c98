//! How long it takes from a uevent to a node that can be opened in the containers, and until it is
//! gone again, by each way in which ttyplugd makes it, and by the udev rule and script that it
//! replaces. And what it costs to give a container the right to open it.
//!
//! `make bench` runs it; `make bench ROUNDS=3` is a quick look. The ways take turns in the same
//! containers. The times of two machines cannot be compared; the ratios can.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::PathBuf;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use contest::command::bare_commands;
use contest::{Daemon, Round, ms, round_by_script, round_by_ttyplugd};
use figures::{Row, Statistic, print_rows, rounded};
use testbed::{Container, MAJOR, Port, Recipe, Testbed};

#[allow(dead_code)]
mod contest;
#[allow(dead_code)]
mod figures;
#[path = "../tests/it/testbed/mod.rs"]
#[allow(dead_code, unused_imports)]
mod testbed;

/// How many rounds are measured unless the caller says otherwise.
const ROUNDS: usize = 30;

/// How many containers get the port at once.
const CONTAINERS: [usize; 3] = [1, 8, 32];

/// How often a round has what is fast, so that its 99th percentile is more than its worst time.
const TURNS: usize = 4;

/// The largest ratio of a plug's median to the script's.
const RATIO_GOAL: f64 = 0.02;

/// For the largest number of containers.
const P99_GOAL_MS: f64 = 10.0;

/// What giving the right to open a port may add to a plug, per container.
const GRANT_GOAL_MS: f64 = 1.0;

/// After new settings, for the daemon to have looked at every container again.
const REST: Duration = Duration::from_millis(500);

/// How often it is looked whether a right is there: a few per cent of a core.
const LOOK: Duration = Duration::from_micros(500);

fn main() {
    let rounds = figures::rounds(ROUNDS);

    let bed = Testbed::new();
    let daemon = Daemon::start(&bed);
    daemon.says(1, "connected to the engine");

    let rule = format!("c {MAJOR}:* rmw");
    let allowed = |name: &str| Recipe::new(name).with(&["--device-cgroup-rule", &rule]);
    let mut rows = Vec::new();
    let mut containers = Vec::new();
    for count in CONTAINERS {
        println!("{count} containers, {rounds} rounds ...");
        add(&mut containers, count, |number| {
            allowed(&format!("bench-{number:02}"))
        });
        rows.extend(compare(rounds, &bed, &daemon, &containers));
    }
    // Others that do not have the right to open the port.
    let mut closed = Vec::new();
    for count in CONTAINERS {
        println!("{count} containers that are given the right, {rounds} rounds ...");
        add(&mut closed, count, |number| {
            Recipe::new(&format!("closed-{number:02}"))
        });
        rows.extend(grants(rounds, &bed, &daemon, &containers[..count], &closed));
    }

    print_rows(&rows);
    let rows: Vec<_> = rows.iter().map(with_rounds).collect();
    figures::write("inject.json", &json!({ "rows": rows }));
}

fn add(containers: &mut Vec<Container>, count: usize, recipe: impl Fn(usize) -> Recipe) {
    while containers.len() < count {
        containers.push(recipe(containers.len() + 1).start());
    }
}

const EXEC: &str = "inject = \"exec\"";
const NAMESPACE: &str = "inject = \"namespace\"";
const WITHOUT_RIGHTS: &str = "inject = \"namespace\"\ngrant = \"off\"";

/// Has the daemon read a file with these settings and this port, and look at every container.
fn configure(
    bed: &Testbed,
    daemon: &Daemon,
    settings: &str,
    port: &Port,
    containers: &[Container],
) {
    let names: Vec<_> = containers.iter().map(Container::name).collect();
    let name = port.host_node().replace("/dev/", "");
    let serial = name.replace("tty", "T");
    bed.configure(&format!(
        "{settings}\n[[port]]\nname = \"{name}\"\nmatch = {{ serial = \"{serial}\" }}\n\
         containers = {names:?}\n"
    ));
    daemon.reload();
    sleep(REST);
}

/// A time of a round.
type Time = fn(&Round) -> f64;

/// Plugs and unplugs by all three in turn.
fn compare(rounds: usize, bed: &Testbed, daemon: &Daemon, containers: &[Container]) -> Vec<Row> {
    let port = Port::new(63);
    let (mut script, mut exec, mut namespace) = (Vec::new(), Vec::new(), Vec::new());
    let mut bare = Vec::new();
    // The first round warms up and is not counted. In it the nodes are proved to be of use.
    for round in 0..=rounds {
        let prove = round == 0;
        let by_script = round_by_script(containers, prove);
        configure(bed, daemon, EXEC, &port, containers);
        let by_exec = round_by_ttyplugd(&port, containers, prove);
        let by_nobody = bare_commands(containers);
        configure(bed, daemon, NAMESPACE, &port, containers);
        let turns = (0..TURNS).map(|_| round_by_ttyplugd(&port, containers, prove));
        let turns: Vec<_> = turns.collect();
        if round > 0 {
            script.push(by_script);
            exec.push(by_exec);
            bare.push(by_nobody);
            namespace.extend(turns);
        }
    }
    let of = |rounds: &[Round], what: &str, value: Time| {
        let what = format!("{}: {what}", counted(containers));
        Row::new(&what, "ms", rounds.iter().map(value).collect())
    };
    let bare = Row::new(
        &format!("{}: commands that do nothing", counted(containers)),
        "ms",
        bare,
    );
    let mut rows = Vec::new();
    let events: [(_, Time); 2] = [
        ("plug", |round| round.plugged.done),
        ("unplug", |round| round.unplugged.done),
    ];
    for (event, value) in events {
        let script = of(&script, &format!("{event}, script"), value);
        let exec = of(&exec, &format!("{event}, exec"), value);
        let mut namespace = of(&namespace, &format!("{event}, namespace"), value);
        let ratio = |way: &str, times: &Row| {
            let what = format!("{}: {event}, {way} by script", counted(containers));
            Row::new(&what, "×", vec![times.median() / script.median()])
        };
        let by_exec = ratio("exec", &exec);
        let mut by_namespace = ratio("namespace", &namespace);
        if event == "plug" {
            by_namespace = by_namespace.goal(RATIO_GOAL, Statistic::Median);
            if containers.len() == CONTAINERS[CONTAINERS.len() - 1] {
                namespace = namespace.goal(P99_GOAL_MS, Statistic::P99);
            }
        }
        rows.extend([script, exec, namespace, by_exec, by_namespace]);
    }
    rows.push(bare);
    rows.push(of(&namespace, "plug → udevd tells of it", |round| {
        round.plugged.announced
    }));
    rows.push(of(
        &namespace,
        "udevd tells of it → usable, namespace",
        |round| round.plugged.done - round.plugged.announced,
    ));
    rows
}

fn counted(containers: &[Container]) -> String {
    match containers.len() {
        1 => "1 container".into(),
        count => format!("{count} containers"),
    }
}

/// The same plugs in containers that are allowed to open the port from the beginning, where nobody
/// looks after rights, and in those that are given the right each time, and lose it.
fn grants(
    rounds: usize,
    bed: &Testbed,
    daemon: &Daemon,
    allowed: &[Container],
    closed: &[Container],
) -> Vec<Row> {
    let (port, other) = (Port::new(63), Port::new(61));
    let (mut without, mut with, mut revoked) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and is not counted. In it the nodes are proved to be of use.
    for round in 0..=rounds {
        let prove = round == 0;
        configure(bed, daemon, WITHOUT_RIGHTS, &port, allowed);
        let turns = (0..TURNS).map(|_| round_by_ttyplugd(&port, allowed, prove));
        let allowed: Vec<_> = turns.collect();
        configure(bed, daemon, NAMESPACE, &other, closed);
        let turns = (0..TURNS).map(|_| {
            let watch = watch_right(&other, closed);
            let closed = round_by_ttyplugd(&other, closed, prove);
            let gone = watch.map(|watch| watch.join().expect("it does not panic"));
            (closed, gone)
        });
        let closed: Vec<_> = turns.collect();
        if round > 0 {
            without.extend(allowed);
            for (closed, gone) in closed {
                revoked.extend(gone.map(|gone| ms(gone - closed.unplugged.begin)));
                with.push(closed);
            }
        }
    }
    let row = |what: &str, values| Row::new(&format!("{}: {what}", counted(closed)), "ms", values);
    let plugged = |rounds: &[Round]| rounds.iter().map(|round| round.plugged.done).collect();
    let unplugged = |rounds: &[Round]| rounds.iter().map(|round| round.unplugged.done).collect();
    let costs = without
        .iter()
        .zip(&with)
        .map(|(without, with)| (with.plugged.done - without.plugged.done) / closed.len() as f64);
    let mut rows = vec![
        row("plug, the right is there", plugged(&without)),
        row("plug, the right is given", plugged(&with)),
        row(
            "… the difference, by rounds, per container",
            costs.collect(),
        )
        .goal(GRANT_GOAL_MS, Statistic::Median),
        row("unplug, the right is there", unplugged(&without)),
        row("unplug, the right is taken back", unplugged(&with)),
    ];
    if !revoked.is_empty() {
        rows.push(row("unplug → the right is gone", revoked));
    }
    rows
}

/// Waits until a right has been given to all of the containers and taken from all of them, and tells
/// when. Only version 1 of cgroups lists them (kernel,
/// Documentation/admin-guide/cgroup-v1/devices.rst).
fn watch_right(port: &Port, containers: &[Container]) -> Option<JoinHandle<Instant>> {
    let lists = containers.iter().map(list_of_rights);
    let lists = lists.collect::<Option<Vec<_>>>()?;
    let entry = format!("c {MAJOR}:{} ", port.node().minor);
    Some(spawn(move || {
        for given in [true, false] {
            for list in &lists {
                while fs::read_to_string(list).is_ok_and(|text| text.contains(&entry) != given) {
                    sleep(LOOK);
                }
            }
        }
        Instant::now()
    }))
}

fn list_of_rights(container: &Container) -> Option<PathBuf> {
    let groups = container.root().with_file_name("cgroup");
    let groups = fs::read_to_string(groups).expect("the container runs");
    let group = groups.lines().find_map(|line| line.split_once(":devices:"));
    let (_, path) = group?;
    Some(format!("/sys/fs/cgroup/devices{path}/devices.list").into())
}

fn with_rounds(row: &Row) -> Value {
    let mut json = row.json();
    json["rounds"] = row.rounds.iter().copied().map(rounded).collect();
    json
}
