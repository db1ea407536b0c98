//! Ports asked for by container labels.

use crate::testbed::{Port, Recipe, Testbed, has_words};

use super::setup::{ENABLE, port_for, stick};

#[test]
fn enable_gives_every_usb_serial_port_under_its_host_name() {
    let bed = Testbed::new();
    let _daemon = bed.daemon();
    let container = Recipe::new("all").label(ENABLE).start();
    let plain = Recipe::new("plain").start();
    let (first, second) = (Port::new(62), Port::new(63));
    let not_usb = Port::new(60).without("ID_BUS");
    let ignored = Port::new(61).with("TTYPLUGD_IGNORE", "1");
    for port in [&not_usb, &ignored, &first, &second] {
        port.plug();
    }
    container.has_only(&[&first, &second]);
    assert_eq!(plain.own_names(), [""; 0]);
    second.unplug();
    container.loses(&second.container_node());
    assert_eq!(container.at(&first.container_node()), first.entry());
}

#[test]
fn labels_define_a_port_as_the_file_does() {
    let bed = Testbed::new();
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave-js")
        .label("ttyplugd.port.zwave.match=vendor=0658,product=0200,serial=Z1")
        .label("ttyplugd.port.zwave.node=/dev/zwave")
        .label("ttyplugd.port.zwave.mode=0600")
        .label("ttyplugd.port.zwave.owner=app")
        .label("ttyplugd.port.zwave.group=77")
        .label("ttyplugd.port.zwave.hold=60s")
        .start();
    Port::new(62).plug();
    let port = stick(63).mode(0o600).owner(1000).group(77);
    port.plug();
    container.has_only(&[&port]);
}

#[test]
fn a_label_uses_a_port_of_the_file() {
    let bed = Testbed::with_config(
        "[[port]]\nname = \"zwave\"\nmatch = { vendor = \"0658\" }\nnode = \"/dev/zwave\"",
    );
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    let container = Recipe::new("any")
        .label("ttyplugd.port.zwave.use=true")
        .start();
    container.has_port(&port);
}

/// A console of the operator's is such a tty, or a built-in UART.
#[test]
fn a_label_gets_a_tty_that_is_not_offered_only_by_a_port_of_the_file() {
    let of_file = |number: u64| {
        let sysname = Port::new(number).sysname();
        format!("[[port]]\nname = \"uart\"\nmatch = {{ sysname = \"{sysname}\" }}")
    };
    let bed = Testbed::with_config(&of_file(60));
    let daemon = bed.daemon();
    let (uart, port) = (Port::new(60).without("ID_BUS"), Port::new(63));
    let sysname = uart.sysname();
    let label = format!("ttyplugd.port.own.match=sysname={sysname}");
    let taker = Recipe::new("taker").label(ENABLE).label(&label).start();
    let user = Recipe::new("user")
        .label("ttyplugd.port.uart.use=true")
        .start();
    uart.plug();
    port.plug();
    user.has_port(&uart);
    taker.has_only(&[&port]);
    let words = [
        "ttyplugd.port.own.match",
        &sysname,
        "not offered to labels",
        "[[port]]",
    ];
    daemon.logs(&words[..3]);
    has_words(bed.json("check").to_string(), &words);
    let status = bed.status().expect("the daemon answers");
    has_words(status.to_string(), &words);
    daemon.stop();
}

#[test]
fn a_container_with_a_bad_label_is_left_out_and_the_others_are_served() {
    let bed = Testbed::new();
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
    let good = Recipe::new("good").label(ENABLE).start();
    let port = Port::new(63);
    port.plug();
    good.has_port(&port);
    let check = bed.ttyplugd(&["check"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    for (label, container) in &bad {
        let label = label.split('=').next().expect("there is always a first");
        daemon.logs(&[container.name(), label]);
        has_words(&check.stdout, &[container.name(), label]);
        assert_eq!(container.own_names(), [""; 0], "{label}");
    }
}

/// Docker Compose 1.29 turns `true` and `0660` without quotation marks into these, and keeps those of
/// `- label="value"`.
#[test]
fn labels_are_read_as_yaml_writes_them_and_a_mode_that_it_has_spoilt_is_refused() {
    let bed = Testbed::new();
    let daemon = bed.daemon();
    let every = Recipe::new("every").label("ttyplugd.enable=True").start();
    let quoted = Recipe::new("quoted")
        .label("ttyplugd.port.zwave.match=\"vendor=0x658\"")
        .label("ttyplugd.port.zwave.node=\"/dev/zwave\"")
        .start();
    let spoilt = Recipe::new("spoilt")
        .label("ttyplugd.port.zwave.match=vendor=0658")
        .label("ttyplugd.port.zwave.mode=432")
        .start();
    let port = Port::new(63);
    port.plug();
    every.has_port(&port);
    quoted.has_port(&port.clone().at("/dev/zwave"));
    daemon.logs(&[spoilt.name(), "ttyplugd.port.zwave.mode", "432", "0660"]);
    assert_eq!(spoilt.own_names(), [""; 0]);
    daemon.stop();
}

#[test]
fn a_label_of_the_image_counts_only_where_the_file_says_so() {
    let bed = Testbed::new();
    let port = Port::new(63);
    port.plug();
    let daemon = bed.daemon();
    let from_image = Recipe::new("from-image").image("labelled").start();
    let own = Recipe::new("own").label(ENABLE).start();
    own.has_port(&port);
    assert_eq!(from_image.own_names(), [""; 0]);
    let check = bed.ttyplugd(&["check"]);
    has_words(&check.stdout, &["from-image", "ttyplugd.enable"]);

    bed.configure("labels = \"image\"");
    daemon.reload();
    from_image.has_port(&port);

    bed.configure("labels = \"off\"");
    daemon.reload();
    from_image.lacks_port(&port);
    own.lacks_port(&port);
}

#[test]
fn a_label_that_is_too_long_is_not_kept_and_said_if_it_is_ours() {
    let bed = Testbed::new();
    let daemon = bed.daemon();
    let long = "x".repeat(100_000);
    let other = Recipe::new("other")
        .label(ENABLE)
        .label(&format!("other={long}"));
    let other = other.start();
    let port = stick(63).at(&stick(63).host_node());
    port.plug();
    other.has_port(&port);
    for label in [
        "ttyplugd.port.x.match=vendor=",
        "ttyplugd.port.x.",
        "ttyplugd.",
    ] {
        let container = Recipe::new("long")
            .label(ENABLE)
            .label(&format!("{label}{long}"));
        let before = daemon.count(&["longer than 4096 bytes"]);
        let container = container.start();
        daemon.logs_again(before, &["longer than 4096 bytes", "long"]);
        assert_eq!(container.own_names(), [""; 0]);
        let check = bed.json("check").to_string();
        has_words(&check, &["longer than 4096 bytes"]);
        assert!(check.len() < long.len(), "{}", check.len());
        container.docker(&["rm", "--force"]);
    }
    assert!(daemon.log().len() < long.len(), "{}", daemon.log().len());
    let known = std::fs::read(bed.file("state/containers.json")).expect("it is there");
    assert!(known.len() < long.len(), "{}", known.len());
    daemon.stop();
}

/// The labels by which the configuration chooses containers are kept as soon as it does so.
#[test]
fn a_label_by_which_a_new_configuration_chooses_is_known() {
    let bed = Testbed::new();
    let daemon = bed.daemon();
    let container = Recipe::new("app").label("role=zwave").start();
    let port = stick(63);
    port.plug();
    let of_role = port_for("{ label = \"role=zwave\" }", "/dev/zwave", "");
    bed.configure(&of_role);
    daemon.reload();
    container.has_port(&port);
    bed.configure(&of_role.replace("role=zwave", "role=other"));
    daemon.reload();
    container.lacks_port(&port);
    daemon.stop();
}
