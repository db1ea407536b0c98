//! Something is already at the path that a port is assigned.

use crate::bed::{Bed, Container, Daemon, Entry, MAJOR, Port, Recipe};

use super::{ZWAVE, port_for};

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

#[test]
fn an_old_device_node_with_another_number_is_replaced() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave")
        .with(&["--device", &format!("{}:/dev/zwave", stick(62).host_node())])
        .start();
    let Entry::Node(old) = container.at("/dev/zwave") else {
        panic!("docker made no node");
    };
    assert_eq!((old.major, old.minor), (MAJOR, stick(62).minor()));
    let daemon = bed.daemon();
    let port = stick(63);
    let watch = container.watch("/dev/zwave");
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    assert_eq!(watch.stop(), [Entry::Node(old), port.entry()]);
    daemon.logs(&["/dev/zwave", "instead of", &stick(62).devnum()]);
}

#[test]
fn an_empty_file_is_replaced() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    container.sh(": > /dev/zwave");
    assert_eq!(container.at("/dev/zwave"), Entry::File { size: 0 });
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    daemon.logs(&["/dev/zwave", "instead of", "empty file"]);
}

/// Two ports, /dev/zwave where something is in the way and /dev/other beside it, which is made in
/// the same pass or a later one: so it is known that the first one was left alone, not forgotten.
fn left_alone(make: &str, arguments: &[&str], reported: &str) -> (Bed, Container, Daemon) {
    let other = ZWAVE
        .replace("zwave\"\nmatch", "zzz\"\nmatch")
        .replace("Z1", "O1");
    let bed = Bed::with_config(&format!(
        "{ZWAVE}{}",
        other.replace("/dev/zwave", "/dev/other")
    ));
    let (port, other) = (stick(63), Port::new(61).with("ID_SERIAL_SHORT", "O1"));
    other.plug();
    let container = Recipe::new("zwave").with(arguments).start();
    if !make.is_empty() {
        container.sh(make);
    }
    let before = container.at("/dev/zwave");
    assert_ne!(before, Entry::Absent);
    let daemon = bed.daemon();
    port.plug();
    daemon.logs(&["zwave", "/dev/zwave", reported]);
    container.gets("/dev/other", &other.entry());
    assert_eq!(container.at("/dev/zwave"), before);
    port.unplug();
    other.unplug();
    container.loses("/dev/other");
    assert_eq!(container.at("/dev/zwave"), before);
    (bed, container, daemon)
}

#[test]
fn a_directory_is_left_alone_and_reported() {
    let (_bed, container, _daemon) = left_alone("mkdir /dev/zwave", &[], "directory");
    let inside: Vec<_> = container
        .path("/dev/zwave")
        .read_dir()
        .into_iter()
        .flatten()
        .collect();
    assert!(inside.is_empty(), "{inside:?}");
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
    left_alone(
        "",
        &["--volume", &format!("{}:/dev/zwave", stick(62).host_node())],
        "mount",
    );
}

#[test]
fn a_bind_mounted_node_with_the_right_number_is_no_fault_and_stays() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave")
        .with(&["--volume", &format!("{}:/dev/zwave", port.host_node())])
        .start();
    let host = Entry::at(port.host_node().as_ref());
    let _daemon = bed.daemon();
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    port.unplug();
    container.loses("/dev/serial/by-id/usb-Test_T63-if00");
    assert_eq!(Entry::at(port.host_node().as_ref()), host);
    assert!(matches!(container.at("/dev/zwave"), Entry::Node(_)));
}

#[test]
fn a_node_in_a_directory_that_has_to_be_made_is_made() {
    let bed = Bed::with_config(&port_for("\"zwave\"", "/dev/ports/usb/zwave", ""));
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets("/dev/ports/usb/zwave", &port.entry());
    let link = "/dev/serial/by-id/usb-Test_T63-if00";
    container.gets(link, &Entry::link("../../ports/usb/zwave"));
    port.unplug();
    container.has_exactly(&[]);
}

#[test]
fn temporary_names_of_a_killed_run_are_swept() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    container.sh(&format!("mknod /dev/.ttyplugd.7 c 4 {}", stick(63).minor()));
    let _daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    container.loses("/dev/.ttyplugd.7");
}
