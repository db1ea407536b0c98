//! How the time from a plug to its nodes grows with the containers of a host, up to 256 that sleep,
//! and what they cost the daemon: memory, and processor time while nothing happens.
//!
//! `make bench` runs it; `make bench ROUNDS=3` is a quick look. Nodes are made from outside: 256
//! commands keep a machine busy for seconds, whoever begins them.
#![allow(clippy::print_stdout)]

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use contest::cost::{IDLE, Idle};
use contest::{Daemon, Round, links_are, ms, round_by_ttyplugd};
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

const CONTAINERS: [usize; 3] = [1, 32, 256];

/// How often a round has a plug and an unplug, so that its 99th percentile is more than its worst.
const TURNS: usize = 7;

/// For 1 container: the time from a plug, as a multiple of udevd's own.
const ALONE_GOAL: f64 = 2.0;

/// For 32 containers.
const P99_GOAL_MS: f64 = 15.0;

/// For 256 containers, as a multiple of the time for 32.
const GROWTH_GOAL: f64 = 8.0;

fn main() {
    let rounds = figures::rounds(ROUNDS) * TURNS;

    let bed = Testbed::with_config(
        "inject = \"namespace\"\n[[port]]\nname = \"many\"\nmatch = { serial = \"T63\" }\n\
         containers = [\"many-*\"]\n",
    );
    let daemon = Daemon::start(&bed);
    daemon.says(1, "connected to the engine");
    sleep(Duration::from_secs(2));
    let memory_after_start = daemon.memory_mb();
    let mut containers = Vec::new();
    let mut measured = Vec::new();
    for count in CONTAINERS {
        start(&mut containers, count);
        println!("{count} containers, {rounds} rounds ...");
        measured.push(Measured::of(rounds, &containers));
    }
    println!("{} s of nothing ...", IDLE.as_secs());
    let port = Port::new(63);
    port.plug();
    links_are(&port, &containers, true);
    sleep(Duration::from_secs(2));
    let memory = daemon.memory_mb();
    let idle = daemon.idle();

    let rows = rows(&measured);
    print_rows(&rows);
    print_cost(memory_after_start, memory, &idle);
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    let daemon = json!({
        "memory_after_start_mb": rounded(memory_after_start),
        "memory_serving_mb": rounded(memory),
        "idle_cpu_ms": rounded(ms(idle.cpu)),
        "idle_wakes": idle.wakes,
    });
    figures::write("many.json", &json!({ "rows": rows, "daemon": daemon }));
}

fn start(containers: &mut Vec<Container>, count: usize) {
    let rule = format!("c {MAJOR}:* rmw");
    while containers.len() < count {
        let recipe = Recipe::new(&format!("many-{:03}", containers.len() + 1));
        containers.push(recipe.with(&["--device-cgroup-rule", &rule]).start());
    }
}

/// What was measured with so many containers.
struct Measured {
    containers: usize,
    plug: Vec<f64>,
    unplug: Vec<f64>,
    /// From the uevent until udevd told its listeners.
    udevd: Vec<f64>,
}

impl Measured {
    fn of(rounds: usize, containers: &[Container]) -> Self {
        let port = Port::new(63);
        // The first round warms up and is not counted. In it the nodes are proved to be of use.
        let rounds: Vec<Round> = (0..=rounds)
            .map(|round| round_by_ttyplugd(&port, containers, round == 0))
            .skip(1)
            .collect();
        let of = |time: fn(&Round) -> f64| rounds.iter().map(time).collect();
        Self {
            containers: containers.len(),
            plug: of(|round| round.plugged.done),
            unplug: of(|round| round.unplugged.done),
            udevd: of(|round| round.plugged.announced),
        }
    }

    fn row(&self, event: &str, times: &[f64]) -> Row {
        let what = format!("{}: {event}", counted(self.containers));
        Row::new(&what, "ms", times.to_vec())
    }
}

fn counted(containers: usize) -> String {
    match containers {
        1 => "1 container".into(),
        count => format!("{count} containers"),
    }
}

fn rows(measured: &[Measured]) -> Vec<Row> {
    let ratio = |what: &str, of: &[f64], by: &[f64], most| {
        let ratio = figures::median(of) / figures::median(by);
        Row::new(what, "×", vec![ratio]).goal(most, Statistic::Median)
    };
    let [alone, some, many] = measured else {
        panic!("as many as there are numbers of containers");
    };
    vec![
        alone.row("plug → udevd tells of it", &alone.udevd),
        alone.row("plug", &alone.plug),
        ratio(
            "… by udevd's own time",
            &alone.plug,
            &alone.udevd,
            ALONE_GOAL,
        ),
        alone.row("unplug", &alone.unplug),
        some.row("plug", &some.plug)
            .goal(P99_GOAL_MS, Statistic::P99),
        some.row("unplug", &some.unplug),
        many.row("plug", &many.plug),
        ratio("… by 32 containers", &many.plug, &some.plug, GROWTH_GOAL),
        many.row("unplug", &many.unplug),
        ratio(
            "… by 32 containers, unplug",
            &many.unplug,
            &some.unplug,
            GROWTH_GOAL,
        ),
    ]
}

fn print_cost(memory_after_start: f64, memory: f64, idle: &Idle) {
    println!();
    println!("| the daemon | |");
    println!("|---|--:|");
    println!("| memory (RSS) after its start | {memory_after_start:.1} MB |");
    println!("| with 256 containers | {memory:.1} MB |");
    println!(
        "| processor time in an idle minute | {:.1} ms |",
        ms(idle.cpu)
    );
    println!("| wake-ups in an idle minute | {} |", idle.wakes);
}
