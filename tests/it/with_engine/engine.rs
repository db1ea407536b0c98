//! The engine stops, starts, is not there yet, or fails.

use crate::testbed::proxy::Proxy;
use crate::testbed::{Recipe, Testbed, engine, until};

use super::setup::{ZWAVE, port_for, setup, stick};

/// A container that the engine starts again when it has been restarted.
fn restarting() -> Recipe {
    Recipe::new("zwave").with(&["--restart", "always"])
}

#[test]
fn a_restarted_engine_is_found_again() {
    let (_bed, container, _daemon, old) = setup(Testbed::with_config(ZWAVE), restarting());
    let new = stick(62);
    old.plug();
    container.has_port(&old);
    engine("stop");
    old.unplug();
    new.plug();
    engine("start");
    container.has_port(&new);
    // Nothing is deaf after it: the next events are handled as before.
    new.unplug();
    container.has_only(&[]);
    drop(container);
    old.plug();
    Recipe::new("zwave").start().has_port(&old);
}

#[test]
fn an_engine_that_was_restarted_while_the_daemon_was_down_is_served() {
    let (bed, container, daemon, port) = setup(Testbed::with_config(ZWAVE), restarting());
    port.plug();
    container.has_port(&port);
    daemon.stop();
    engine("stop");
    engine("start");
    let _daemon = bed.daemon();
    container.has_port(&port);
}

#[test]
fn a_daemon_that_starts_before_the_engine_is_ready_and_waits_for_it() {
    let bed = Testbed::with_config(ZWAVE);
    let container = restarting().start();
    engine("stop");
    let port = stick(63);
    port.plug();
    // READY=1 and the watchdog do not depend on the engine.
    let mut daemon = bed.daemon();
    daemon.notifies("STATUS=");
    daemon.notifies("WATCHDOG=1");
    engine("start");
    container.has_port(&port);
}

#[test]
fn a_daemon_without_an_engine_ends_at_once_when_it_is_told_to() {
    let bed = Testbed::with_config(ZWAVE);
    let address = format!("unix://{}", bed.file("nothing.sock").display());
    let daemon = bed.daemon_at(&address);
    daemon.logs(&["nothing.sock"]);
    daemon.stop();
}

#[test]
fn an_engine_that_fails_for_one_container_does_not_delay_another() {
    let ports = port_for("\"good\", \"bad\"", "/dev/zwave", "");
    let bed = Testbed::with_config(&format!("inject = \"exec\"\n{ports}"));
    let proxy = Proxy::start(&bed);
    let good = Recipe::new("good").start();
    let bad = Recipe::new("bad").start();
    proxy.fail(&format!("/containers/{}/exec", bad.inspect("{{.Id}}")));
    let daemon = bed.daemon_at(&proxy.host());
    let port = stick(63);
    port.plug();
    good.has_port(&port);
    daemon.logs(&["bad", "no space left on device"]);
    // It is tried again, and once the engine is well again it succeeds.
    until("the failed call is tried again", || proxy.failed() >= 2);
    assert_eq!(bad.own_names(), [""; 0]);
    proxy.heal();
    bad.has_port(&port);
    daemon.stop();
}

#[test]
fn an_engine_that_cannot_list_its_containers_is_asked_again() {
    let bed = Testbed::with_config(ZWAVE);
    let proxy = Proxy::start(&bed);
    proxy.fail("/containers/json");
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    let daemon = bed.daemon_at(&proxy.host());
    daemon.logs(&["no space left on device"]);
    proxy.heal();
    container.has_port(&port);
}
