//! Containers start, stop, get other names and are made anew.

use crate::testbed::{Recipe, Testbed};

use super::setup::{METER, ZWAVE, meter, plugged, port_for, setup, stick, unplugged_with};

#[test]
fn a_container_that_is_started_later_gets_its_port() {
    let bed = Testbed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave").start();
    container.has_port(&port);
}

#[test]
fn a_restarted_container_gets_its_port_again() {
    let (_bed, container, _daemon, port) = plugged();
    for _ in 0..3 {
        container.docker(&["restart", "-t", "0"]);
        container.has_port(&port);
    }
    container.docker(&["kill"]);
    container.docker(&["start"]);
    container.has_port(&port);
}

#[test]
fn a_recreated_container_gets_its_port_again() {
    let bed = Testbed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    for _ in 0..3 {
        let container = Recipe::new("zwave").start();
        container.has_port(&port);
    }
}

#[test]
fn a_container_that_was_stopped_during_the_unplug_has_no_port_when_it_starts() {
    let (_bed, container, _daemon, zwave) = unplugged_with(&[ZWAVE, METER].concat());
    let meter = meter(62);
    zwave.plug();
    meter.plug();
    container.has_port(&zwave);
    container.docker(&["stop"]);
    zwave.unplug();
    container.docker(&["start"]);
    container.has_only(&[&meter]);
}

#[test]
fn a_new_name_brings_the_port_and_takes_it_away() {
    let (_bed, mut container, _daemon, port) =
        setup(Testbed::with_config(ZWAVE), Recipe::new("other"));
    port.plug();
    container.rename("zwave");
    container.has_port(&port);
    container.rename("other");
    container.lacks_port(&port);
}

#[test]
fn a_paused_container_gets_its_port_when_it_goes_on() {
    let ports = port_for("\"zwave\", \"awake\"", "/dev/zwave", "");
    let (_bed, container, _daemon, port) = unplugged_with(&format!("inject = \"exec\"\n{ports}"));
    let awake = Recipe::new("awake").start();
    container.docker(&["pause"]);
    port.plug();
    awake.has_port(&port);
    container.docker(&["unpause"]);
    container.has_port(&port);

    container.docker(&["pause"]);
    port.unplug();
    awake.lacks_port(&port);
    container.docker(&["unpause"]);
    container.lacks_port(&port);
}

#[test]
fn one_port_serves_every_container_that_is_named() {
    let containers = r#""app-*", "home/zwave", { label = "tier=serial" }"#;
    let bed = Testbed::with_config(&port_for(containers, "/dev/zwave", ""));
    let port = stick(63);
    let _daemon = bed.daemon();
    let compose = |name: &str, project: &str, service: &str| {
        Recipe::new(name)
            .label(&format!("com.docker.compose.project={project}"))
            .label(&format!("com.docker.compose.service={service}"))
            .start()
    };
    let served = [
        Recipe::new("app-1").start(),
        Recipe::new("app-2").start(),
        compose("home-zwave-1", "home", "zwave"),
        Recipe::new("labelled").label("tier=serial").start(),
    ];
    let not_served = [
        Recipe::new("my-app-1").start(),
        compose("away-zwave-1", "away", "zwave"),
        compose("home-web-1", "home", "web"),
        Recipe::new("other-tier").label("tier=web").start(),
    ];
    port.plug();
    for container in &served {
        container.has_port(&port);
    }
    for container in &not_served {
        assert_eq!(container.own_names(), [""; 0], "{}", container.name());
    }
    port.unplug();
    for container in &served {
        container.lacks_port(&port);
    }
}

#[test]
fn a_read_only_container_gets_its_port() {
    // Docker leaves /dev writable in it.
    let recipe = Recipe::new("zwave").with(&["--read-only", "--user", "app"]);
    let (_bed, container, _daemon, port) = setup(Testbed::with_config(ZWAVE), recipe);
    port.plug();
    container.has_port(&port);
}
