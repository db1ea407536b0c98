//! Names from devices and labels that would do harm if a shell or a path ever got hold of them.

use nix::sys::signal::Signal;

use crate::bed::{Bed, Container, Entry, Port, Recipe, output, run};

const ENABLE: &str = "ttyplugd.enable=true";

/// Nothing that a device says may run, appear or vanish in the container.
fn unharmed(container: &Container) {
    for trace in ["/x", "/dev/x", "/tmp/x", "/pwned"] {
        assert_eq!(container.at(trace), Entry::Absent, "{trace}");
    }
    assert_ne!(container.at("/bin/sh"), Entry::Absent);
    assert_ne!(container.at("/etc/passwd"), Entry::Absent);
}

#[test]
fn hostile_serial_numbers_and_link_names_are_only_names() {
    let bed = Bed::new();
    let container = Recipe::new("all").label(ENABLE).start();
    let daemon = bed.daemon();
    let long = "l".repeat(255);
    for name in [
        "$(touch${IFS}x)",
        "`touch${IFS}x`",
        ";rm",
        ";touch${IFS}x;",
        "|reboot",
        "&touch&",
        "-rf",
        "--help",
        "*",
        "it's",
        "say\"it\"so",
        "\\",
        "\\n",
        "%s%n",
        "{{.Id}}",
        "..x",
        "é",
        &long,
    ] {
        let port = Port::new(63)
            .with("ID_SERIAL_SHORT", name)
            .with("TEST_BY_ID", name);
        port.plug();
        container.gets(&port.host_node(), &port.entry());
        container.gets(
            &format!("/dev/serial/by-id/{name}"),
            &Entry::link(&format!("../../{}", port.sysname())),
        );
        unharmed(&container);
        port.unplug();
        container.has_exactly(&[]);
    }
    daemon.stop();
}

#[test]
fn links_that_lead_elsewhere_or_are_no_text_are_not_made_and_the_node_is() {
    let bed = Bed::new();
    let container = Recipe::new("all").label(ENABLE).start();
    let daemon = bed.daemon();
    for name in [
        &b"../../../../pwned"[..],
        b"..",
        b"a/../../b",
        b"sub/dir",
        b"\xff\xfe\x80",
        b"esc\x1b[31m",
        b"two\twords",
        b".ttyplugd.1",
        b"two words",
    ] {
        let port = Port::new(63).with("TEST_BY_ID", name);
        port.plug();
        container.gets(&port.host_node(), &port.entry());
        let by_path = "/dev/serial/by-path/pci-0000:00:14.0-usb-0:63:1.0";
        container.gets(by_path, &Entry::link(&format!("../../{}", port.sysname())));
        let names = container.own_names();
        // White space ends a link's name for udevd itself, so there is the link "two" and no other.
        let expected = if name.starts_with(b"two") { 3 } else { 2 };
        assert_eq!(names.len(), expected, "{}: {names:?}", name.escape_ascii());
        unharmed(&container);
        port.unplug();
        container.has_exactly(&[]);
    }
    daemon.stop();
}

#[test]
fn properties_that_are_no_text_are_matched_and_shown_without_harm() {
    let bed = Bed::with_config(
        "[[port]]\nname = \"any\"\nmatch = { serial = \"*\" }\ncontainers = [\"any\"]\n\
         node = \"/dev/any\"",
    );
    let container = Recipe::new("any").start();
    let daemon = bed.daemon();
    let long = "s".repeat(255);
    for serial in [
        &b"\xff\xfe\x80"[..],
        b"$(touch /x)",
        b"a b",
        b";rm -rf /",
        b"\"quoted\"",
        b"esc\x1b]0;title\x07\x1b[31m",
        b"json\",\"schema\":9",
        long.as_bytes(),
    ] {
        let port = Port::new(63).with("ID_SERIAL_SHORT", serial);
        port.plug();
        container.gets("/dev/any", &port.entry());
        unharmed(&container);
        for command in [&["ports"][..], &["ports", "--json"], &["plan"], &["check"]] {
            let shown = bed.ttyplugd(command).stdout;
            let harmful = |&&byte: &&u8| byte.is_ascii_control() && byte != b'\n';
            assert_eq!(
                shown.iter().find(harmful),
                None,
                "{command:?} {}",
                shown.escape_ascii()
            );
            assert!(std::str::from_utf8(&shown).is_ok(), "{command:?}");
        }
        bed.json("ports");
        port.unplug();
        container.loses("/dev/any");
    }
    daemon.stop();
}

/// What is in an E: line of udev's database after a line feed is not a property of the device.
#[test]
fn a_line_feed_in_a_property_does_no_harm() {
    let bed = Bed::new();
    let container = Recipe::new("all").label(ENABLE).start();
    let _daemon = bed.daemon();
    let port = Port::new(63).with("TEST_NEWLINE", "1");
    port.plug();
    container.gets(&port.host_node(), &port.entry());
    bed.json("ports");
    port.unplug();
    container.has_exactly(&[]);
}

#[test]
fn hostile_labels_are_refused_by_name() {
    let bed = Bed::new();
    let daemon = bed.daemon();
    let good = Recipe::new("good").label(ENABLE).start();
    let nodes = [
        "/dev/$(touch /x)\n",
        "/dev/../etc/x",
        "/dev/null",
        "relative",
        "/dev//x",
        "/dev/.ttyplugd.x",
        "",
    ];
    let bad: Vec<Container> = (0..)
        .zip(nodes)
        .map(|(number, node)| {
            Recipe::new(&format!("bad-{number}"))
                .label("ttyplugd.port.p.match=vendor=0658")
                .label(&format!("ttyplugd.port.p.node={node}"))
                .start()
        })
        .collect();
    // These are strange, and names all the same.
    let odd = Recipe::new("odd")
        .label("ttyplugd.port.p.match=vendor=0658")
        .label("ttyplugd.port.p.node=/dev/$(touch /x) ;rm -rf '\"")
        .start();
    let port = Port::new(63);
    port.plug();
    good.gets(&port.host_node(), &port.entry());
    odd.gets("/dev/$(touch /x) ;rm -rf '\"", &port.entry());
    unharmed(&odd);
    for container in &bad {
        daemon.logs(&[container.name(), "ttyplugd.port.p.node"]);
        assert_eq!(container.own_names(), [""; 0], "{}", container.name());
        unharmed(container);
    }
    let plan = output(
        crate::bed::PROGRAM,
        &["plan", "--config", "/nonexistent.toml"],
    );
    assert!(plan.stdout.is_ascii(), "{plan:?}");
}

/// A process in the container swaps directories for links while links are made in them. It can
/// keep its own ports from being made, and do nothing else.
/// The engine puts a directory in the link's place before runc mounts anything there (moby,
/// daemon/initlayer/setup_unix.go).
#[test]
fn an_image_whose_dev_is_a_link_gets_its_port_in_a_dev_like_any_other() {
    let bed = Bed::new();
    let container = Recipe::new("all").image("linkdev").label(ENABLE).start();
    let daemon = bed.daemon();
    let port = Port::new(63);
    port.plug();
    container.gets(&port.host_node(), &port.entry());
    assert_eq!(
        container.at(&format!("/elsewhere/{}", port.sysname())),
        Entry::Absent
    );
    assert!(!std::path::Path::new("/elsewhere").exists());
    port.unplug();
    container.has_exactly(&[]);
    daemon.stop();
}

#[test]
fn a_container_that_moves_its_directories_about_cannot_lead_us_out_of_dev() {
    let bed = Bed::new();
    let calm = Recipe::new("calm").label(ENABLE).start();
    let wild = Recipe::new("wild").label(ENABLE).start();
    let daemon = bed.daemon();
    let swap = "mkdir /victim; cd /dev; while [ ! -e /stop ]; do \
                mkdir -p serial/by-id; rm -rf serial/by-id; ln -s /victim serial/by-id; \
                rm -rf serial; ln -s /victim serial; rm -f serial; done";
    run(
        "docker",
        &["exec", "--detach", "wild", "/bin/sh", "-c", swap],
    );
    let port = Port::new(63);
    for _ in 0..20 {
        port.plug();
        calm.gets(&port.host_node(), &port.entry());
        port.unplug();
        calm.loses(&port.host_node());
    }
    wild.sh("touch /stop");
    // `mkdir -p` may have followed a link that root in the container has just made, which makes
    // an empty directory where it may make one itself. Nothing was put into it.
    assert_eq!(wild.sh("find /victim ! -type d"), "");
    port.plug();
    daemon.signal(Signal::SIGHUP);
    wild.gets(&port.host_node(), &port.entry());
    wild.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link(&format!("../../{}", port.sysname())),
    );
    daemon.stop();
}
