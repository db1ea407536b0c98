//! A port is plugged in, moved, unplugged.

use crate::bed::{Bed, Entry, Node, Port, Recipe};

use super::{ZWAVE, port_for};

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

#[test]
fn a_port_that_was_there_before_the_daemon_is_there() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    container.gets("/dev/zwave", &port.entry());
    daemon.stop();
}

#[test]
fn a_port_that_is_plugged_in_appears_under_all_its_names() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    for link in [
        "by-id/usb-Test_T63-if00",
        "by-path/pci-0000:00:14.0-usb-0:63:1.0",
    ] {
        container.gets(&format!("/dev/serial/{link}"), &Entry::link("../../zwave"));
    }
    daemon.logs(&["INFO", "zwave", "/dev/zwave"]);
}

#[test]
fn an_unplugged_port_goes_with_its_links() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    let before = daemon.count(&["INFO", "/dev/zwave"]);
    port.unplug();
    container.loses("/dev/zwave");
    assert_eq!(container.own_names(), [""; 0]);
    daemon.logs_again(before, &["INFO", "/dev/zwave"]);
}

#[test]
fn a_port_that_is_unplugged_while_the_daemon_is_down_goes_at_its_start() {
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
    assert_eq!(container.at("/dev/zwave"), port.entry());
    let _daemon = bed.daemon();
    container.loses("/dev/zwave");
    container.loses("/dev/serial/by-id/usb-Test_T63-if00");
}

#[test]
fn a_port_that_comes_back_under_another_number_keeps_its_name() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let (old, new) = (stick(62), stick(63));
    old.plug();
    container.gets("/dev/zwave", &old.entry());

    // One and the same stick on its way from ttyUSB0 to ttyUSB1: no other entry, in no other order.
    let watch = container.watch("/dev/zwave");
    old.unplug();
    new.plug();
    container.gets("/dev/zwave", &new.entry());
    let seen = watch.stop();
    let possible = [old.entry(), Entry::Absent, new.entry()];
    assert!(
        seen == possible || seen == [old.entry(), new.entry()],
        "{seen:?}"
    );
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    container.loses("/dev/serial/by-id/usb-Test_T62-if00");
}

#[test]
fn a_node_that_gets_another_number_is_never_absent() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let (first, second) = (stick(62), stick(63));
    first.plug();
    container.gets("/dev/zwave", &first.entry());
    second.plug();

    // The one that is assigned stays until it is gone; then the other takes its name at once.
    let watch = container.watch("/dev/zwave");
    first.unplug();
    container.gets("/dev/zwave", &second.entry());
    assert_eq!(watch.stop(), [first.entry(), second.entry()]);
}

#[test]
fn a_number_that_changed_while_the_daemon_was_down_is_put_right_at_its_start() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let (old, new) = (stick(62), stick(63));
    old.plug();
    let daemon = bed.daemon();
    container.gets("/dev/zwave", &old.entry());
    daemon.stop();
    old.unplug();
    new.plug();
    let watch = container.watch("/dev/zwave");
    let _daemon = bed.daemon();
    container.gets("/dev/zwave", &new.entry());
    assert_eq!(watch.stop(), [old.entry(), new.entry()]);
}

#[test]
fn a_node_is_never_seen_with_another_number_owner_or_mode() {
    let more = "mode = \"0604\"\nowner = 1000\ngroup = 1234";
    let bed = Bed::with_config(&port_for("\"zwave\"", "/dev/zwave", more));
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let port = stick(63);
    for _ in 0..5 {
        let watch = container.watch("/dev/zwave");
        port.plug();
        let expected = Entry::Node(Node {
            mode: 0o604,
            uid: 1000,
            gid: 1234,
            ..port.node()
        });
        container.gets("/dev/zwave", &expected);
        port.unplug();
        container.loses("/dev/zwave");
        assert_eq!(watch.stop(), [Entry::Absent, expected, Entry::Absent]);
    }
}

#[test]
fn owner_and_group_are_looked_up_in_the_container() {
    let more = "owner = \"app\"\ngroup = \"dialout\"";
    let bed = Bed::with_config(&port_for("\"zwave\"", "/dev/zwave", more));
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let expected = Node {
        uid: 1000,
        gid: 77,
        ..port.node()
    };
    assert_ne!(
        port.node().gid,
        77,
        "the host has the container's number, which proves nothing"
    );
    container.gets("/dev/zwave", &Entry::Node(expected));
}

#[test]
fn an_application_can_open_the_port_and_set_it_up() {
    let bed = Bed::with_config(&port_for("\"zwave\"", "/dev/zwave", "group = \"app\""));
    let container = Recipe::new("zwave")
        .with(&["--device-cgroup-rule", "c 4:* rmw", "--user", "app"])
        .start();
    let _daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    // A console has no speed to set, but VMIN and VTIME (termios(3)), and it forgets them when
    // nobody has it open any more.
    let script = "exec 3<>/dev/serial/by-id/usb-Test_T63-if00 && \
                  stty -icanon min 7 time 3 <&3 && stty -a -F /dev/zwave";
    let shown = crate::bed::run("docker", &["exec", "zwave", "/bin/sh", "-c", script]);
    assert!(shown.contains("min = 7; time = 3;"), "{shown}");
}

#[test]
fn a_port_without_a_node_has_the_name_that_the_host_gives_it() {
    let port = stick(63);
    let sysname = port.sysname().replacen('t', "?", 1);
    let bed = Bed::with_config(&format!(
        "[[port]]\nname = \"zwave\"\nmatch = {{ sysname = {sysname:?} }}\ncontainers = [\"zwave\"]"
    ));
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets(&port.host_node(), &port.entry());
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link(&format!("../../{}", port.sysname())),
    );
    port.unplug();
    container.loses(&port.host_node());
}

#[test]
fn every_key_of_a_match_has_to_fit() {
    let right = r#"vendor = "0658", product = "02*", serial = "Z?", interface = "00",
        by-id = "usb-Test_*", by-path = "pci-*:63:1.0", driver = "cdc_acm", sysname = "TTY""#
        .replace("TTY", &stick(63).sysname())
        .replace('\n', " ");
    let bed = Bed::with_config(&format!(
        "[[port]]\nname = \"a\"\nmatch = {{ {right} }}\ncontainers = [\"zwave\"]\n\
         node = \"/dev/a\"\n[[port]]\nname = \"b\"\nmatch = {{ {} }}\n\
         containers = [\"zwave\"]\nnode = \"/dev/b\"\n",
        right.replace("cdc_acm", "ftdi_sio")
    ));
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    container.gets("/dev/a", &port.entry());
    assert_eq!(container.at("/dev/b"), Entry::Absent);
}

#[test]
fn two_ports_of_one_container_do_not_disturb_each_other() {
    let second = ZWAVE
        .replace("zwave\"\nmatch", "meter\"\nmatch")
        .replace("Z1", "M1");
    let bed = Bed::with_config(&format!(
        "{ZWAVE}{}",
        second.replace("/dev/zwave", "/dev/meter")
    ));
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let (zwave, meter) = (stick(63), Port::new(62).with("ID_SERIAL_SHORT", "M1"));
    zwave.plug();
    meter.plug();
    container.gets("/dev/zwave", &zwave.entry());
    container.gets("/dev/meter", &meter.entry());
    let watch = container.watch("/dev/meter");
    zwave.unplug();
    container.loses("/dev/zwave");
    assert_eq!(watch.stop(), [meter.entry()]);
    container.gets(
        "/dev/serial/by-id/usb-Test_T62-if00",
        &Entry::link("../../meter"),
    );
}
