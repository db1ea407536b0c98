//! How long it takes from a uevent to a node that can be opened in the containers, and from the
//! uevent of an unplug until the node is gone: by the udev rule and script that ttyplugd replaces,
//! and by ttyplugd. And what the daemon costs while nothing happens.
//!
//! `make bench` runs it; `make bench ROUNDS=3` is a quick look. The two take turns, one round each,
//! in the same containers and below the same udevd, so that whatever else the machine does hits
//! both. The times of two machines cannot be compared; the ratios can.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

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

/// What is to be measured of it alone.
impl Daemon {
    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid()).into()
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
