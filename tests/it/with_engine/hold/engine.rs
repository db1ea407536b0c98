//! What users do to containers whose opens are held.

use std::time::Instant;

use crate::bed::{Bed, SOON, engine, eventually, run};

use super::{Opening, held_port, open, said, says, stick, zwave};

#[test]
fn a_held_program_that_handles_sigterm_is_stopped_at_once() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["opens", "stopped", "/dev/zwave"]).start();
    bed.holds(&["/dev/zwave"]);
    let begun = Instant::now();
    container.docker(&["stop", "--time", "30"]);
    // dockerd's own part of it takes some hundred milliseconds.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    assert_eq!(said(&container)[0].result, "ENOENT");
    bed.has_no_keeper();
}

#[test]
fn a_held_container_can_be_killed_and_removed() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    bed.holds(&["/dev/zwave"]);
    container.docker(&["kill"]);
    bed.has_no_keeper();
    container.docker(&["start"]);
    bed.holds(&["/dev/zwave"]);
    container.docker(&["stop", "--time", "1"]);
    bed.has_no_keeper();
    container.docker(&["start"]);
    bed.holds(&["/dev/zwave"]);
    container.docker(&["rm", "--force"]);
    bed.has_no_keeper();
}

#[test]
fn a_paused_container_keeps_its_holds() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    container.docker(&["pause"]);
    container.docker(&["unpause"]);
    bed.holds(&["/dev/zwave"]);
    assert!(opening.so_far().is_empty());
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn a_paused_open_keeps_its_deadline() {
    let bed = Bed::with_runtime(&held_port("3s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    container.docker(&["pause"]);
    container.docker(&["unpause"]);
    let opened = opening.end();
    assert_eq!(opened[0].result, "ENOENT", "{opened:?}");
    opened[0].waited(2900, 4500);
}

#[test]
fn every_one_of_many_restarts_succeeds() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    for _ in 0..100 {
        container.docker(&["restart", "--time", "0"]);
    }
    bed.holds(&["/dev/zwave"]);
    assert_eq!(bed.keepers().len(), 1);
    let port = stick(63);
    port.plug();
    // Those before it were killed, or let go to end.
    eventually(SOON, "the last open succeeds", || {
        let said = said(&container);
        let last = said.last().filter(|last| last.result == "ok");
        last.map(|last| last.got(&port))
            .ok_or_else(|| format!("{said:?}"))
    });
    container.docker(&["rm", "--force"]);
    bed.has_no_keeper();
}

#[test]
fn an_engine_that_is_restarted_starts_its_containers_held() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().with(&["--restart", "always"]).start();
    engine("stop");
    bed.has_no_keeper();
    engine("start");
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
}

/// While it starts, an engine answers no call until every such container has been started.
#[test]
fn containers_that_an_engine_starts_find_their_port_at_their_first_instruction() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let script = "test -c /dev/zwave && echo there || echo missing; exec sleep 1000000";
    let container = zwave()
        .command(&["sh", "-c", script])
        .with(&["--restart", "always"])
        .start();
    let has_said = |expected: &str| {
        eventually(SOON, "every start has found the port", || {
            let said = run("docker", &["logs", container.name()]);
            (said.trim() == expected).then_some(()).ok_or(said)
        });
    };
    has_said("there");
    engine("stop");
    engine("start");
    has_said("there\nthere");
    // As at boot: this daemon has never heard of the engine.
    engine("stop");
    daemon.stop();
    let _daemon = bed.daemon();
    engine("start");
    has_said("there\nthere\nthere");
}

#[test]
fn opens_stay_held_while_an_engine_with_live_restore_is_restarted() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _setting = bed.live_restore();
    let daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    let held = bed.holds(&["/dev/zwave"]);
    engine("stop");
    assert_eq!(bed.holds(&["/dev/zwave"]), held);
    engine("start");
    daemon.logs_again(1, &["connected to the engine"]);
    assert_eq!(bed.holds(&["/dev/zwave"]), held);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_program_that_is_executed_later_is_held_too() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    assert_eq!(run("docker", &["exec", container.name(), "echo", "x"]), "x");
    let [first, second] = [(); 2].map(|()| Opening::start(&container, &["once", "/dev/zwave"]));
    bed.holds(&["/dev/zwave"; 2]);
    let port = stick(63);
    port.plug();
    first.end()[0].got(&port);
    second.end()[0].got(&port);
    assert!(open(&container, &["once", "/dev/zwave"])[0].was_quick());
}
