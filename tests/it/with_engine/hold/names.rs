//! The names by which an early open of a port is known.

use std::fs;

use crate::testbed::{Port, Recipe, Testbed, engine, has_words, until};

use super::super::setup::{ENABLE, RULE, stick};
use super::{Opening, open, says, setup, wrapped, zwave};

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

/// While nothing can be done in the container, the link of the stick leads to where that was. The
/// stick is plugged in elsewhere.
fn replugged_while_the_engine_is_away(ports: &str, recipe: Recipe) {
    let bed = Testbed::with_runtime(&format!("inject = \"exec\"\n{ports}"));
    let _live_restore = bed.live_restore();
    let [first, second] =
        [63, 62].map(|number| stick_at_its_own(number).with("TEST_BY_ID", "usb-Z1"));
    let by_id = first.by_id();
    let script = format!(
        "until [ -e /tmp/go ]; do sleep 0.05; done; opens once {by_id}; exec sleep 1000000"
    );
    first.plug();
    let (bed, container, _daemon, _) = setup(bed, recipe.command(&["sh", "-c", &script]));
    container.has_port(&first);
    let go = container.path("/tmp/go");
    engine("stop");
    first.unplug();
    fs::write(go, "").expect("root can write there");
    until("an open is held", || {
        bed.keeper().held().is_ok_and(|held| !held.is_empty())
    });
    second.plug();
    engine("start");
    says(&container, 1)[0].got(&second);
}

#[test]
fn an_open_through_a_link_waits_for_the_device_and_not_for_where_the_link_leads() {
    replugged_while_the_engine_is_away(&port_without_node("serial = \"Z1\""), wrapped("zwave"));
}

#[test]
fn an_open_through_a_link_to_any_port_follows_it_to_where_the_device_is() {
    replugged_while_the_engine_is_away("", wrapped("zwave").label(ENABLE));
}

#[test]
fn an_open_through_a_link_of_the_container_goes_on_when_that_leads_to_a_port_that_is_ready() {
    let (bed, container, _daemon, _) =
        setup(Testbed::with_runtime(""), wrapped("zwave").label(ENABLE));
    let port = stick_at_its_own(63);
    port.plug();
    container.has_port(&port);
    container.sh("ln -s ttyUSB7 /dev/stick");
    let opening = Opening::of(&container, "/dev/stick");
    bed.holds(&["/dev/ttyUSB7"]);
    container.sh(&format!("ln -sfn {} /dev/stick", port.host_node()));
    opening.end()[0].got(&port);
}
