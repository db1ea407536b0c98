//! The names by which an early open of a port is known.

use crate::testbed::{Port, Testbed, has_words};

use super::super::setup::{ENABLE, RULE, stick};
use super::{Opening, open, setup, wrapped, zwave};

/// The stick "Z1" for the container "zwave", under the host's name for it.
fn port_without_node(of_match: &str) -> String {
    format!("[[port]]\nname = \"zwave\"\nmatch = {{ {of_match} }}\ncontainers = [\"zwave\"]\n")
}

fn stick_at_its_own(number: u64) -> Port {
    let stick = stick(number);
    let node = stick.host_node();
    stick.at(&node)
}

#[test]
fn a_port_under_the_hosts_name_is_held_by_each_that_it_has_had() {
    let bed = Testbed::with_runtime(&port_without_node("serial = \"Z1\""));
    let (bed, container, daemon, _) = setup(bed, zwave());
    let (first, second) = (stick_at_its_own(63), stick_at_its_own(62));
    // Nothing tells its name before the first plug, and check says so.
    open(&container, &["once", &first.host_node()])[0]
        .is("ENOENT")
        .at_once();
    has_words(bed.json("check").to_string(), &["port-unknown-name"]);
    for port in [&first, &second] {
        port.plug();
        container.has_port(port);
        port.unplug();
        container.lacks_port(port);
    }
    has_words(
        bed.ttyplugd(&["check"]).stdout,
        &["its early opens are held, of", &first.host_node()],
    );
    let openings = [&first, &second].map(|port| Opening::of(&container, &port.host_node()));
    bed.holds(&[&second.host_node(), &first.host_node()]);
    // It comes back under one of them, and will not have the other.
    first.plug();
    let [of_first, of_second] = openings.map(|opening| opening.end().remove(0));
    of_first.got(&first);
    of_second.is("ENOENT");
    // As known as before: without the daemon, and in a container that is new.
    daemon.stop();
    first.unplug();
    drop(container);
    let container = zwave().start();
    let opening = Opening::of(&container, &second.host_node());
    bed.holds(&[&second.host_node()]);
    let _daemon = bed.daemon();
    second.plug();
    opening.end()[0].got(&second);
}

#[test]
fn the_kernels_name_in_a_match_is_held_before_the_first_plug() {
    let port = stick_at_its_own(63);
    let of_match = format!("sysname = {:?}", port.sysname());
    let bed = Testbed::with_runtime(&port_without_node(&of_match));
    let (bed, container, _daemon, _) = setup(bed, zwave());
    let opening = Opening::of(&container, &port.host_node());
    bed.holds(&[&port.host_node()]);
    port.plug();
    opening.end()[0].got(&port);
}

/// The test ttys are such ports: they have udev's tag, and neither ttyUSB's nor ttyACM's name.
#[test]
fn a_port_that_a_rule_of_the_operators_offers_is_held_by_the_name_that_it_has_had() {
    let bed = Testbed::with_runtime("");
    let (bed, container, daemon, _) = setup(bed, zwave().label(ENABLE));
    let port = Port::new(63);
    open(&container, &["once", &port.host_node()])[0]
        .is("ENOENT")
        .at_once();
    port.plug();
    container.has_port(&port);
    port.unplug();
    container.lacks_port(&port);
    let early = Opening::of(&container, &port.host_node());
    bed.holds(&[&port.host_node()]);
    port.plug();
    early.end()[0].got(&port);
    port.unplug();
    container.lacks_port(&port);
    // It is known to a container that is new, and one that is restarted without the daemon.
    daemon.stop();
    container.docker(&["restart", "--time", "0"]);
    let newcomer = wrapped("newcomer").with(&RULE).label(ENABLE).start();
    let openings = [&container, &newcomer].map(|it| Opening::of(it, &port.host_node()));
    bed.holds(&[&port.host_node(), &port.host_node()]);
    let _daemon = bed.daemon();
    port.plug();
    for opening in openings {
        opening.end()[0].got(&port);
    }
}

/// As `SYMLINK+="zwave"` does, or Raspberry Pi OS with /dev/serial0.
#[test]
fn a_name_that_a_rule_of_the_operators_makes_is_matched_and_held_and_appears() {
    for link in ["zwave-stick", "radio/zwave"] {
        let bed = Testbed::with_runtime(&port_without_node(&format!("link = \"/dev/{link}\"")));
        let (bed, container, _daemon, _) = setup(bed, zwave());
        let (port, other) = (Port::new(63).with("TEST_LINK", link), Port::new(62));
        let path = format!("/dev/{link}");
        let opening = Opening::of(&container, &path);
        bed.holds(&[&path]);
        port.plug();
        other.plug();
        opening.end()[0].got(&port);
        container.has_only(&[&port]);
        has_words(
            bed.ttyplugd(&["ports"]).stdout,
            &[&format!("link       {link}")],
        );
        port.unplug();
        container.lacks_port(&port);
        other.unplug();
    }
}
