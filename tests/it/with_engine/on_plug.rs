//! What is done in a container when a port has come back to it: nothing, a restart or a signal.

use std::process::Command;

use crate::testbed::{Container, Port, Process, Recipe, Testbed, eventually, settle};

use super::setup::{METER, Setup, ZWAVE, meter, port_for, setup};

/// Its line in the log.
const RESTARTED: &str = "container restarted because its port came back";

/// The port "zwave" with this action.
fn with_action(action: &str) -> String {
    port_for(
        "\"zwave\"",
        "/dev/zwave",
        &format!("on-plug = \"{action}\""),
    )
}

/// The container "zwave" has its port.
fn plugged(action: &str, recipe: Recipe) -> Setup {
    let setup = setup(Testbed::with_config(&with_action(action)), recipe);
    setup.3.plug();
    setup.1.has_port(&setup.3);
    setup
}

fn replug(container: &Container, port: &Port) {
    port.unplug();
    container.lacks_port(port);
    port.plug();
}

fn start_of(container: &Container) -> String {
    container.inspect("{{.State.StartedAt}}")
}

/// Waits until the container was started again, and has its port.
fn is_restarted(container: &Container, before: &str, port: &Port) {
    eventually(
        "it was started again",
        || start_of(container),
        |now| now != before,
    );
    eventually(
        "it runs",
        || container.inspect("{{.State.Running}}"),
        |is| is == "true",
    );
    container.has_port(port);
}

#[test]
fn a_container_is_restarted_when_its_port_comes_back_and_not_before() {
    let (_bed, container, daemon, port) = plugged("restart", Recipe::new("zwave"));
    let first = start_of(&container);
    // Neither by the first plug nor by another event of the same device.
    port.plug();
    daemon.reload();
    assert_eq!(
        (start_of(&container), daemon.count(&[RESTARTED])),
        (first.clone(), 0)
    );
    replug(&container, &port);
    is_restarted(&container, &first, &port);
    assert_eq!(daemon.count(&[RESTARTED]), 1);
    // No more than once a minute.
    let second = start_of(&container);
    replug(&container, &port);
    container.has_port(&port);
    port.plug();
    daemon.reload();
    assert_eq!(
        (start_of(&container), daemon.count(&[RESTARTED])),
        (second, 1)
    );
}

#[test]
fn a_replug_that_nobody_saw_in_between_counts_too() {
    let (_bed, container, daemon, port) = plugged("restart", Recipe::new("zwave"));
    let first = start_of(&container);
    port.uevent("remove");
    port.announce("add");
    settle();
    is_restarted(&container, &first, &port);
    assert_eq!(daemon.count(&[RESTARTED]), 1);
}

#[test]
fn ports_that_come_back_together_restart_a_container_once() {
    let action = "on-plug = \"restart\"\n";
    let bed = Testbed::with_config(&format!("{ZWAVE}{action}{METER}{action}"));
    let (_bed, container, daemon, first) = setup(bed, Recipe::new("zwave"));
    let second = meter(62);
    for port in [&first, &second] {
        port.plug();
        container.has_port(port);
    }
    let before = start_of(&container);
    for port in [&first, &second] {
        port.unplug();
        container.lacks_port(port);
    }
    for port in [&first, &second] {
        port.announce("add");
    }
    settle();
    is_restarted(&container, &before, &first);
    container.has_port(&second);
    daemon.reload();
    assert_eq!(daemon.count(&[RESTARTED]), 1, "{}", daemon.log());
}

#[test]
fn a_label_has_the_first_process_get_a_signal_once() {
    let script = "trap 'echo got-it' HUP; echo up; while :; do sleep 0.1; done";
    let recipe = Recipe::new("zwave").command(&["/bin/sh", "-c", script]);
    let recipe = recipe
        .label("ttyplugd.port.own.match=serial=Z1")
        .label("ttyplugd.port.own.node=/dev/zwave")
        .label("ttyplugd.port.own.on-plug=signal HUP");
    let (_bed, container, daemon, port) = setup(Testbed::with_config(""), recipe);
    let start = start_of(&container);
    port.plug();
    container.has_port(&port);
    assert_eq!(container.logs(), "up");
    // A paused one gets it when it goes on.
    port.unplug();
    container.docker(&["pause"]);
    port.plug();
    daemon.logs(&[
        "SIGHUP sent because its port came back",
        "action=\"signal\"",
    ]);
    assert_eq!(container.logs(), "up");
    container.docker(&["unpause"]);
    eventually(
        "it got the signal",
        || container.logs(),
        |logs| logs == "up\ngot-it",
    );
    daemon.reload();
    container.has_port(&port);
    assert_eq!(
        (container.logs(), start_of(&container)),
        ("up\ngot-it".into(), start)
    );
}

#[test]
fn a_container_that_somebody_has_stopped_is_not_restarted() {
    let script = "trap 'echo stays' TERM; while :; do sleep 0.1; done";
    let recipe = Recipe::new("zwave").command(&["/bin/sh", "-c", script]);
    let (_bed, container, daemon, port) = plugged("restart", recipe);
    // It ends after 5 s, and its port comes back meanwhile.
    port.unplug();
    container.lacks_port(&port);
    let mut stop = Process::start(Command::new("docker").args(["stop", "-t", "5", "zwave"]));
    eventually(
        "it is told to stop",
        || container.logs(),
        |logs| logs == "stays",
    );
    port.plug();
    let runs = || container.inspect("{{.State.Running}}");
    assert_eq!(runs(), "true");
    assert!(stop.end().success());
    port.unplug();
    port.plug();
    daemon.reload();
    assert_eq!((runs(), daemon.count(&[RESTARTED])), ("false".into(), 0));
}

#[test]
fn a_paused_container_is_restarted_when_it_goes_on() {
    let (_bed, container, daemon, port) = plugged("restart", Recipe::new("zwave"));
    let before = start_of(&container);
    container.docker(&["pause"]);
    replug(&container, &port);
    container.has_port(&port);
    daemon.reload();
    assert_eq!(
        (start_of(&container), daemon.count(&[RESTARTED])),
        (before.clone(), 0)
    );
    container.docker(&["unpause"]);
    is_restarted(&container, &before, &port);
}

#[test]
fn a_daemon_that_starts_later_knows_which_ports_have_come_back() {
    let (bed, container, daemon, port) = plugged("restart", Recipe::new("zwave"));
    let before = start_of(&container);
    daemon.stop();
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    daemon.stop();
    assert_eq!(start_of(&container), before);
    port.unplug();
    port.plug();
    let daemon = bed.daemon();
    is_restarted(&container, &before, &port);
    assert_eq!(daemon.count(&[RESTARTED]), 1);
    // And that it is not a minute ago.
    daemon.stop();
    let after = start_of(&container);
    port.unplug();
    port.plug();
    let daemon = bed.daemon();
    container.has_port(&port);
    daemon.reload();
    assert_eq!(
        (start_of(&container), daemon.count(&[RESTARTED])),
        (after, 0)
    );
}
