//! What a container cannot have its keeper do: hold more than so many opens, take more memory, log
//! without end, or keep the daemon from being heard.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::setup::{ENABLE, Setup};
use super::status::has_held;
use super::{LONG, NODE, Opening, holding_many, setup, unplugged, zwave};
use crate::testbed::{Container, Testbed, eventually, until};

/// How many opens of one container are held.
const MOST_HELD: usize = 1024;

/// In kB.
const MOST_MEMORY: u64 = 4096;

/// A path of so many bytes that could be one of a USB serial port.
fn link_of(length: usize) -> String {
    format!("{:x<length$}", "/dev/serial/by-id/")
}

/// The container "zwave" waits for its port, and for any other.
fn any_port() -> Setup {
    setup(holding_many("forever"), zwave().label(ENABLE))
}

fn threads(setup: &Setup, path: &str, number: usize) -> Opening {
    Opening::start(&setup.1, &["threads", path, &number.to_string()])
}

/// Threads that are interrupted all the time, and then open something else.
fn newcomers(setup: &Setup) -> Opening {
    let directory = "/dev/serial/by-id";
    Opening::start(&setup.1, &["newcomers", directory, "60"])
}

#[track_caller]
fn holds_at_least(bed: &Testbed, number: usize) {
    until(&format!("{number} opens are held"), || {
        let held = bed.keeper().held()?.len();
        (held >= number).then_some(()).ok_or(format!("{held} are"))
    });
}

#[test]
fn so_many_opens_are_held_and_the_next_goes_on_which_is_said_once() {
    let setup = setup(holding_many(LONG), zwave());
    let opening = threads(&setup, NODE, MOST_HELD + 100);
    for opened in opening.says(100) {
        opened.is("ENOENT");
    }
    let (bed, container, _daemon, port) = &setup;
    holds_at_least(bed, MOST_HELD);
    super::open(container, &["once", NODE])[0]
        .is("ENOENT")
        .at_once();
    let log = bed.runtime_log();
    let said = log.matches("1024 opens are held").count();
    assert_eq!(said, 1, "{log}");
    port.plug();
    let opened = opening.end();
    let got = opened.iter().filter(|opened| opened.result == "ok");
    for opened in got.clone() {
        opened.got(port);
    }
    assert_eq!(got.count(), MOST_HELD);
    // There is room again.
    port.unplug();
    container.lacks_port(port);
    let opening = Opening::of(container, NODE);
    bed.holds(&[NODE]);
    port.plug();
    opening.end()[0].got(port);
}

#[test]
fn opens_of_killed_threads_make_room() {
    // The shell keeps their filter, so nothing tells the keeper of their end.
    let script = format!("opens threads {NODE} {MOST_HELD}; exec sleep 1000000");
    let recipe = zwave().command(&["sh", "-c", &script]);
    let (bed, container, _daemon, _port) = setup(holding_many(LONG), recipe);
    holds_at_least(&bed, MOST_HELD);
    let (thread, _) = bed.keeper().held().expect("it answers")[0];
    kill(Pid::from_raw(thread), Signal::SIGKILL).expect("it waits");
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    drop(opening);
}

#[test]
fn a_name_of_more_than_255_bytes_is_not_held() {
    let (bed, container, _daemon, _port) = any_port();
    let (longest, longer) = (link_of(255), link_of(256));
    super::open(&container, &["once", &longer])[0].at_once();
    let opening = Opening::of(&container, &longest);
    bed.holds(&[&longest]);
    drop(opening);
}

#[test]
fn a_keeper_takes_little_memory_whatever_is_opened() {
    let setup = any_port();
    let keeper = setup.0.keeper();
    let before = keeper.memory("RssAnon");
    let openings = [4000, 255, 100].map(|length| threads(&setup, &link_of(length), 1500));
    holds_at_least(&setup.0, MOST_HELD);
    let newcomers = newcomers(&setup);
    let most = most_memory(&setup.0, Duration::from_secs(5));
    drop((openings, newcomers));
    assert!(most <= MOST_MEMORY, "from {before} to {most} kB");
}

/// The most that the keeper takes of its own while it is watched and asked.
fn most_memory(bed: &Testbed, time: Duration) -> u64 {
    let (keeper, begun) = (bed.keeper(), Instant::now());
    let mut most = 0;
    while begun.elapsed() < time {
        let _ = keeper.held();
        most = most.max(keeper.memory("RssAnon"));
    }
    most
}

#[test]
fn opens_that_wait_cost_the_keeper_next_to_nothing() {
    let setup = setup(holding_many(LONG), zwave());
    let opening = threads(&setup, NODE, MOST_HELD);
    holds_at_least(&setup.0, MOST_HELD);
    let keeper = setup.0.keeper();
    let before = keeper.processor_time();
    std::thread::sleep(Duration::from_secs(5));
    let cost = keeper.processor_time() - before;
    drop(opening);
    assert!(cost < Duration::from_millis(100), "{cost:?}");
}

/// Of all that is opened at once, no message to the daemon could hold a list.
#[test]
fn a_plug_is_told_in_the_middle_of_a_flood() {
    let setup = any_port();
    let (bed, container, _daemon, port) = &setup;
    let waiting = Opening::of(container, NODE);
    bed.holds(&[NODE]);
    let flood = [
        threads(&setup, &link_of(4000), 300),
        threads(&setup, &link_of(250), 900),
        newcomers(&setup),
    ];
    has_threads(container, 950);
    port.plug();
    let plugged = Instant::now();
    waiting.end()[0].got(port);
    let took = plugged.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(flood);
}

/// Waits until so many threads run in a container.
fn has_threads(container: &Container, number: usize) {
    until("so many threads run", || {
        let count = container.sh("ls -d /proc/[0-9]*/task/* | wc -l");
        let enough = count.parse().is_ok_and(|count: usize| count >= number);
        enough.then_some(()).ok_or(count)
    });
}

/// A daemon that is stopped hears of a lot later, and is told what is then.
#[test]
fn a_daemon_that_does_not_read_is_told_later_what_is_held_then() {
    let setup = any_port();
    let (bed, container, daemon, port) = &setup;
    daemon.signal(Signal::SIGSTOP);
    let opening = threads(&setup, NODE, 900);
    holds_at_least(bed, 900);
    let newcomers = newcomers(&setup);
    std::thread::sleep(Duration::from_secs(2));
    // None of it is in memory twice, and the connection stays.
    assert!(bed.keeper().memory("RssAnon") <= MOST_MEMORY);
    drop(newcomers);
    daemon.signal(Signal::SIGCONT);
    has_held(bed, 900);
    port.plug();
    for opened in opening.end() {
        opened.got(port);
    }
    has_held(bed, 0);
    container.has_port(port);
}

#[test]
fn an_open_that_signals_restart_is_logged_once() {
    let (bed, container, _daemon, _port) = unplugged("3s");
    let opened = Opening::start(&container, &["restarted", NODE]).end();
    assert!(opened[1].milliseconds > 20, "too few signals: {opened:?}");
    let log = bed.runtime_log();
    let count = |words: &str| log.matches(words).count();
    let counts = (count("open held"), count("open released"));
    assert_eq!(counts, (1, 1), "{log}");
}

#[test]
fn opens_without_end_are_not_logged_without_end() {
    let setup = any_port();
    let newcomers = newcomers(&setup);
    std::thread::sleep(Duration::from_secs(3));
    drop(newcomers);
    let (bed, container, ..) = &setup;
    container.docker(&["restart", "--time", "0"]);
    let log = eventually(
        "what was suppressed is said",
        || bed.runtime_log(),
        |log| log.contains("log lines suppressed"),
    );
    let lines = log.lines().count();
    assert!(lines < 100, "{lines} lines");
}

#[test]
fn a_keeper_is_no_safer_from_the_oom_killer_and_counts_as_the_shim() {
    let (bed, container, _daemon, _port) = unplugged(LONG);
    let keeper = bed.keeper().pid();
    let of = |pid: i32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let adjusted = of(keeper, "oom_score_adj").expect("it runs");
    assert_eq!(adjusted.trim(), "0");

    let container: i32 = container
        .inspect("{{.State.Pid}}")
        .parse()
        .expect("it runs");
    let status = of(container, "status").expect("it runs");
    let shim = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let shim = shim
        .expect("it has a parent")
        .trim()
        .parse()
        .expect("it is a number");
    let groups = |pid| of(pid, "cgroup").expect("it runs");
    assert_eq!(groups(keeper), groups(shim));
    assert_ne!(groups(keeper), groups(container));
}
