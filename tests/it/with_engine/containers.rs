//! Containers start, stop, get other names and are made anew.

use crate::bed::{Bed, Entry, Port, Recipe};

use super::{ZWAVE, port_for};

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

#[test]
fn a_container_that_is_started_later_gets_its_port() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave").start();
    container.gets("/dev/zwave", &port.entry());
}

#[test]
fn a_restarted_container_gets_its_port_again() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave").start();
    for _ in 0..3 {
        container.gets("/dev/zwave", &port.entry());
        container.docker(&["restart", "-t", "0"]);
    }
    container.gets("/dev/zwave", &port.entry());
    container.docker(&["kill"]);
    container.docker(&["start"]);
    container.gets("/dev/zwave", &port.entry());
}

#[test]
fn a_recreated_container_gets_its_port_again() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    for _ in 0..3 {
        let container = Recipe::new("zwave").start();
        container.gets("/dev/zwave", &port.entry());
    }
}

#[test]
fn a_container_that_was_stopped_during_the_unplug_has_no_port_when_it_starts() {
    let bed = Bed::with_config(ZWAVE);
    let (zwave, meter) = (stick(63), Port::new(62).with("ID_SERIAL_SHORT", "M1"));
    let more = ZWAVE
        .replace("zwave\"\nmatch", "meter\"\nmatch")
        .replace("Z1", "M1");
    bed.configure(&format!(
        "{ZWAVE}{}",
        more.replace("/dev/zwave", "/dev/meter")
    ));
    zwave.plug();
    meter.plug();
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave").start();
    container.gets("/dev/zwave", &zwave.entry());
    container.docker(&["stop"]);
    zwave.unplug();
    container.docker(&["start"]);
    container.gets("/dev/meter", &meter.entry());
    assert_eq!(container.at("/dev/zwave"), Entry::Absent);
}

#[test]
fn a_new_name_brings_the_port_and_takes_it_away() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    let mut container = Recipe::new("other").start();
    container.rename("zwave");
    container.gets("/dev/zwave", &port.entry());
    container.rename("other");
    container.loses("/dev/zwave");
    container.loses("/dev/serial/by-id/usb-Test_T63-if00");
}

#[test]
fn a_paused_container_gets_its_port_when_it_goes_on() {
    let bed = Bed::with_config(&format!(
        "inject = \"exec\"\n{}",
        port_for("\"zwave\", \"awake\"", "/dev/zwave", "")
    ));
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave").start();
    let awake = Recipe::new("awake").start();
    let port = stick(63);
    container.docker(&["pause"]);
    port.plug();
    awake.gets("/dev/zwave", &port.entry());
    container.docker(&["unpause"]);
    container.gets("/dev/zwave", &port.entry());

    container.docker(&["pause"]);
    port.unplug();
    awake.loses("/dev/zwave");
    container.docker(&["unpause"]);
    container.loses("/dev/zwave");
}

#[test]
fn one_port_serves_every_container_that_is_named() {
    let containers = r#""app-*", "home/zwave", { label = "tier=serial" }"#;
    let bed = Bed::with_config(&port_for(containers, "/dev/zwave", ""));
    let port = stick(63);
    let _daemon = bed.daemon();
    let compose = |project, service| {
        [
            format!("com.docker.compose.project={project}"),
            format!("com.docker.compose.service={service}"),
        ]
    };
    let with_labels = |name: &str, labels: [String; 2]| {
        labels
            .iter()
            .fold(Recipe::new(name), |recipe, label| recipe.label(label))
            .start()
    };
    let served = [
        Recipe::new("app-1").start(),
        Recipe::new("app-2").start(),
        with_labels("home-zwave-1", compose("home", "zwave")),
        Recipe::new("labelled").label("tier=serial").start(),
    ];
    let not_served = [
        Recipe::new("my-app-1").start(),
        with_labels("away-zwave-1", compose("away", "zwave")),
        with_labels("home-web-1", compose("home", "web")),
        Recipe::new("other-tier").label("tier=web").start(),
    ];
    port.plug();
    for container in &served {
        container.gets("/dev/zwave", &port.entry());
    }
    for container in &not_served {
        assert_eq!(container.own_names(), [""; 0], "{}", container.name());
    }
    port.unplug();
    for container in &served {
        container.loses("/dev/zwave");
    }
}

#[test]
fn a_read_only_container_gets_its_port() {
    let bed = Bed::with_config(ZWAVE);
    let _daemon = bed.daemon();
    // Docker leaves /dev writable in it.
    let container = Recipe::new("zwave")
        .with(&["--read-only", "--user", "app"])
        .start();
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
}
