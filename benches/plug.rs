//! How long it takes from a uevent to a node that can be opened in the containers, and from the
//! uevent of an unplug until the node is gone: by the udev rule and script that ttyplugd replaces,
//! and by ttyplugd. And what the daemon costs while nothing happens.
//!
//! `make bench` runs it; `make bench ROUNDS=3` is a quick look. The two take turns, one round each,
//! in the same containers and below the same udevd, so that whatever else the machine does hits
//! both. The times of two machines cannot be compared; the ratios can.
#![allow(clippy::print_stdout)]

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use contest::cost::{IDLE, Idle};
use contest::{Daemon, links_are, ms, round_by_script, round_by_ttyplugd};
use figures::{Row, rounded};
use testbed::{Container, PROGRAM, Port, Recipe, Testbed};

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

/// The largest ratio of ttyplugd's median to the script's, by the number of containers.
const RATIO_GOALS: [(usize, f64); 2] = [(1, 0.4), (32, 0.1)];
const MEMORY_GOAL_MB: f64 = 10.0;
const SIZE_GOAL_MB: f64 = 3.0;

fn main() {
    let rounds = figures::rounds(ROUNDS);

    let bed = Testbed::with_config(
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
        comparisons.extend(compare(rounds, &containers));
    }

    println!("{} s of nothing ...", IDLE.as_secs());
    let port = Port::new(63);
    port.plug();
    links_are(&port, &containers, true);
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
fn compare(rounds: usize, containers: &[Container]) -> [Comparison; 2] {
    let port = Port::new(63);
    let [mut script, mut ttyplugd] = [const { (Vec::new(), Vec::new()) }; 2];
    // The first round warms up and is not counted. In it the nodes are proved to be of use.
    for round in 0..=rounds {
        let by_script = round_by_script(containers, round == 0);
        let by_ttyplugd = round_by_ttyplugd(&port, containers, round == 0);
        if round > 0 {
            script.0.push(by_script.plugged.done);
            script.1.push(by_script.unplugged.done);
            ttyplugd.0.push(by_ttyplugd.plugged.done);
            ttyplugd.1.push(by_ttyplugd.unplugged.done);
        }
    }
    let comparison = |event, script, ttyplugd| Comparison {
        event,
        containers: containers.len(),
        script: Row::new(event, "ms", script),
        ttyplugd: Row::new(event, "ms", ttyplugd),
    };
    [
        comparison("plug", script.0, ttyplugd.0),
        comparison("unplug", script.1, ttyplugd.1),
    ]
}

/// What the daemon costs.
struct Cost {
    memory_after_start: f64,
    memory_serving: f64,
    idle: Idle,
    size: f64,
}

/// What was measured of one event for one number of containers.
struct Comparison {
    event: &'static str,
    containers: usize,
    script: Row,
    ttyplugd: Row,
}

impl Comparison {
    fn ratio(&self) -> f64 {
        self.ttyplugd.median() / self.script.median()
    }
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
            script.n(),
            script.median(),
            script.percentile(95),
            ttyplugd.median(),
            ttyplugd.percentile(95),
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

fn write_json(comparisons: &[Comparison], cost: &Cost) {
    let row = |comparison: &Comparison, by: &str, times: &Row| {
        json!({
            "case": format!("{} by {by}", comparison.event),
            "containers": comparison.containers,
            "n": times.n(),
            "median_ms": rounded(times.median()),
            "p95_ms": rounded(times.percentile(95)),
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
    figures::write("plug.json", &result);
}
