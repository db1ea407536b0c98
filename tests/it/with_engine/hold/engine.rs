//! Users stop, kill, pause and restart containers whose opens are held.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::testbed::proxy::Proxy;
use crate::testbed::{engine, eventually, run, until};

use super::{
    LONG, NODE, Opened, Opening, held, holding, open, opener, said, says, setup, stick, unplugged,
    wrapped, zwave,
};

#[test]
fn a_held_program_that_handles_sigterm_is_stopped_at_once() {
    let recipe = zwave().command(&["opens", "stopped", NODE]);
    let (bed, container, _daemon, _port) = setup(holding(LONG), recipe);
    bed.holds(&[NODE]);
    let begun = Instant::now();
    container.docker(&["stop", "--time", "30"]);
    // With SIGKILL it would end after these 30 seconds, and with another status.
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    said(&container)[0].is("ENOENT");
    bed.has_no_keeper();
}

/// As `docker compose up` and those do who start a container as soon as it has its name. The engine may be
/// slow to answer whoever asks for it, or be listing all of them, and the wrapper does not wait for that.
#[test]
fn a_container_that_is_started_right_after_it_got_its_name_is_held() {
    let bed = holding(LONG);
    let proxy = Proxy::start(&bed);
    let daemon = bed.daemon_at(&proxy.host());
    let mut container = wrapped("other").command(&["opens", "once", NODE]).create();
    until("the daemon knows it", || {
        let known = fs::read_to_string(bed.file("state/containers.json"));
        known.is_ok_and(|known| known.contains("other"))
    });
    proxy.stall("/containers/json");
    daemon.signal(Signal::SIGHUP);
    until("all containers are listed again", || proxy.failed() > 0);
    container.rename("zwave");
    until("the daemon has heard its name", || {
        let status = bed.status()?;
        let name = status["ports"][0]["container"].as_str();
        (name == Some("zwave"))
            .then_some(())
            .ok_or(status.to_string())
    });
    container.docker(&["start"]);
    bed.holds(&[NODE]);
    proxy.heal();
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
    daemon.stop();
}

#[test]
fn a_held_container_can_be_killed_and_removed() {
    let (bed, container, _daemon, _port) = held(LONG);
    container.docker(&["kill"]);
    bed.has_no_keeper();
    container.docker(&["start"]);
    bed.holds(&[NODE]);
    container.docker(&["stop", "--time", "1"]);
    bed.has_no_keeper();
    container.docker(&["start"]);
    bed.holds(&[NODE]);
    container.docker(&["rm", "--force"]);
    bed.has_no_keeper();
}

#[test]
fn a_paused_container_keeps_its_holds() {
    let (bed, container, _daemon, port) = unplugged(LONG);
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    container.docker(&["pause"]);
    container.docker(&["unpause"]);
    bed.holds(&[NODE]);
    assert!(opening.so_far().is_empty());
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn a_paused_open_keeps_its_deadline() {
    let (bed, container, _daemon, _port) = unplugged("3s");
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    container.docker(&["pause"]);
    container.docker(&["unpause"]);
    let opened = opening.end();
    opened[0].is("ENOENT").after_hold_of(3);
}

#[test]
fn every_one_of_many_restarts_succeeds() {
    let (bed, container, _daemon, port) = setup(holding(LONG), opener());
    for _ in 0..100 {
        container.docker(&["restart", "--time", "0"]);
    }
    bed.holds(&[NODE]);
    assert_eq!(bed.keepers().len(), 1);
    port.plug();
    // Those before it were killed, or let go to end.
    let last = || said(&container).pop();
    let succeeds = |last: &Option<Opened>| last.as_ref().is_some_and(|last| last.result == "ok");
    let last = eventually("the last open succeeds", last, succeeds);
    last.expect("it is there").got(&port);
    container.docker(&["rm", "--force"]);
    bed.has_no_keeper();
}

#[test]
fn an_engine_that_is_restarted_starts_its_containers_held() {
    let recipe = zwave().with(&["--restart", "always"]);
    let (bed, container, _daemon, port) = setup(holding(LONG), recipe);
    engine("stop");
    bed.has_no_keeper();
    engine("start");
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    port.plug();
    opening.end()[0].got(&port);
}

/// While it starts, an engine answers no call until every such container has been started.
#[test]
fn containers_that_an_engine_starts_find_their_port_at_their_first_instruction() {
    let script = "test -c /dev/zwave && echo there || echo missing; exec sleep 1000000";
    let recipe = zwave().command(&["sh", "-c", script]);
    let recipe = recipe.with(&["--restart", "always"]);
    let bed = holding(LONG);
    stick(63).plug();
    let (bed, container, daemon, _) = setup(bed, recipe);
    let has_said = |expected: &str| {
        let what = "every start has found the port";
        eventually(what, || container.logs(), |said| said == expected);
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
    let bed = holding(LONG);
    let _setting = bed.live_restore();
    let daemon = bed.daemon();
    let container = opener().start();
    let held = bed.holds(&[NODE]);
    engine("stop");
    assert_eq!(bed.holds(&[NODE]), held);
    // It is still the engine's, although its wrapper has told of it.
    let plan = bed.ttyplugd(&["plan"]);
    assert!(!plan.status.success(), "{plan:?}");
    engine("start");
    daemon.logs_again(1, &["connected to the engine"]);
    assert_eq!(bed.holds(&[NODE]), held);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_program_that_is_executed_later_is_held_too() {
    let (bed, container, _daemon, port) = unplugged(LONG);
    assert_eq!(run("docker", &["exec", container.name(), "echo", "x"]), "x");
    let [first, second] = [(); 2].map(|()| Opening::of(&container, NODE));
    bed.holds(&[NODE; 2]);
    port.plug();
    first.end()[0].got(&port);
    second.end()[0].got(&port);
    open(&container, &["once", NODE])[0].at_once();
}
