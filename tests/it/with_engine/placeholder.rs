//! Placeholders of absent ports, for programs that look before they open.

use crate::testbed::{Container, Daemon, Entry, Node, Port, Recipe, Testbed, eventually};

use super::hold::{Opening, linked_port, zwave};
use super::setup::{port_for, stick};

const NODE: &str = "/dev/zwave";

const CONFIG: &str = "placeholder = true";

/// It looks as programs do, and then opens the port once.
const LOOKING: &str = "
    for name in /dev/zwav* $0; do
        test -c $name && test -r $name && test -w $name || exit 1
    done
    opens once /dev/zwave
    exec sleep 1000000
";

/// What stands for the stick.
fn placeholder() -> Entry {
    Entry::Node(Node {
        major: 0,
        minor: 0,
        mode: 0o660,
        uid: 0,
        gid: 20,
    })
}

/// The port "zwave", of which a link is known before it is plugged in.
fn with_placeholder(more: &str) -> Testbed {
    let port = linked_port("60s");
    Testbed::with_runtime(&format!("{more}\n{port}\n{CONFIG}\n"))
}

/// A container whose program does not find the port's names would have ended by now.
fn looking(bed: &Testbed) -> (Container, Daemon, Port) {
    let port = stick(63);
    let by_id = port.by_id();
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let recipe = zwave().command(&["sh", "-c", LOOKING, &by_id]);
    (recipe.start(), daemon, port)
}

#[track_caller]
fn has_placeholder(container: &Container, port: &Port) {
    container.gets(NODE, &placeholder());
    container.gets(&port.by_id(), &port.link_at(&port.by_id()));
}

/// A program that looks first waits for the port like any other; and at every unplug and plug the
/// one takes the place of the other in one step.
fn stands_for_its_port(inject: &str) {
    let bed = with_placeholder(&format!("inject = {inject:?}"));
    let (container, daemon, port) = looking(&bed);
    bed.holds(&[NODE]);
    has_placeholder(&container, &port);

    let watch = container.watch(NODE);
    port.plug();
    eventually(
        "it is opened",
        || container.logs(),
        |said| said.starts_with("once ok"),
    );
    container.has_port(&port);
    port.unplug();
    has_placeholder(&container, &port);
    assert_eq!(watch.stop(), [placeholder(), port.entry(), placeholder()]);

    // It is ours: it is known after a restart of the daemon, and goes with its configuration.
    let watch = container.watch(NODE);
    daemon.stop();
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let opening = Opening::of(&container, &port.by_id());
    bed.holds(&[NODE]);
    assert_eq!(watch.stop(), [placeholder()]);
    bed.configure(&linked_port("60s"));
    daemon.reload();
    container.has_only(&[]);
    drop(opening);
    daemon.stop();
}

#[test]
fn a_placeholder_stands_for_its_port_where_commands_make_nodes() {
    stands_for_its_port("exec");
}

#[test]
fn a_placeholder_stands_for_its_port_where_nodes_are_made_from_outside() {
    stands_for_its_port("namespace");
}

#[test]
fn a_label_asks_for_a_placeholder() {
    let bed = Testbed::with_runtime("");
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let label = |key: &str, value: &str| format!("ttyplugd.port.zwave.{key}={value}");
    let recipe = Recipe::new("any").image("opens").wrapped();
    let recipe = recipe
        .label(&label("match", "serial=Z1"))
        .label(&label("node", NODE));
    let container = recipe.label(&label("placeholder", "true")).start();
    container.gets(NODE, &placeholder());
    let port = stick(63);
    port.plug();
    container.has_port(&port);
}

#[test]
fn without_the_runtime_there_is_no_placeholder_and_that_is_said() {
    let bed = Testbed::with_runtime(&port_for("\"zwave\"", NODE, CONFIG));
    let daemon = bed.daemon();
    let container = Recipe::new("zwave").start();
    daemon.logs(&["it gets no placeholder"]);
    container.has_only(&[]);
    let status = bed.status().expect("it answers");
    let port = &status["ports"][0];
    assert_eq!(port["state"], "failed", "{status:#}");
    assert!(
        port["cause"].to_string().contains("placeholder"),
        "{status:#}"
    );
    let findings = bed.json("check")["findings"].clone();
    let findings = findings.as_array().expect("it is a list");
    assert!(
        findings
            .iter()
            .any(|finding| finding["code"] == "placeholder"),
        "{findings:#?}"
    );

    let port = stick(63);
    port.plug();
    container.has_port(&port);
    assert_eq!(
        bed.status().expect("it answers")["ports"][0]["state"],
        "ready"
    );
}

/// The open of a placeholder in a container whose opens cannot be held would fail.
#[test]
fn without_a_keeper_there_is_no_placeholder() {
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["openat"], "action": "SCMP_ACT_LOG" }],
    });
    let bed = with_placeholder("");
    let file = bed.file("profile.json");
    std::fs::write(&file, profile.to_string()).expect("a file can be written");
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let script = "ls -d /dev/zwave; exec sleep 1000000";
    let recipe = zwave().command(&["sh", "-c", script]);
    let security = format!("seccomp={}", file.display());
    let container = recipe.with(&["--security-opt", &security]).start();
    daemon.logs(&["it gets no placeholder"]);
    container.has_only(&[]);
    assert_eq!(container.logs(), "");
}
