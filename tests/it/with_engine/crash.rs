//! The daemon is killed, stopped and started again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::bed::{Bed, Entry, Port, Recipe, settle};

use super::ZWAVE;
use super::grants::{may_open, opened};

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

/// A delay below `limit` that no run repeats.
fn random(limit: Duration) -> Duration {
    let bits = RandomState::new().build_hasher().finish();
    limit.mul_f64(f64::from(u16::try_from(bits & 0xffff).unwrap_or_default()) / 65536.0)
}

/// Lets time pass, without sleeping through a moment: a kill has to be able to hit any instruction.
fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::yield_now();
    }
}

#[test]
fn a_daemon_killed_at_any_moment_converges_when_it_is_started_again() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let (old, new) = (stick(62), stick(63));
    for round in 0..50 {
        let delay = random(Duration::from_millis(250));
        let killed = AtomicBool::new(false);
        let daemon = bed.daemon();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !killed.load(Ordering::Relaxed) {
                    old.plug();
                    old.unplug();
                    new.plug();
                    new.unplug();
                }
            });
            spin(delay);
            daemon.end(Signal::SIGKILL);
            killed.store(true, Ordering::Relaxed);
        });

        // Half of the rounds end unplugged, to see that nothing stays; half plugged.
        if round % 2 == 1 {
            new.plug();
        }
        let daemon = bed.daemon();
        if round % 2 == 1 {
            container.gets("/dev/zwave", &new.entry());
            container.has_exactly(&[
                "serial/by-id/usb-Test_T63-if00",
                "serial/by-path/pci-0000:00:14.0-usb-0:63:1.0",
                "zwave",
            ]);
        } else {
            container.has_exactly(&[]);
        }
        daemon.stop();
        new.unplug();
    }
}

/// Right, node, links and the word to the applications come one after the other, and go so.
#[test]
fn a_daemon_killed_at_any_step_of_a_plug_or_unplug_leaves_nothing_half_done() {
    for (inject, limit) in [("exec", 150), ("namespace", 60)] {
        let bed = Bed::with_config(&format!("inject = {inject:?}\n{ZWAVE}"));
        let container = Recipe::new("zwave").start();
        let before = opened(&container);
        let (port, other) = (stick(63), stick(62));
        for round in 0..40 {
            let daemon = bed.daemon();
            // A plug, an unplug, and one device in the place of another.
            match round % 4 {
                0 => port.announce("add"),
                1 => port.announce("remove"),
                2 => port.announce("add"),
                _ => {
                    port.announce("remove");
                    other.announce("add");
                }
            }
            spin(random(Duration::from_millis(limit)));
            daemon.end(Signal::SIGKILL);
            settle();
            let daemon = bed.daemon();
            let there = match round % 4 {
                1 => vec![],
                3 => vec![&other],
                _ => vec![&port],
            };
            match there.first() {
                Some(there) => {
                    container.gets("/dev/zwave", &there.entry());
                    let number = if there.minor() == port.minor() {
                        63
                    } else {
                        62
                    };
                    container.has_exactly(&[
                        &format!("serial/by-id/usb-Test_T{number}-if00"),
                        &format!("serial/by-path/pci-0000:00:14.0-usb-0:{number}:1.0"),
                        "zwave",
                    ]);
                }
                None => container.has_exactly(&[]),
            }
            may_open(&container, &before, &there);
            if round % 4 == 3 {
                other.unplug();
                container.has_exactly(&[]);
                may_open(&container, &before, &[]);
            }
            daemon.stop();
        }
    }
}

#[test]
fn a_stopped_daemon_leaves_the_nodes_and_knows_them_when_it_is_started_again() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let daemon = bed.daemon();
        container.gets("/dev/zwave", &port.entry());
        container.gets(
            "/dev/serial/by-id/usb-Test_T63-if00",
            &Entry::link("../../zwave"),
        );
        let status = daemon.end(signal);
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(container.at("/dev/zwave"), port.entry());
    }
    port.unplug();
    let _daemon = bed.daemon();
    container.has_exactly(&[]);
}

#[test]
fn what_somebody_else_put_there_while_the_daemon_was_down_is_not_removed() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    let daemon = bed.daemon();
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    daemon.stop();
    port.unplug();
    container.sh("rm /dev/zwave && mknod /dev/zwave c 1 3");
    let other = container.at("/dev/zwave");
    let _daemon = bed.daemon();
    // The link goes because it is ours, in the same pass that leaves the node.
    container.loses("/dev/serial/by-id/usb-Test_T63-if00");
    assert_eq!(container.at("/dev/zwave"), other);
}

/// Where users are remapped a node is bound over an empty file, and the daemon may be killed between
/// the two.
#[test]
fn the_empty_file_of_a_node_that_was_being_bound_is_removed() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    let daemon = bed.daemon();
    container.gets("/dev/zwave", &port.entry());
    daemon.end(Signal::SIGKILL);
    let record = bed.file("state/owned.json");
    let text = std::fs::read_to_string(&record).expect("it was written");
    let bound = text.replace(
        &format!("\"node\": \"{}\"", port.devnum()),
        &format!("\"bound\": \"{}\"", port.devnum()),
    );
    assert_ne!(bound, text);
    std::fs::write(&record, bound).expect("it can be written");
    container.sh("rm /dev/zwave && : >/dev/zwave");
    port.unplug();
    let daemon = bed.daemon();
    container.has_exactly(&[]);
    daemon.stop();
}

#[test]
fn state_files_that_cannot_be_read_do_not_keep_it_from_working() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    std::fs::create_dir(bed.file("state")).expect("a directory can be made");
    for name in ["owned.json", "containers.json"] {
        std::fs::write(bed.file("state").join(name), "{ \"cut off").expect("it can be written");
    }
    let daemon = bed.daemon();
    container.gets("/dev/zwave", &port.entry());
    daemon.logs(&["owned.json"]);
}

#[test]
fn state_files_are_for_root_alone() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    container.gets("/dev/zwave", &port.entry());
    for name in ["owned.json", "containers.json"] {
        let file = std::fs::metadata(bed.file("state").join(name)).expect("it was written");
        let mode = std::os::unix::fs::MetadataExt::mode(&file);
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}
