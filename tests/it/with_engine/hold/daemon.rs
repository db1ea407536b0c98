//! The daemon stops, is killed, hangs, or is not there yet, while opens are held.

use nix::sys::signal::Signal;

use crate::bed::Bed;

use super::{Opening, held_port, open, says, stick, zwave};

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
    // A keeper has more to tell than the socket of a daemon that does not read can take.
    for _ in 0..3 {
        drop(Opening::start(&container, &["threads", "/dev/zwave", "1"]));
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
