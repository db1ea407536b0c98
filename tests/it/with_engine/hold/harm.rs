//! Holds that could harm an application more than they help it.

use super::status::has_held;
use super::{
    AT_ONCE, LONG, NODE, Opened, Opening, held, held_port, linked_port, open, port_for, setup,
    unplugged, zwave,
};
use crate::testbed::{Container, Testbed, eventually, has_words};

/// Another port of the same container.
const METER: &str = "/dev/meter";

/// The port "zwave", and another one for the same container, which is never there.
fn two_ports(more: &str, hold: &str) -> Testbed {
    let meter = port_for("\"zwave\"", METER, &format!("hold = {hold:?}"));
    let meter = meter
        .replace("zwave\"\nmatch", "meter\"\nmatch")
        .replace("Z1", "M1");
    Testbed::with_runtime(&format!("{more}\n{}\n{meter}", held_port(hold)))
}

fn once(container: &Container, path: &str) -> Opened {
    open(container, &["once", path]).remove(0)
}

#[test]
fn a_hold_that_has_ended_in_vain_is_repeated_only_after_the_port_has_been_there() {
    let bed = Testbed::with_runtime(&linked_port("2s"));
    let (_bed, container, _daemon, port) = setup(bed, zwave());
    once(&container, NODE).is("ENOENT").after_hold_of(2);
    once(&container, NODE).is("ENOENT").at_once();
    once(&container, &port.by_id()).is("ENOENT").at_once();
    port.plug();
    container.has_port(&port);
    once(&container, NODE).got(&port);
    port.unplug();
    container.lacks_port(&port);
    once(&container, &port.by_id())
        .is("ENOENT")
        .after_hold_of(2);
    once(&container, NODE).is("ENOENT").at_once();
    container.docker(&["restart", "--time", "0"]);
    once(&container, NODE).is("ENOENT").after_hold_of(2);
}

#[test]
fn a_hold_that_has_ended_in_vain_is_repeated_for_another_port_and_with_another_time() {
    let (bed, container, daemon, _port) = setup(two_ports("", "2s"), zwave());
    once(&container, NODE).is("ENOENT").after_hold_of(2);
    once(&container, METER).is("ENOENT").after_hold_of(2);
    bed.configure(&held_port("3s"));
    daemon.reload();
    // Until the keeper has heard of it, opens go on at once.
    let is_held = |opened: &Opened| opened.milliseconds >= AT_ONCE;
    let opened = eventually("it is held again", || once(&container, NODE), is_held);
    opened.is("ENOENT").after_hold_of(3);
}

/// It may have no more threads to read a file with, as Node has.
#[test]
fn of_one_process_three_opens_are_held_and_the_next_goes_on_at_once() {
    let (bed, container, _daemon, port) = unplugged(LONG);
    let opening = Opening::start(&container, &["threads", NODE, "4"]);
    opening.says(1)[0].is("ENOENT").at_once();
    bed.holds(&[NODE; 3]);
    // Another process is another application.
    let other = Opening::of(&container, NODE);
    bed.holds(&[NODE; 4]);
    port.plug();
    let opened = opening.end();
    opened[1..].iter().for_each(|opened| {
        opened.got(&port);
    });
    assert_eq!(opened.len(), 4);
    other.end()[0].got(&port);
}

#[test]
fn the_configuration_says_how_many_opens_of_a_process_are_held() {
    let (bed, container, _daemon, _port) = setup(two_ports("held-per-process = 1", LONG), zwave());
    let opening = Opening::start(&container, &["threads", NODE, "4"]);
    for opened in opening.says(3) {
        opened.is("ENOENT").at_once();
    }
    bed.holds(&[NODE]);
}

#[test]
fn a_process_that_waits_in_its_only_thread_is_named_with_what_helps() {
    let (bed, container, _daemon, _port) = held(LONG);
    let opening = Opening::start(&container, &["threads", NODE, "1"]);
    let status = has_held(&bed, 2);
    let only = |tid: i32| {
        let held = status["held"].as_array().expect("it is a list");
        let held = held
            .iter()
            .find(|held| held["tid"] == tid)
            .expect("it is held");
        held["only_thread"] == true
    };
    let pid: i32 = container
        .inspect("{{.State.Pid}}")
        .parse()
        .expect("it is a number");
    let other = bed.holds(&[NODE; 2]).into_iter().find(|tid| *tid != pid);
    assert!(only(pid), "{status:#}");
    assert!(!only(other.expect("there are two")), "{status:#}");
    let helps = "open the port in a thread, or set a shorter `hold`";
    has_words(bed.ttyplugd(&["status"]).stdout, &["opens *", helps]);
    has_words(
        bed.ttyplugd(&["check"]).stdout,
        &["waits for /dev/zwave in its only thread", helps],
    );
    has_words(
        bed.runtime_log(),
        &["open held in the only thread of its process", helps],
    );
    drop(opening);
}
