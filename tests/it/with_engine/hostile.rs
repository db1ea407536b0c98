//! Names from devices and labels that would do harm if a shell or a path ever got hold of them.

use crate::testbed::{Container, Entry, PROGRAM, Port, Recipe, Testbed, output};

use super::setup::{ENABLE, Setup, setup, unplugged_with};

/// A container that is to have every port under its host's name.
fn every_port() -> Setup {
    let (bed, container, daemon, _) = setup(Testbed::new(), Recipe::new("all").label(ENABLE));
    (bed, container, daemon, Port::new(63))
}

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
    let (_bed, container, daemon, port) = every_port();
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
        let port = port.clone().with("ID_SERIAL_SHORT", name);
        let port = port.with("TEST_BY_ID", name);
        port.plug();
        container.has_port(&port);
        unharmed(&container);
        port.unplug();
        container.has_only(&[]);
    }
    daemon.stop();
}

#[test]
fn links_that_lead_elsewhere_or_are_no_text_are_not_made_and_the_node_is() {
    let (_bed, container, daemon, port) = every_port();
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
        port.clone().with("TEST_BY_ID", name).plug();
        container.has_port(&port.clone().without("TEST_BY_ID"));
        let names = container.own_names();
        // A space ends a link's name in SYMLINK, so udev makes the links "two" and /dev/words.
        let expected = if name == b"two words" { 4 } else { 2 };
        assert_eq!(names.len(), expected, "{}: {names:?}", name.escape_ascii());
        unharmed(&container);
        port.unplug();
        container.has_only(&[]);
    }
    daemon.stop();
}

#[test]
fn properties_that_are_no_text_are_matched_and_shown_without_harm() {
    let any = "[[port]]\nname = \"any\"\nmatch = { serial = \"*\" }\ncontainers = [\"zwave\"]\n\
               node = \"/dev/zwave\"";
    let (bed, container, daemon, port) = unplugged_with(any);
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
        port.clone().with("ID_SERIAL_SHORT", serial).plug();
        container.has_port(&port);
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
        container.lacks_port(&port);
    }
    daemon.stop();
}

/// The text after a line feed in an E: line of udev's database is no property of the device.
#[test]
fn a_line_feed_in_a_property_does_no_harm() {
    let (bed, container, _daemon, port) = every_port();
    port.clone().with("TEST_NEWLINE", "1").plug();
    container.has_port(&port);
    bed.json("ports");
    port.unplug();
    container.has_only(&[]);
}

#[test]
fn hostile_labels_are_refused_by_name() {
    let bed = Testbed::new();
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
    let strange = "/dev/$(touch /x) ;rm -rf '\"";
    let odd = Recipe::new("odd")
        .label("ttyplugd.port.p.match=vendor=0658")
        .label(&format!("ttyplugd.port.p.node={strange}"))
        .start();
    let port = Port::new(63);
    port.plug();
    good.has_port(&port);
    odd.has_port(&port.at(strange));
    unharmed(&odd);
    for container in &bad {
        daemon.logs(&[container.name(), "ttyplugd.port.p.node"]);
        assert_eq!(container.own_names(), [""; 0], "{}", container.name());
        unharmed(container);
    }
    let plan = output(PROGRAM, &["plan", "--config", "/nonexistent.toml"]);
    assert!(plan.stdout.is_ascii(), "{plan:?}");
}

/// The engine puts a directory in the link's place before runc mounts anything there (moby,
/// daemon/initlayer/setup_unix.go).
#[test]
fn an_image_whose_dev_is_a_link_gets_its_port_in_a_dev_like_any_other() {
    let recipe = Recipe::new("all").image("linkdev").label(ENABLE);
    let (_bed, container, daemon, _) = setup(Testbed::new(), recipe);
    let port = Port::new(63);
    port.plug();
    container.has_port(&port);
    let elsewhere = format!("/elsewhere/{}", port.sysname());
    assert_eq!(container.at(&elsewhere), Entry::Absent);
    assert!(!std::path::Path::new("/elsewhere").exists());
    port.unplug();
    container.has_only(&[]);
    daemon.stop();
}

/// A process in the container swaps directories for links while links are made in them. It can
/// keep its own ports from being made, and do nothing else.
#[test]
fn a_container_that_moves_its_directories_about_cannot_lead_us_out_of_dev() {
    let (_bed, calm, daemon, port) = every_port();
    let wild = Recipe::new("wild").label(ENABLE).start();
    wild.sh_detached(
        "mkdir /victim; cd /dev; while [ ! -e /stop ]; do \
         mkdir -p serial/by-id; rm -rf serial/by-id; ln -s /victim serial/by-id; \
         rm -rf serial; ln -s /victim serial; rm -f serial; done",
    );
    for _ in 0..20 {
        port.plug();
        calm.has_port(&port);
        port.unplug();
        calm.lacks_port(&port);
    }
    wild.sh("touch /stop");
    // `mkdir -p` may have followed a link that root in the container has just made, which makes
    // an empty directory where it may make one itself. Nothing was put into it.
    assert_eq!(wild.sh("find /victim ! -type d"), "");
    port.plug();
    daemon.reload();
    wild.has_port(&port);
    daemon.stop();
}
