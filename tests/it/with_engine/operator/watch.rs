//! `ttyplugd status --watch`, and what it costs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::testbed::{Recipe, Testbed, eventually, run, until};

use super::super::setup::{ZWAVE, stick, unplugged_with};
use super::{Running, connect, get, is, wakes};

const WATCH: &str = "GET /v1/status?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_watcher_is_told_of_every_change_and_sleeps_in_between() {
    let bed = Testbed::with_config(ZWAVE);
    let mut daemon = bed.daemon();
    let _container = Recipe::new("zwave").start();
    let watch = Running::start(&bed, &["status", "--watch", "--json"]);
    let table = Running::start(&bed, &["status", "--watch"]);
    let waits = |line: &str| is(line, "zwave", "waiting") && line.contains("\"stopped\":false");
    let mut seen = watch.says(0, "zwave waits in a container that runs", waits);
    // Longer than a connection may last that does not watch. The daemon says every second that it
    // lives.
    let (begun, uevents_before) = (Instant::now(), uevents());
    let before = (watch.wakes(), wakes(daemon.pid()));
    while begun.elapsed() < Duration::from_secs(12) {
        daemon.notifies("WATCHDOG=1");
    }
    let (watcher, daemon_wakes) = (watch.wakes() - before.0, wakes(daemon.pid()) - before.1);
    assert!(watcher < 3, "the watcher was woken {watcher} times");
    let most = 60 + 3 * (uevents() - uevents_before);
    assert!(
        daemon_wakes < most,
        "the daemon was woken {daemon_wakes} times, of at most {most}"
    );
    assert_eq!(watch.0.lines().len(), seen, "{}", watch.0.text());

    let port = stick(63);
    for state in ["ready", "waiting", "ready"] {
        match state {
            "ready" => drop(port.plug()),
            _ => port.unplug(),
        }
        seen = watch.says(seen, state, |line| is(line, "zwave", state));
        table.says(0, state, |line| {
            line.contains("zwave") && line.contains(state)
        });
    }
}

/// All uevents since the boot (kernel/ksysfs.c). Each that somebody else has caused wakes the daemon
/// too.
fn uevents() -> u64 {
    let count = fs::read_to_string("/sys/kernel/uevent_seqnum").expect("the kernel counts them");
    count.trim().parse().expect("it is a number")
}

#[test]
fn a_watcher_outlives_the_daemon_and_ends_with_its_reader() {
    let bed = Testbed::with_config(ZWAVE);
    let mut none = Running::start(&bed, &["status", "--watch"]);
    assert_eq!(none.end().code(), Some(1), "{}", none.0.text());

    let daemon = bed.daemon();
    let _container = Recipe::new("zwave").start();
    let watch = Running::start(&bed, &["status", "--watch", "--json"]);
    let waits = |line: &str| is(line, "zwave", "waiting");
    let mut seen = watch.says(0, "zwave waits", waits);
    daemon.end(Signal::SIGKILL);
    seen = watch.says(seen, "it says so", |line| line.contains("waiting for it"));
    let _daemon = bed.daemon();
    watch.says(seen, "zwave waits", waits);

    let mut command = bed.command(&["status", "--watch", "--json"]);
    let mut watch = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut reader = BufReader::new(watch.stdout.take().expect("it is piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("it prints");
    drop(reader);
    until("it ends", || watch.try_wait().expect("it is a child"));
}

/// So many ports that a few documents fill every buffer between the daemon and a reader.
fn many_ports() -> String {
    let port = |number| {
        format!(
            "[[port]]\nname = \"absent{number}\"\nmatch = {{ serial = \"A{number}\" }}\n\
             containers = [\"zwave\"]\n"
        )
    };
    (0..400).map(port).collect()
}

#[test]
fn those_who_watch_and_do_not_read_disturb_nobody() {
    let (bed, container, daemon, port) = unplugged_with(&[ZWAVE, &many_ports()].concat());
    let deaf: Vec<_> = (0..32).map(|_| connect(&bed, WATCH)).collect();
    // There are no more places, and whoever comes is told so.
    let answer = || get(&bed, "/v1/status?watch=1");
    let refused = |(head, _): &(String, String)| head.contains(" 503 ");
    eventually("the places are taken", answer, refused);
    let refused = bed.ttyplugd(&["status", "--watch"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let mut slowest = Duration::ZERO;
    let memory = || run("ps", &["-o", "rss=", "-p", &daemon.pid().to_string()]);
    let memory = || memory().parse::<u64>().expect("it is a number");
    let mut after_the_first = 0;
    for round in 0..12 {
        let begun = Instant::now();
        port.plug();
        container.has_port(&port);
        slowest = slowest.max(begun.elapsed());
        port.unplug();
        container.lacks_port(&port);
        if round == 5 {
            after_the_first = memory();
        }
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let grown = memory().saturating_sub(after_the_first);
    assert!(grown < 1024, "the daemon has grown by {grown} kB");

    // A watcher that goes away makes room.
    drop(deaf);
    let mut stream = connect(&bed, WATCH);
    let mut first = [0; 12];
    stream.read_exact(&mut first).expect("it answers");
    until("there is a place again", || {
        let mut answer = [0; 12];
        let mut stream = connect(&bed, WATCH);
        stream.read_exact(&mut answer).expect("it answers");
        answer == *b"HTTP/1.1 200"
    });
}

#[test]
fn connections_are_bounded() {
    let bed = Testbed::with_config(ZWAVE);
    let daemon = bed.daemon();
    let open_files = || {
        let files = fs::read_dir(format!("/proc/{}/fd", daemon.pid()));
        files.expect("it runs").count()
    };
    // Some of these belong to its start alone.
    let before = open_files();
    let idle: Vec<_> = (0..300).map(|_| connect(&bed, "")).collect();
    let taken = || open_files().saturating_sub(before);
    let most = eventually("as many as may be are taken", taken, |&open| open >= 48);
    assert!(most < 80, "{most}");
    // The daemon goes on to do its work.
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    container.has_port(&port);
    assert!(taken() < 90);
    drop(idle);
    let answer = bed.ttyplugd(&["status", "--json"]);
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
}
