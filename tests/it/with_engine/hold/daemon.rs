//! The daemon stops, is killed, hangs, or is not there yet, while opens are held.

use nix::sys::signal::Signal;

use crate::bed::{Bed, SOON, eventually};

use super::{Opening, held_port, open, says, stick, zwave};

const LINK: &str = "/dev/serial/by-id/usb-Test_T63-if00";

#[test]
fn opens_stay_held_while_the_daemon_is_away_and_are_released_when_it_is_back() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let bed = Bed::with_runtime(&held_port("60s"));
        let daemon = bed.daemon();
        let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
        bed.holds(&["/dev/zwave"]);
        daemon.end(signal);
        bed.holds(&["/dev/zwave"]);
        let port = stick(63);
        port.plug();
        bed.holds(&["/dev/zwave"]);
        let _daemon = bed.daemon();
        says(&container, 1)[0].got(&port);
    }
}

#[test]
fn opens_go_on_at_their_deadline_without_the_daemon() {
    let bed = Bed::with_runtime(&held_port("3s"));
    let daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    bed.holds(&["/dev/zwave"]);
    daemon.end(Signal::SIGKILL);
    let opened = &says(&container, 1)[0];
    assert_eq!(opened.result, "ENOENT");
    opened.waited(2900, 4500);
}

#[test]
fn a_daemon_that_hangs_slows_no_other_open_and_releases_when_it_goes_on() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    daemon.signal(Signal::SIGSTOP);
    let port = stick(63);
    port.plug();
    let others = ["once", "/dev/ptmx", "/etc/passwd", "/dev/null"];
    for opened in open(&container, &others) {
        assert_eq!(opened.result, "ok", "{opened:?}");
        assert!(opened.was_quick(), "{opened:?}");
    }
    assert!(opening.so_far().is_empty());
    daemon.signal(Signal::SIGCONT);
    opening.end()[0].got(&port);
}

#[test]
fn a_container_that_starts_before_the_daemon_is_held_by_the_configured_names() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let container = zwave().start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    let usb = Opening::start(&container, &["once", "/dev/ttyUSB0"]);
    bed.holds(&["/dev/ttyUSB0", "/dev/zwave"]);
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    opening.end()[0].got(&port);
    // The daemon knows that this container has not asked for every port.
    assert_eq!(usb.end()[0].result, "ENOENT");
}

#[test]
fn a_container_that_starts_while_the_daemon_hangs_starts_soon_and_is_held() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).create();
    daemon.signal(Signal::SIGSTOP);
    container.docker(&["start"]);
    bed.holds(&["/dev/zwave"]);
    daemon.signal(Signal::SIGCONT);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_changed_configuration_reaches_the_keepers() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    bed.holds(&["/dev/zwave"]);
    bed.configure(&held_port("off"));
    daemon.signal(Signal::SIGHUP);
    let opened = &says(&container, 1)[0];
    assert_eq!(opened.result, "ENOENT", "{opened:?}");
}

#[test]
fn a_daemon_that_does_not_read_is_cut_off_and_finds_the_keeper_again() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().start();
    let opening = Opening::start(&container, &["threads", "/dev/zwave", "64"]);
    bed.holds(&["/dev/zwave"; 64]);
    daemon.signal(Signal::SIGSTOP);
    // More than the daemon's socket takes (net.core.wmem_default).
    let signals = Opening::start(&container, &["restarted", "/dev/zwave"]);
    eventually(SOON, "the keeper gives the daemon up", || {
        let connections = connections(&bed);
        (connections == 0)
            .then_some(())
            .ok_or_else(|| format!("{connections}"))
    });
    let port = stick(63);
    port.plug();
    daemon.signal(Signal::SIGCONT);
    signals.end()[0].got(&port);
    for opened in opening.end() {
        opened.got(&port);
    }
}

/// How many sockets the keeper has but the one where it listens.
fn connections(bed: &Bed) -> usize {
    let open = bed.keeper().open_files();
    let sockets = open
        .iter()
        .filter(|name| name.to_string_lossy().starts_with("socket:"));
    sockets.count() - 1
}

#[test]
fn a_keeper_that_comes_while_the_daemon_has_no_descriptor_left_is_found_when_it_has() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let unlimited = daemon.limit_descriptors("3");
    let container = zwave().start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    daemon.limit_descriptors(&unlimited);
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn without_a_daemon_a_port_is_held_for_as_long_as_it_is_configured() {
    for (hold, from, to) in [("1s", 900, 3000), ("off", 0, 700)] {
        let bed = Bed::with_runtime(&held_port(hold));
        let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
        let opened = &says(&container, 1)[0];
        assert_eq!(opened.result, "ENOENT", "{opened:?}");
        opened.waited(from, to);
        drop(bed);
    }
}

#[test]
fn a_port_that_is_ready_stays_ready_while_the_daemon_is_restarted() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let port = stick(63);
    port.plug();
    let mut daemon = bed.daemon();
    let container = zwave().start();
    // When this open goes on, the keeper has heard that the port is ready.
    open(&container, &["once", LINK])[0].got(&port);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        daemon.end(signal);
        let away = open(&container, &["once", "/dev/zwave", LINK]);
        daemon = bed.daemon();
        let back = open(&container, &["once", "/dev/zwave", LINK]);
        for opened in away.iter().chain(&back) {
            opened.got(&port);
            assert!(opened.was_quick(), "{signal}: {opened:?}");
        }
    }
}
