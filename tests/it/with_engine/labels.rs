//! Ports asked for by container labels.

use crate::bed::{Bed, Entry, Node, Port, Recipe};

#[test]
fn enable_gives_every_usb_serial_port_under_its_host_name() {
    let bed = Bed::new();
    let _daemon = bed.daemon();
    let container = Recipe::new("all").label("ttyplugd.enable=true").start();
    let plain = Recipe::new("plain").start();
    let (first, second) = (Port::new(62), Port::new(63));
    let not_usb = Port::new(60).without("ID_BUS");
    let ignored = Port::new(61).with("TTYPLUGD_IGNORE", "1");
    for port in [&not_usb, &ignored, &first, &second] {
        port.plug();
    }
    container.gets(&first.host_node(), &first.entry());
    container.gets(&second.host_node(), &second.entry());
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link(&format!("../../{}", second.sysname())),
    );
    container.has_exactly(&[
        "serial/by-id/usb-Test_T62-if00",
        "serial/by-id/usb-Test_T63-if00",
        "serial/by-path/pci-0000:00:14.0-usb-0:62:1.0",
        "serial/by-path/pci-0000:00:14.0-usb-0:63:1.0",
        &first.sysname(),
        &second.sysname(),
    ]);
    assert_eq!(plain.own_names(), [""; 0]);
    second.unplug();
    container.loses(&second.host_node());
    assert_eq!(container.at(&first.host_node()), first.entry());
}

#[test]
fn labels_define_a_port_as_the_file_does() {
    let bed = Bed::new();
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave-js")
        .label("ttyplugd.port.zwave.match=vendor=0658,product=0200,serial=T63")
        .label("ttyplugd.port.zwave.node=/dev/zwave")
        .label("ttyplugd.port.zwave.mode=0600")
        .label("ttyplugd.port.zwave.owner=app")
        .label("ttyplugd.port.zwave.group=77")
        .label("ttyplugd.port.zwave.hold=60s")
        .start();
    let port = Port::new(63);
    Port::new(62).plug();
    port.plug();
    let expected = Node {
        mode: 0o600,
        uid: 1000,
        gid: 77,
        ..port.node()
    };
    container.gets("/dev/zwave", &Entry::Node(expected));
    assert_eq!(container.at(&Port::new(62).host_node()), Entry::Absent);
}

#[test]
fn a_label_uses_a_port_of_the_file() {
    let bed = Bed::with_config(
        "[[port]]\nname = \"zwave\"\nmatch = { vendor = \"0658\" }\nnode = \"/dev/zwave\"",
    );
    let port = Port::new(63);
    port.plug();
    let _daemon = bed.daemon();
    let container = Recipe::new("any")
        .label("ttyplugd.port.zwave.use=true")
        .start();
    container.gets("/dev/zwave", &port.entry());
}

#[test]
fn a_container_with_a_bad_label_is_left_out_and_the_others_are_served() {
    let bed = Bed::new();
    let daemon = bed.daemon();
    let bad = [
        ("bad-word", "ttyplugd.port.zwave.nodes=/dev/zwave"),
        ("bad-truth", "ttyplugd.enable=maybe"),
        ("bad-mode", "ttyplugd.port.zwave.mode=0999"),
        ("bad-path", "ttyplugd.port.zwave.node=/etc/passwd"),
        ("bad-match", "ttyplugd.port.zwave.match=[vendor"),
        ("bad-use", "ttyplugd.port.nothing.use=true"),
    ];
    let bad = bad.map(|(name, label)| {
        let recipe = Recipe::new(name).label("ttyplugd.port.zwave.match=vendor=0658");
        (label, recipe.label(label).start())
    });
    let good = Recipe::new("good").label("ttyplugd.enable=true").start();
    let port = Port::new(63);
    port.plug();
    good.gets(&port.host_node(), &port.entry());
    let check = bed.ttyplugd(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout);
    assert_eq!(check.status.code(), Some(1), "{said}");
    for (label, container) in &bad {
        let label = label.split('=').next().expect("there is always a first");
        daemon.logs(&[container.name(), label]);
        assert!(
            said.contains(container.name()) && said.contains(label),
            "{label}: {said}"
        );
        assert_eq!(container.own_names(), [""; 0], "{label}");
    }
}

#[test]
fn a_label_of_the_image_counts_only_where_the_file_says_so() {
    let bed = Bed::new();
    let port = Port::new(63);
    port.plug();
    let daemon = bed.daemon();
    let from_image = Recipe::new("from-image").image("labelled").start();
    let own = Recipe::new("own").label("ttyplugd.enable=true").start();
    own.gets(&port.host_node(), &port.entry());
    assert_eq!(from_image.own_names(), [""; 0]);
    let check = bed.ttyplugd(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(
        said.contains("from-image") && said.contains("ttyplugd.enable"),
        "{said}"
    );

    bed.configure("labels = \"image\"");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    from_image.gets(&port.host_node(), &port.entry());

    bed.configure("labels = \"off\"");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    from_image.loses(&port.host_node());
    own.loses(&port.host_node());
}
