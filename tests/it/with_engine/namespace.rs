//! Containers in which no command can make a node get it from outside.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::bed::{Bed, Entry, Node, Port, Recipe, run};

use super::grants::{are_opened, may_open, opened, opened_in_its_group};
use super::port_for;

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

fn bed(inject: &str) -> Bed {
    let port = port_for("\"zwave\"", "/dev/zwave", "mode = \"0640\"\nowner = 1000");
    Bed::with_config(&format!("inject = {inject:?}\n{port}"))
}

fn as_configured(port: &Port) -> Entry {
    Entry::Node(Node {
        mode: 0o640,
        uid: 1000,
        ..port.node()
    })
}

/// The container gets node, links and right at a plug, whole and at once, loses them at the unplug, and
/// gets them again when it is started anew. Another port that is there it may never open.
fn is_served(recipe: Recipe, said: &[&str]) {
    let bed = bed("auto");
    let container = recipe.start();
    let opened = || opened_in_its_group(&container);
    let before = opened();
    let daemon = bed.daemon();
    let port = stick(63);
    Port::new(62).plug();
    let watch = container.watch("/dev/zwave");
    port.plug();
    let expected = as_configured(&port);
    container.gets("/dev/zwave", &expected);
    container.gets(
        "/dev/serial/by-path/pci-0000:00:14.0-usb-0:63:1.0",
        &Entry::link("../../zwave"),
    );
    assert_eq!(watch.stop(), [Entry::Absent, expected.clone()]);
    daemon.logs(said);
    are_opened(opened, &before, &[&port]);
    port.unplug();
    container.has_exactly(&[]);
    are_opened(opened, &before, &[]);
    port.plug();
    container.gets("/dev/zwave", &expected);
    container.docker(&["restart"]);
    container.gets("/dev/zwave", &expected);
    are_opened(opened, &before, &[&port]);
    container.docker(&["update", "--cpu-shares", "512"]);
    are_opened(opened, &before, &[&port]);
    daemon.end(Signal::SIGKILL);
    port.unplug();
    let daemon = bed.daemon();
    container.has_exactly(&[]);
    are_opened(opened, &before, &[]);
    daemon.stop();
}

#[test]
fn an_image_without_a_shell_is_served() {
    is_served(
        Recipe::new("zwave").image("noshell"),
        &["namespace injection", "/bin/sh cannot be executed"],
    );
}

#[test]
fn an_image_without_mknod_is_served() {
    is_served(
        Recipe::new("zwave").image("nomknod"),
        &["namespace injection", "lacks a program"],
    );
}

#[test]
fn an_image_whose_shell_hangs_is_served() {
    is_served(
        Recipe::new("zwave").image("hangshell"),
        &["namespace injection", "in time"],
    );
}

#[test]
fn a_container_without_capabilities_is_served() {
    let recipe = Recipe::new("zwave").with(&["--cap-drop", "ALL"]);
    is_served(recipe, &["node made"]);
}

#[test]
fn a_container_with_a_read_only_root_and_a_user_of_its_own_is_served() {
    let recipe = Recipe::new("zwave").image("noshell");
    let arguments = [
        "--read-only",
        "--user",
        "1000",
        "--security-opt",
        "no-new-privileges",
    ];
    is_served(recipe.with(&arguments), &["namespace injection"]);
}

#[test]
fn a_paused_container_is_served_while_it_is_paused() {
    for inject in ["auto", "namespace"] {
        let bed = bed(inject);
        let container = Recipe::new("zwave").start();
        let before = opened(&container);
        let daemon = bed.daemon();
        container.docker(&["pause"]);
        let port = stick(63);
        port.plug();
        container.gets("/dev/zwave", &as_configured(&port));
        container.docker(&["unpause"]);
        may_open(&container, &before, &[&port]);
        container.docker(&["pause"]);
        port.unplug();
        container.has_exactly(&[]);
        container.docker(&["unpause"]);
        may_open(&container, &before, &[]);
        daemon.stop();
    }
}

#[test]
fn nothing_is_executed_where_nodes_come_from_outside_alone() {
    let bed = bed("namespace");
    let container = Recipe::new("zwave").image("hangshell").start();
    let daemon = bed.daemon();
    let port = stick(63);
    let plugged = Instant::now();
    port.plug();
    container.gets("/dev/zwave", &as_configured(&port));
    // A command in it would take its ten seconds.
    assert!(plugged.elapsed() < Duration::from_secs(3));
    let of_it = format!("container={}", container.inspect("{{.Id}}"));
    let since_then = ["events", "--since", "1m", "--until", "0s"];
    let execs = ["--filter", "event=exec_create", "--filter", &of_it];
    let events = run("docker", &[&since_then[..], &execs[..]].concat());
    assert_eq!(events, "");
    daemon.stop();
}

#[test]
fn what_an_exec_could_not_do_is_remembered_until_the_container_is_started_anew() {
    let bed = bed("auto");
    let container = Recipe::new("zwave").image("noshell").start();
    let daemon = bed.daemon();
    let port = stick(63);
    for _ in 0..3 {
        port.plug();
        container.gets("/dev/zwave", &as_configured(&port));
        port.unplug();
        container.has_exactly(&[]);
    }
    assert_eq!(daemon.count(&["namespace injection"]), 1);
    daemon.stop();
}
