//! A port is plugged in, moved, unplugged.

use crate::testbed::{Entry, Recipe, Testbed, run};

use super::setup::{
    METER, RULE, ZWAVE, meter, plugged, port_for, setup, stick, unplugged, unplugged_with,
};

#[test]
fn a_port_that_was_there_before_the_daemon_is_there() {
    let bed = Testbed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    container.has_port(&port);
    daemon.stop();
}

#[test]
fn a_port_that_is_plugged_in_appears_under_all_its_names() {
    let (_bed, container, daemon, port) = unplugged();
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    for link in [port.by_id(), port.by_path()] {
        container.gets(&link, &Entry::link("../../zwave"));
    }
    daemon.logs(&["INFO", "zwave", "/dev/zwave"]);
}

#[test]
fn an_unplugged_port_goes_with_its_links() {
    let (_bed, container, daemon, port) = plugged();
    let before = daemon.count(&["INFO", "/dev/zwave"]);
    port.unplug();
    container.loses("/dev/zwave");
    assert_eq!(container.own_names(), [""; 0]);
    daemon.logs_again(before, &["INFO", "/dev/zwave"]);
}

#[test]
fn a_port_that_is_unplugged_while_the_daemon_is_down_goes_at_its_start() {
    let (bed, container, daemon, port) = plugged();
    daemon.stop();
    port.unplug();
    assert_eq!(container.at("/dev/zwave"), port.entry());
    let _daemon = bed.daemon();
    container.lacks_port(&port);
}

#[test]
fn a_port_that_comes_back_under_another_number_keeps_its_name() {
    let (_bed, container, _daemon, old) = plugged();
    // One and the same stick on its way from ttyUSB0 to ttyUSB1: no other entry, in no other order.
    let new = stick(62);
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
    container.has_only(&[&new]);
}

#[test]
fn a_node_that_gets_another_number_is_never_absent() {
    let (_bed, container, _daemon, first) = plugged();
    let second = stick(62);
    second.plug();

    // The one that is assigned stays until it is gone; then the other takes its name at once.
    let watch = container.watch("/dev/zwave");
    first.unplug();
    container.gets("/dev/zwave", &second.entry());
    assert_eq!(watch.stop(), [first.entry(), second.entry()]);
}

#[test]
fn a_number_that_changed_while_the_daemon_was_down_is_put_right_at_its_start() {
    let (bed, container, daemon, old) = plugged();
    let new = stick(62);
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
    let config = port_for("\"zwave\"", "/dev/zwave", more);
    let (_bed, container, _daemon, port) = unplugged_with(&config);
    let port = port.mode(0o604).owner(1000).group(1234);
    for _ in 0..5 {
        let watch = container.watch("/dev/zwave");
        port.plug();
        container.gets("/dev/zwave", &port.entry());
        port.unplug();
        container.loses("/dev/zwave");
        assert_eq!(watch.stop(), [Entry::Absent, port.entry(), Entry::Absent]);
    }
}

#[test]
fn owner_and_group_are_looked_up_in_the_container() {
    let more = "owner = \"app\"\ngroup = \"dialout\"";
    let config = port_for("\"zwave\"", "/dev/zwave", more);
    let (_bed, container, _daemon, port) = unplugged_with(&config);
    assert_ne!(
        port.node().gid,
        77,
        "the host has the container's number, which proves nothing"
    );
    port.plug();
    container.has_port(&port.owner(1000).group(77));
}

#[test]
fn an_application_can_open_the_port_and_set_it_up() {
    let config = port_for("\"zwave\"", "/dev/zwave", "group = \"app\"");
    let recipe = Recipe::new("zwave").with(&RULE).with(&["--user", "app"]);
    let (_bed, container, _daemon, port) = setup(Testbed::with_config(&config), recipe);
    let link = port.by_id();
    port.plug();
    container.has_port(&port.group(1000));
    // A console has no speed to set, but VMIN and VTIME (termios(3)), and it forgets them when
    // nobody has it open any more.
    let script =
        format!("exec 3<>{link} && stty -icanon min 7 time 3 <&3 && stty -a -F /dev/zwave");
    let shown = run("docker", &["exec", "zwave", "/bin/sh", "-c", &script]);
    assert!(shown.contains("min = 7; time = 3;"), "{shown}");
}

#[test]
fn a_port_without_a_node_has_the_name_that_the_host_gives_it() {
    let port = stick(63);
    let port = port.clone().at(&port.host_node());
    let sysname = port.sysname().replacen('t', "?", 1);
    let config = format!(
        "[[port]]\nname = \"zwave\"\nmatch = {{ sysname = {sysname:?} }}\ncontainers = [\"zwave\"]"
    );
    let (_bed, container, _daemon, _) = unplugged_with(&config);
    port.plug();
    container.has_port(&port);
    port.unplug();
    container.lacks_port(&port);
}

#[test]
fn every_key_of_a_match_has_to_fit() {
    let port = stick(63);
    let by_path = port.by_path();
    let right = format!(
        r#"vendor = "0658", product = "02*", serial = "Z?", interface = "00",
        by-id = "usb-Test_*", by-path = "pci-*{}", driver = "cdc_acm", sysname = "{}""#,
        &by_path[by_path.find(":14.0").expect("it is below a controller")..],
        port.sysname()
    );
    let right = right.replace('\n', " ");
    let bed = Testbed::with_config(&format!(
        "[[port]]\nname = \"a\"\nmatch = {{ {right} }}\ncontainers = [\"zwave\"]\n\
         node = \"/dev/a\"\n[[port]]\nname = \"b\"\nmatch = {{ {} }}\n\
         containers = [\"zwave\"]\nnode = \"/dev/b\"\n",
        right.replace("cdc_acm", "ftdi_sio")
    ));
    let container = Recipe::new("zwave").start();
    port.plug();
    let _daemon = bed.daemon();
    container.has_only(&[&port.at("/dev/a")]);
}

#[test]
fn two_ports_of_one_container_do_not_disturb_each_other() {
    let (_bed, container, _daemon, zwave) = unplugged_with(&[ZWAVE, METER].concat());
    let meter = meter(62);
    zwave.plug();
    meter.plug();
    container.has_only(&[&zwave, &meter]);
    let watch = container.watch("/dev/meter");
    zwave.unplug();
    container.loses("/dev/zwave");
    assert_eq!(watch.stop(), [meter.entry()]);
    container.has_only(&[&meter]);
}

#[test]
fn without_descriptors_a_port_stays_and_another_comes_once_there_are_some() {
    let both = format!("{ZWAVE}{METER}");
    let (_bed, container, daemon, port) = unplugged_with(&both);
    port.plug();
    container.has_port(&port);
    let unlimited = daemon.limit_descriptors("3");
    let other = meter(62);
    other.plug();
    daemon.logs(&["cannot read a device", "Too many open files"]);
    daemon.reload();
    assert_eq!(container.own_names().len(), 3);
    daemon.limit_descriptors(&unlimited);
    container.has_only(&[&port, &other]);
    assert_eq!(daemon.count(&["node removed"]), 0);
    daemon.stop();
}
