//! The engine stops, starts, is not there yet, or fails.

use std::time::Duration;

use crate::bed::proxy::{Proxy, socket_of};
use crate::bed::{Bed, Port, Recipe, SOON, docker_host, engine, eventually};

use super::{ZWAVE, port_for};

/// Reconnecting is tried again after at most this time while an engine is away for seconds only.
const RECONNECT: Duration = Duration::from_secs(60);

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

#[test]
fn a_restarted_engine_is_found_again() {
    let bed = Bed::with_config(ZWAVE);
    let (old, new) = (stick(62), stick(63));
    old.plug();
    let container = Recipe::new("zwave").with(&["--restart", "always"]).start();
    let daemon = bed.daemon();
    container.gets("/dev/zwave", &old.entry());
    engine("stop");
    old.unplug();
    new.plug();
    engine("start");
    eventually(
        RECONNECT,
        "the restarted container has its new node",
        || {
            let found = container.at("/dev/zwave");
            (found == new.entry())
                .then_some(())
                .ok_or_else(|| format!("{found:?}\n{}", daemon.log()))
        },
    );
    // Nothing is deaf after it: the next events are handled as before.
    new.unplug();
    container.has_exactly(&[]);
    drop(container);
    old.plug();
    Recipe::new("zwave")
        .start()
        .gets("/dev/zwave", &old.entry());
}

#[test]
fn an_engine_that_was_restarted_while_the_daemon_was_down_is_served() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").with(&["--restart", "always"]).start();
    let daemon = bed.daemon();
    container.gets("/dev/zwave", &port.entry());
    daemon.stop();
    engine("stop");
    engine("start");
    let _daemon = bed.daemon();
    container.gets("/dev/zwave", &port.entry());
}

#[test]
fn a_daemon_that_starts_before_the_engine_is_ready_and_waits_for_it() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").with(&["--restart", "always"]).start();
    engine("stop");
    let port = stick(63);
    port.plug();
    // READY=1 and the watchdog do not depend on the engine.
    let mut daemon = bed.daemon();
    daemon.notifies(SOON, "STATUS=");
    daemon.notifies(SOON, "WATCHDOG=1");
    engine("start");
    eventually(RECONNECT, "the container has its node", || {
        let found = container.at("/dev/zwave");
        (found == port.entry())
            .then_some(())
            .ok_or_else(|| format!("{found:?}\n{}", daemon.log()))
    });
}

#[test]
fn a_daemon_without_an_engine_ends_at_once_when_it_is_told_to() {
    let bed = Bed::with_config(ZWAVE);
    let address = format!("unix://{}", bed.file("nothing.sock").display());
    let daemon = bed.daemon_at(&address);
    daemon.logs(&["nothing.sock"]);
    daemon.stop();
}

#[test]
fn an_engine_that_fails_for_one_container_does_not_delay_another() {
    let port = port_for("\"good\", \"bad\"", "/dev/zwave", "");
    let bed = Bed::with_config(&format!("inject = \"exec\"\n{port}"));
    let proxy = Proxy::start(bed.file("proxy.sock"), socket_of(&docker_host()).into());
    let good = Recipe::new("good").start();
    let bad = Recipe::new("bad").start();
    proxy.fail(&format!("/containers/{}/exec", bad.inspect("{{.Id}}")));
    let daemon = bed.daemon_at(&proxy.host());
    let port = stick(63);
    port.plug();
    good.gets("/dev/zwave", &port.entry());
    daemon.logs(&["bad", "no space left on device"]);
    // It is tried again, and once the engine is well again it succeeds.
    eventually(SOON, "the failed call is tried again", || {
        let failed = proxy.failed();
        (failed >= 2)
            .then_some(())
            .ok_or_else(|| format!("{failed} calls failed"))
    });
    assert_eq!(bad.own_names(), [""; 0]);
    proxy.heal();
    bad.gets("/dev/zwave", &port.entry());
    daemon.stop();
}

#[test]
fn an_engine_that_cannot_list_its_containers_is_asked_again() {
    let bed = Bed::with_config(ZWAVE);
    let proxy = Proxy::start(bed.file("proxy.sock"), socket_of(&docker_host()).into());
    proxy.fail("/containers/json");
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    let daemon = bed.daemon_at(&proxy.host());
    daemon.logs(&["no space left on device"]);
    proxy.heal();
    container.gets("/dev/zwave", &port.entry());
}
