//! Programs that open in unusual ways, and those that are interrupted or killed while they wait.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{LONG, NODE, Opening, holding_many, open, setup, unplugged, zwave};

#[test]
fn the_opens_of_many_threads_are_released_together() {
    let (bed, container, _daemon, port) = setup(holding_many(LONG), zwave());
    let opening = Opening::start(&container, &["threads", NODE, "64"]);
    bed.holds(&[NODE; 64]);
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
    let (bed, container, _daemon, port) = unplugged(LONG);
    let mut opening = Opening::start(&container, &["fork", NODE]);
    bed.holds(&[NODE]);
    opening.nudge();
    let child = &opening.says(1)[0];
    assert_eq!(child.way, "child");
    child.is("ok").at_once();
    port.plug();
    opening.end()[1].got(&port);
}

#[test]
fn a_path_that_cannot_be_read_gets_the_kernels_own_error_at_once() {
    let (_bed, container, _daemon, _port) = unplugged(LONG);
    let opened = open(&container, &["bad"]);
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
    assert_eq!(opened.len(), expected.len(), "{opened:?}");
    for (opened, (way, error)) in opened.iter().zip(expected) {
        assert_eq!(opened.way, way);
        opened.is(error).at_once();
    }
}

#[test]
fn an_open_that_signals_restart_keeps_its_deadline_and_its_hold() {
    let (bed, container, _daemon, port) = unplugged("3s");
    let opened = Opening::start(&container, &["restarted", NODE]).end();
    opened[0].is("ENOENT").after_hold_of(3);
    assert!(opened[1].milliseconds > 20, "too few signals: {opened:?}");

    // A hold that has ended in vain is not repeated before that.
    port.plug();
    container.has_port(&port);
    open(&container, &["once", NODE])[0].got(&port);
    port.unplug();
    container.lacks_port(&port);
    let opening = Opening::start(&container, &["restarted", NODE]);
    bed.holds(&[NODE]);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn an_interrupted_open_ends_with_eintr_and_leaves_the_list() {
    let (bed, container, _daemon, _port) = unplugged(LONG);
    let opened = Opening::start(&container, &["interrupted", NODE]).end();
    // The signal comes after 300 ms.
    opened[0].is("EINTR").within(250..10_000);
    bed.holds(&[]);
}

#[test]
fn a_program_that_is_killed_while_it_waits_leaves_the_list() {
    let (bed, container, _daemon, _port) = unplugged(LONG);
    let opening = Opening::of(&container, NODE);
    let tid = bed.holds(&[NODE])[0];
    kill(Pid::from_raw(tid), Signal::SIGKILL).expect("it waits");
    assert_eq!(opening.end(), []);
    bed.holds(&[]);
}
