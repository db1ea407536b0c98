//! Programs that open in unusual ways, and those that are interrupted or killed while they wait.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bed::Bed;

use super::{Opening, held_port, open, stick, zwave};

#[test]
fn the_opens_of_many_threads_are_released_together() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opening = Opening::start(&container, &["threads", "/dev/zwave", "64"]);
    bed.holds(&["/dev/zwave"; 64]);
    let port = stick(63);
    port.plug();
    let opened = opening.end();
    assert_eq!(opened.len(), 64);
    for opened in &opened {
        opened.got(&port);
    }
    bed.holds(&[]);
}

#[test]
fn a_program_can_fork_while_one_of_its_threads_is_held() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let mut opening = Opening::start(&container, &["fork", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    opening.nudge();
    let child = &opening.says(1)[0];
    assert_eq!((child.way.as_str(), child.result.as_str()), ("child", "ok"));
    assert!(child.was_quick(), "{child:?}");
    let port = stick(63);
    port.plug();
    opening.end()[1].got(&port);
}

#[test]
fn a_path_that_cannot_be_read_gets_the_kernels_own_error_at_once() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opened = open(&container, &["bad"]);
    let found: Vec<_> = opened
        .iter()
        .map(|opened| (opened.way.as_str(), opened.result.as_str()))
        .collect();
    let expected = [
        ("null", "EFAULT"),
        ("one", "EFAULT"),
        ("kernel", "EFAULT"),
        ("unmapped", "EFAULT"),
        ("unterminated", "EFAULT"),
        ("endless", "ENAMETOOLONG"),
        ("longest", "ENOENT"),
        ("empty", "ENOENT"),
        ("closed", "EBADF"),
    ];
    assert_eq!(found, expected);
    for opened in opened {
        assert!(opened.was_quick(), "{opened:?}");
    }
}

#[test]
fn an_open_that_signals_restart_keeps_its_deadline_and_its_hold() {
    let bed = Bed::with_runtime(&held_port("3s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opened = Opening::start(&container, &["restarted", "/dev/zwave"]).end();
    assert_eq!(opened[0].result, "ENOENT", "{opened:?}");
    opened[0].waited(2900, 4500);
    assert!(opened[1].milliseconds > 20, "too few signals: {opened:?}");

    let opening = Opening::start(&container, &["restarted", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn an_interrupted_open_ends_with_eintr_and_leaves_the_list() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opened = Opening::start(&container, &["interrupted", "/dev/zwave"]).end();
    assert_eq!(opened[0].result, "EINTR", "{opened:?}");
    opened[0].waited(250, 2000);
    bed.holds(&[]);
}

#[test]
fn a_program_that_is_killed_while_it_waits_leaves_the_list() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    let tid = bed.holds(&["/dev/zwave"])[0];
    kill(Pid::from_raw(tid), Signal::SIGKILL).expect("it waits");
    assert_eq!(opening.end(), []);
    bed.holds(&[]);
}
