//! The soak: 32 containers, and every second a plug or an unplug in eight of them. Memory, descriptors
//! and latency stay what they are.
//!
//! `make soak SECONDS=3600` runs it. It writes a line a second to target/chaos/soak.csv, of which
//! docs/soak.sh makes a plot.
#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::testbed::{Container, Daemon, Port, Recipe, Testbed, settle, until};

use super::report::{directory, percentile, sorted};
use super::round::now;

const SECOND: Duration = Duration::from_secs(1);

/// A port each, for a quarter of the containers.
const STICKS: u64 = 4;
const CONTAINERS_EACH: u64 = 8;

const NODE: &str = "/dev/port";

/// A second of the soak.
#[derive(Debug)]
struct Row {
    second: u64,
    /// From the uevent until the last container had what it must, in microseconds.
    latency: u64,
    daemon: Size,
    /// All keepers together.
    keepers: Size,
}

/// Memory of its own in kB, and descriptors.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    memory: u64,
    descriptors: u64,
}

impl Size {
    fn of(pid: impl std::fmt::Display) -> Self {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(proc.join("status")).expect("it runs");
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let memory = memory.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
        let descriptors = fs::read_dir(proc.join("fd")).expect("it runs").count();
        Self {
            memory: memory.expect("the kernel says it"),
            descriptors: descriptors as u64,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory + other.memory,
            descriptors: self.descriptors + other.descriptors,
        }
    }
}

struct Soak {
    bed: Testbed,
    daemon: Daemon,
    containers: Vec<Vec<Container>>,
}

impl Soak {
    fn new() -> Self {
        let ports = (0..STICKS).map(|stick| {
            format!(
                "[[port]]\nname = \"port-{stick}\"\nmatch = {{ serial = \"T{}\" }}\n\
                 containers = [\"soak-{stick}-*\"]\nnode = {NODE:?}\nhold = \"forever\"\n",
                60 + stick
            )
        });
        let bed = Testbed::with_runtime(&ports.collect::<String>());
        let daemon = bed.daemon();
        let start = |stick, number| {
            let name = format!("soak-{stick}-{number}");
            // Its open waits for the port, each time that this is gone.
            let program = format!("while :; do opens once {NODE} >/dev/null; sleep 1; done");
            let recipe = Recipe::new(&name)
                .image("opens")
                .command(&["sh", "-c", &program]);
            match number % 2 {
                0 => recipe.wrapped().start(),
                _ => recipe.start(),
            }
        };
        let of = |stick| (0..CONTAINERS_EACH).map(move |number| start(stick, number));
        let containers = (0..STICKS).map(|stick| of(stick).collect()).collect();
        Self {
            bed,
            daemon,
            containers,
        }
    }

    /// What happens in a second: a stick comes, or goes if it is there.
    fn turn(&self, second: u64) -> Row {
        let port = Port::new(60 + second % STICKS);
        let comes = second / STICKS % 2 == 0;
        let containers = &self.containers[usize::try_from(second % STICKS).expect("it is small")];
        let paths: Vec<_> = containers.iter().map(|c| c.path(NODE)).collect();
        let begun = now();
        port.announce(if comes { "add" } else { "remove" });
        until("every container has what it must", || {
            paths
                .iter()
                .all(|path| path.symlink_metadata().is_ok() == comes)
        });
        Row {
            second,
            latency: now() - begun,
            daemon: Size::of(self.daemon.pid()),
            keepers: self.keepers(),
        }
    }

    fn keepers(&self) -> Size {
        let keepers = self.bed.keepers().into_iter();
        keepers.fold(Size::default(), |all, keeper| {
            all.and(Size::of(keeper.pid()))
        })
    }
}

#[test]
#[ignore = "it takes an hour: make soak"]
fn soak() {
    let seconds = super::number("TTYPLUGD_TEST_SECONDS").unwrap_or(3600);
    let soak = Soak::new();
    settle();
    let mut csv = Csv::create(&directory().join("soak.csv"));
    let mut rows = Vec::new();
    let begun = Instant::now();
    for second in 0..seconds {
        let due = SECOND * u32::try_from(second).expect("nobody waits so long");
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let row = soak.turn(second);
        csv.write(&row);
        rows.push(row);
    }
    let tenth = rows.len().div_ceil(10);
    let (early, late) = (&rows[tenth..2 * tenth], &rows[rows.len() - tenth..]);
    for measure in MEASURES {
        let (early, late) = (measure.of(early), measure.of(late));
        println!("{}: {early} early, {late} late", measure.what);
        assert!(late <= early + early / 5 + 4, "{} has grown", measure.what);
    }
    soak.daemon.stop();
}

/// Something that must not grow.
struct Measure {
    what: &'static str,
    /// Of some rows that which so many per cent do not exceed.
    percent: usize,
    of: fn(&Row) -> u64,
}

const MEASURES: [Measure; 5] = [
    Measure::median("the daemon's own memory in kB", |row| row.daemon.memory),
    Measure::median("its descriptors", |row| row.daemon.descriptors),
    Measure::median("the keepers' own memory in kB", |row| row.keepers.memory),
    Measure::median("their descriptors", |row| row.keepers.descriptors),
    Measure {
        // What else the machine does makes the others longer.
        percent: 10,
        ..Measure::median("µs from the uevent to the last container", |row| {
            row.latency
        })
    },
];

impl Measure {
    const fn median(what: &'static str, of: fn(&Row) -> u64) -> Self {
        Self {
            what,
            percent: 50,
            of,
        }
    }

    fn of(&self, rows: &[Row]) -> u64 {
        let values: Vec<_> = rows.iter().map(self.of).collect();
        percentile(&sorted(&values), self.percent).expect("there are some")
    }
}

/// The rows, as docs/soak.sh reads them.
struct Csv(File);

impl Csv {
    fn create(path: &Path) -> Self {
        let mut file = File::create(path).expect("target can be written to");
        let names = "second,latency_us,daemon_kb,daemon_fds,keepers_kb,keepers_fds";
        writeln!(file, "{names}").expect("target can be written to");
        Self(file)
    }

    fn write(&mut self, row: &Row) {
        let Row {
            second,
            latency,
            daemon,
            keepers,
        } = row;
        writeln!(
            self.0,
            "{second},{latency},{},{},{},{}",
            daemon.memory, daemon.descriptors, keepers.memory, keepers.descriptors
        )
        .expect("target can be written to");
    }
}
