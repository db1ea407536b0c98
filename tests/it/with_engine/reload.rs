//! The configuration changes while the daemon runs.

use nix::sys::signal::Signal;

use crate::bed::{Bed, Entry, Port, Recipe};

use super::{ZWAVE, port_for};

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

#[test]
fn a_new_configuration_takes_effect_at_sighup() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let (zwave, other) = (Recipe::new("zwave").start(), Recipe::new("other").start());
    let daemon = bed.daemon();
    zwave.gets("/dev/zwave", &port.entry());
    bed.configure(&port_for("\"other\"", "/dev/ttyOther", ""));
    daemon.signal(Signal::SIGHUP);
    other.gets("/dev/ttyOther", &port.entry());
    zwave.has_exactly(&[]);

    // Another mode of a node that is there already.
    bed.configure(&port_for("\"other\"", "/dev/ttyOther", "mode = \"0600\""));
    let watch = other.watch("/dev/ttyOther");
    daemon.signal(Signal::SIGHUP);
    let Entry::Node(mut node) = port.entry() else {
        unreachable!()
    };
    node.mode = 0o600;
    other.gets("/dev/ttyOther", &Entry::Node(node));
    assert_eq!(watch.stop(), [port.entry(), Entry::Node(node)]);

    // A drop-in adds a port; no file at all is fine too.
    std::fs::create_dir(bed.file("conf.d")).expect("a directory can be made");
    std::fs::write(bed.file("conf.d/10-zwave.toml"), ZWAVE).expect("a file can be written");
    std::fs::remove_file(bed.file("config.toml")).expect("it was there");
    daemon.signal(Signal::SIGHUP);
    zwave.gets("/dev/zwave", &port.entry());
    other.has_exactly(&[]);
    daemon.stop();
}

#[test]
fn a_bad_configuration_at_sighup_leaves_the_old_one_in_force() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let mut daemon = bed.daemon();
    bed.configure(&ZWAVE.replace("node =", "nodes ="));
    daemon.signal(Signal::SIGHUP);
    daemon.logs(&["config.toml", "nodes", "node"]);
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    daemon.notifies(crate::bed::SOON, "WATCHDOG=1");

    // The same file does not start a daemon.
    let check = bed.ttyplugd(&["check"]);
    assert_ne!(check.status.code(), Some(0));
    daemon.stop();
    let run = bed.ttyplugd(&["run", "--log-format", "text"]);
    assert_eq!(run.status.code(), Some(2), "{run:?}");
}

#[test]
fn a_resync_mends_what_somebody_removed() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    container.sh("rm -r /dev/zwave /dev/serial");
    daemon.signal(Signal::SIGHUP);
    container.gets("/dev/zwave", &port.entry());
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    container.sh("chmod 666 /dev/zwave");
    daemon.signal(Signal::SIGHUP);
    container.gets("/dev/zwave", &port.entry());
}
