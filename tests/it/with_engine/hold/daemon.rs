//! The daemon stops, is killed, hangs, or is not there yet, while opens are held.

use nix::sys::signal::Signal;

use super::{
    LONG, NODE, Opening, held, held_port, holding, open, opener, says, setup, stick, unplugged,
    zwave,
};

#[test]
fn opens_stay_held_while_the_daemon_is_away_and_are_released_when_it_is_back() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let (bed, container, daemon, port) = held(LONG);
        daemon.end(signal);
        bed.holds(&[NODE]);
        port.plug();
        bed.holds(&[NODE]);
        let _daemon = bed.daemon();
        says(&container, 1)[0].got(&port);
    }
}

#[test]
fn opens_go_on_at_their_deadline_without_the_daemon() {
    let (_bed, container, daemon, _port) = held("3s");
    daemon.end(Signal::SIGKILL);
    says(&container, 1)[0].is("ENOENT").after_hold_of(3);
}

#[test]
fn a_daemon_that_hangs_slows_no_other_open_and_releases_when_it_goes_on() {
    let (bed, container, daemon, port) = unplugged(LONG);
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    daemon.signal(Signal::SIGSTOP);
    port.plug();
    let others = ["once", "/dev/ptmx", "/etc/passwd", "/dev/null"];
    for opened in open(&container, &others) {
        opened.is("ok").at_once();
    }
    assert!(opening.so_far().is_empty());
    daemon.signal(Signal::SIGCONT);
    opening.end()[0].got(&port);
}

#[test]
fn a_container_that_starts_before_the_daemon_is_held_by_the_configured_names() {
    let bed = holding(LONG);
    let container = zwave().start();
    let opening = Opening::of(&container, NODE);
    let usb = Opening::of(&container, "/dev/ttyUSB0");
    bed.holds(&["/dev/ttyUSB0", NODE]);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    opening.end()[0].got(&port);
    // The daemon knows that this container has not asked for every port.
    usb.end()[0].is("ENOENT");
}

#[test]
fn a_container_that_starts_while_the_daemon_hangs_starts_soon_and_is_held() {
    let bed = holding(LONG);
    let daemon = bed.daemon();
    let container = opener().create();
    daemon.signal(Signal::SIGSTOP);
    container.docker(&["start"]);
    bed.holds(&[NODE]);
    daemon.signal(Signal::SIGCONT);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_changed_configuration_reaches_the_keepers() {
    let (bed, container, daemon, _port) = held(LONG);
    bed.configure(&held_port("off"));
    daemon.reload();
    says(&container, 1)[0].is("ENOENT");
}

#[test]
fn a_keeper_that_comes_while_the_daemon_has_no_descriptor_left_is_found_when_it_has() {
    let bed = holding(LONG);
    let daemon = bed.daemon();
    let unlimited = daemon.limit_descriptors("3");
    let container = zwave().start();
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    daemon.limit_descriptors(&unlimited);
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn without_a_daemon_a_port_is_held_for_as_long_as_it_is_configured() {
    let result = |hold| {
        let _bed = holding(hold);
        let container = opener().start();
        says(&container, 1).remove(0)
    };
    result("1s").is("ENOENT").after_hold_of(1);
    result("off").is("ENOENT").at_once();
}

#[test]
fn a_port_that_is_ready_stays_ready_while_the_daemon_is_restarted() {
    let bed = holding(LONG);
    let port = stick(63);
    let link = port.by_id();
    port.plug();
    let (bed, container, mut daemon, _) = setup(bed, zwave());
    // When this open goes on, the keeper has heard that the port is ready.
    open(&container, &["once", &link])[0].got(&port);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        daemon.end(signal);
        let away = open(&container, &["once", NODE, &link]);
        daemon = bed.daemon();
        let back = open(&container, &["once", NODE, &link]);
        for opened in away.iter().chain(&back) {
            opened.got(&port).at_once();
        }
    }
}
