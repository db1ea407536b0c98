//! The configuration changes while the daemon runs.

use std::fs;

use crate::testbed::{Recipe, has_words, until};

use super::setup::{ZWAVE, plugged, port_for, unplugged};

#[test]
fn a_new_configuration_takes_effect_at_sighup() {
    let (bed, zwave, daemon, port) = plugged();
    let other = Recipe::new("other").start();
    let as_other = port.clone().at("/dev/ttyOther");
    bed.configure(&port_for("\"other\"", "/dev/ttyOther", ""));
    daemon.reload();
    other.has_port(&as_other);
    zwave.has_only(&[]);

    // Another mode of a node that is there already.
    bed.configure(&port_for("\"other\"", "/dev/ttyOther", "mode = \"0600\""));
    let watch = other.watch("/dev/ttyOther");
    daemon.reload();
    let before = as_other.entry();
    let as_other = as_other.mode(0o600);
    other.has_port(&as_other);
    assert_eq!(watch.stop(), [before, as_other.entry()]);

    // A drop-in adds a port; no file at all is fine too.
    fs::create_dir(bed.file("conf.d")).expect("a directory can be made");
    fs::write(bed.file("conf.d/10-zwave.toml"), ZWAVE).expect("a file can be written");
    fs::remove_file(bed.file("config.toml")).expect("it was there");
    daemon.reload();
    zwave.has_port(&port);
    other.has_only(&[]);
    daemon.stop();
}

#[test]
fn a_bad_configuration_at_sighup_leaves_the_old_one_in_force() {
    let (bed, container, mut daemon, port) = unplugged();
    bed.configure(&ZWAVE.replace("node =", "nodes ="));
    daemon.reload();
    daemon.logs(&["config.toml", "nodes", "node"]);
    until("the status says so", || {
        let error = bed.status()?["config_error"].clone();
        let is_said = error.as_str().is_some_and(|error| error.contains("nodes"));
        is_said.then_some(()).ok_or_else(|| error.to_string())
    });
    let text = bed.ttyplugd(&["status"]).stdout;
    has_words(text, &["configuration is invalid", "nodes"]);
    port.plug();
    container.has_port(&port);
    daemon.notifies("WATCHDOG=1");
    let rejected = fs::read_to_string(bed.file("config.toml")).expect("it is there");
    bed.configure(ZWAVE);
    daemon.reload();
    until("the status says no more", || {
        let status = bed.status()?;
        let is_new = status["config_error"].is_null() && status["reloads"] == 2;
        is_new.then_some(()).ok_or_else(|| status.to_string())
    });
    bed.configure(&rejected);

    // The same file does not start a daemon.
    let check = bed.ttyplugd(&["check"]);
    assert_ne!(check.status.code(), Some(0));
    daemon.stop();
    let run = bed.ttyplugd(&["run", "--log-format", "text"]);
    assert_eq!(run.status.code(), Some(2), "{run:?}");
}

#[test]
fn a_resync_mends_what_somebody_removed() {
    let (_bed, container, daemon, port) = plugged();
    container.sh("rm -r /dev/zwave /dev/serial");
    daemon.reload();
    container.has_port(&port);
}
