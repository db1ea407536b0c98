//! Containers that are created under the wrapper.

use std::fs;

use crate::testbed::{Port, Testbed, eventually, run};

use super::super::setup::{ENABLE, odd_runtime, port_for};
use super::{
    LONG, NODE, Opened, Opening, held_port, holding, open, opener, says, setup, stick, unplugged,
    wrapped, zwave,
};

#[test]
fn a_port_that_is_there_exists_before_the_first_instruction_with_the_right_to_it_alone() {
    let more = "group = \"dialout\"\nmode = \"0640\"";
    let bed = Testbed::with_runtime(&port_for("\"zwave\"", NODE, more));
    let (port, other) = (stick(63), Port::new(62));
    port.plug();
    other.plug();
    let script = format!(
        "stat -c '%t %T %a %u %g' /dev/zwave; opens once /dev/zwave; \
         mknod /tmp/other c 4 {} && opens once /tmp/other",
        other.minor()
    );
    let recipe = wrapped("zwave").command(&["sh", "-c", &script]);
    let (_bed, container, daemon, _) = setup(bed, recipe);
    let said = eventually(
        "it says all",
        || container.logs(),
        |said| said.lines().count() >= 3,
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("4 {:x} 640 0 77", port.minor()));
    Opened::read(lines[1]).is("ok").at_once();
    Opened::read(lines[2]).is("EPERM");
    daemon.stop();
}

#[test]
fn a_create_that_fails_leaves_no_keeper() {
    let bed = holding(LONG);
    let _daemon = bed.daemon();
    let container = zwave().command(&["/no/such/program"]).create();
    container.does_not_start();
    bed.has_no_keeper();
    drop(container);

    let source = bed.file("mounted");
    fs::create_dir(&source).expect("a directory can be made");
    let mount = format!("type=bind,src={},dst=/etc/passwd", source.display());
    // A directory cannot be mounted on a file, which only the runtime finds out.
    let container = zwave().with(&["--mount", &mount]).create();
    container.does_not_start();
    bed.has_no_keeper();
    drop(container);

    let container = opener().start();
    bed.holds(&[NODE]);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_create_that_takes_long_does_not_lose_its_keeper() {
    let (_directory, runtime) = odd_runtime("sleep 30");
    let bed = Testbed::with_runtime_in_front_of(&runtime, &held_port(LONG));
    let (bed, container, _daemon, port) = setup(bed, opener());
    bed.holds(&[NODE]);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_runtime_that_fails_leaves_no_keeper() {
    let (_directory, runtime) = odd_runtime("exit 1");
    let bed = Testbed::with_runtime_in_front_of(&runtime, &held_port(LONG));
    let _daemon = bed.daemon();
    let container = zwave().create();
    container.does_not_start();
    assert!(bed.file("run/k").is_dir());
    bed.has_no_keeper();
}

#[test]
fn a_full_run_directory_does_not_keep_a_container_from_starting() {
    let bed = holding(LONG);
    let run_dir = bed.file("run").to_string_lossy().into_owned();
    fs::create_dir(&run_dir).expect("a directory can be made");
    // Its root is its only inode (Documentation/filesystems/tmpfs.rst).
    let one_inode = ["-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs"];
    run("mount", &[&one_inode[..], &[&run_dir]].concat());
    let container = opener().start();
    says(&container, 1)[0].is("ENOENT").at_once();
    run("umount", &["--lazy", &run_dir]);
}

#[test]
fn a_restarted_container_is_held_by_what_is_known_of_it_without_the_daemon() {
    let (bed, container, daemon, port) = unplugged(LONG);
    port.plug();
    container.has_port(&port);
    daemon.stop();
    port.unplug();
    container.docker(&["restart", "--time", "0"]);
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    // This container never asked for every port.
    open(&container, &["once", "/dev/ttyUSB0"])[0].at_once();
    let port = stick(62);
    port.plug();
    let _daemon = bed.daemon();
    opening.end()[0].got(&port);
}

#[test]
fn a_label_that_does_not_count_holds_nothing_without_the_daemon_either() {
    let bed = Testbed::with_runtime("labels = \"off\"");
    let (_bed, container, daemon, _port) = setup(bed, zwave().label(ENABLE));
    daemon.stop();
    container.docker(&["restart", "--time", "0"]);
    open(&container, &["once", "/dev/ttyUSB0"])[0]
        .is("ENOENT")
        .at_once();
}
