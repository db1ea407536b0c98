//! Something is already at the path that a port is assigned.

use crate::testbed::{Container, Daemon, Entry, Port, Recipe, Testbed};

use super::setup::{METER, ZWAVE, meter, port_for, setup, stick, unplugged, unplugged_with};

#[test]
fn an_old_device_node_with_another_number_is_replaced() {
    let other = Port::new(62);
    let device = format!("{}:/dev/zwave", other.host_node());
    let recipe = Recipe::new("zwave").with(&["--device", &device]);
    let (_bed, container, daemon, port) = setup(Testbed::with_config(ZWAVE), recipe);
    let old = container.at("/dev/zwave");
    let Entry::Node(node) = old else {
        panic!("docker made no node");
    };
    assert_eq!(node.minor, other.minor());
    let watch = container.watch("/dev/zwave");
    port.plug();
    container.has_port(&port);
    assert_eq!(watch.stop(), [old, port.entry()]);
    daemon.logs(&["/dev/zwave", "instead of", &other.devnum()]);
}

#[test]
fn an_empty_file_is_replaced() {
    let (_bed, container, daemon, port) = unplugged();
    container.sh(": > /dev/zwave");
    assert_eq!(container.at("/dev/zwave"), Entry::File { size: 0 });
    port.plug();
    container.has_port(&port);
    daemon.logs(&["/dev/zwave", "instead of", "empty file"]);
}

/// Two ports, /dev/zwave where something is in the way and /dev/meter beside it, which is made in
/// the same pass or a later one: so it is known that the first one was left alone, not forgotten.
fn left_alone(make: &str, arguments: &[&str], reported: &str) -> (Testbed, Container, Daemon) {
    let bed = Testbed::with_config(&[ZWAVE, METER].concat());
    let (port, meter) = (stick(63), meter(61));
    meter.plug();
    let container = Recipe::new("zwave").with(arguments).start();
    if !make.is_empty() {
        container.sh(make);
    }
    let before = container.at("/dev/zwave");
    assert_ne!(before, Entry::Absent);
    let daemon = bed.daemon();
    port.plug();
    daemon.logs(&["zwave", "/dev/zwave", reported]);
    container.has_port(&meter);
    assert_eq!(container.at("/dev/zwave"), before);
    port.unplug();
    meter.unplug();
    container.lacks_port(&meter);
    assert_eq!(container.at("/dev/zwave"), before);
    (bed, container, daemon)
}

#[test]
fn a_directory_is_left_alone_and_reported() {
    let (_bed, container, _daemon) = left_alone("mkdir /dev/zwave", &[], "directory");
    let inside = container.path("/dev/zwave").read_dir();
    assert_eq!(inside.expect("it is one").count(), 0);
}

#[test]
fn a_file_with_content_is_left_alone_and_reported() {
    left_alone("echo mine > /dev/zwave", &[], "file");
}

#[test]
fn a_link_of_somebody_else_is_left_alone_and_reported() {
    left_alone("ln -s null /dev/zwave", &[], "link");
}

#[test]
fn a_fifo_is_left_alone_and_reported() {
    left_alone("mkfifo /dev/zwave", &[], "FIFO");
}

#[test]
fn a_bind_mounted_node_is_left_alone_and_reported() {
    let volume = format!("{}:/dev/zwave", Port::new(62).host_node());
    left_alone("", &["--volume", &volume], "mount");
}

#[test]
fn a_bind_mounted_node_with_the_right_number_is_no_fault_and_stays() {
    let bed = Testbed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let volume = format!("{}:/dev/zwave", port.host_node());
    let container = Recipe::new("zwave").with(&["--volume", &volume]).start();
    let host = Entry::at(port.host_node().as_ref());
    let _daemon = bed.daemon();
    container.gets(&port.by_id(), &port.link_at(&port.by_id()));
    port.unplug();
    container.loses(&port.by_id());
    assert_eq!(Entry::at(port.host_node().as_ref()), host);
    assert!(matches!(container.at("/dev/zwave"), Entry::Node(_)));
}

#[test]
fn a_node_in_a_directory_that_has_to_be_made_is_made() {
    let config = port_for("\"zwave\"", "/dev/ports/usb/zwave", "");
    let (_bed, container, _daemon, port) = unplugged_with(&config);
    let port = port.at("/dev/ports/usb/zwave");
    port.plug();
    container.has_port(&port);
    let link = Entry::link("../../ports/usb/zwave");
    assert_eq!(container.at(&port.by_id()), link);
    port.unplug();
    container.has_only(&[]);
}

#[test]
fn temporary_names_of_a_killed_run_are_swept() {
    let bed = Testbed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    let minor = port.minor();
    container.sh(&format!("mknod /dev/.ttyplugd.7 c 4 {minor}"));
    let _daemon = bed.daemon();
    port.plug();
    container.has_only(&[&port]);
}

#[test]
fn more_temporary_names_than_are_swept_at_a_time_are_swept_one_after_the_other() {
    let bed = Testbed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    let minor = port.minor();
    container.sh(&format!(
        "for i in $(seq 80); do mknod /dev/.ttyplugd.$i c 4 {minor}; done"
    ));
    let daemon = bed.daemon();
    port.plug();
    container.has_port(&port);
    // Each looks at the container again.
    for _ in 0..2 {
        daemon.reload();
    }
    container.has_only(&[&port]);
}
