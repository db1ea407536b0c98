//! Containers in which no command can make a node get it from outside.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::testbed::{Entry, Port, Recipe, Testbed, run};

use super::grants::{are_opened, may_open, opened, opened_in_its_group};
use super::setup::{Setup, port_for, setup};

/// A container whose port is to have a mode and an owner of its own.
fn unplugged(inject: &str, recipe: Recipe) -> Setup {
    let port = port_for("\"zwave\"", "/dev/zwave", "mode = \"0640\"\nowner = 1000");
    let bed = Testbed::with_config(&format!("inject = {inject:?}\n{port}"));
    let (bed, container, daemon, port) = setup(bed, recipe);
    (bed, container, daemon, port.mode(0o640).owner(1000))
}

fn zwave() -> Recipe {
    Recipe::new("zwave")
}

/// The container gets node, links and right at a plug, whole and at once, loses them at the unplug, and
/// gets them again when it is started anew. Another port that is there it may never open.
fn is_served(recipe: Recipe, said: &[&str]) {
    let (bed, container, daemon, port) = unplugged("auto", recipe);
    let opened = || opened_in_its_group(&container);
    let before = opened();
    Port::new(62).plug();
    let watch = container.watch("/dev/zwave");
    port.plug();
    container.has_port(&port);
    assert_eq!(watch.stop(), [Entry::Absent, port.entry()]);
    daemon.logs(said);
    are_opened(opened, &before, &[&port]);
    port.unplug();
    container.has_only(&[]);
    are_opened(opened, &before, &[]);
    port.plug();
    container.has_port(&port);
    container.docker(&["restart"]);
    container.has_port(&port);
    are_opened(opened, &before, &[&port]);
    container.docker(&["update", "--cpu-shares", "512"]);
    are_opened(opened, &before, &[&port]);
    daemon.end(Signal::SIGKILL);
    port.unplug();
    let daemon = bed.daemon();
    container.has_only(&[]);
    are_opened(opened, &before, &[]);
    daemon.stop();
}

#[test]
fn an_image_without_a_shell_is_served() {
    is_served(
        zwave().image("noshell"),
        &["using namespace injection", "could not execute /bin/sh"],
    );
}

#[test]
fn an_image_without_mknod_is_served() {
    is_served(
        zwave().image("nomknod"),
        &["using namespace injection", "lacks a program"],
    );
}

#[test]
fn an_image_whose_shell_hangs_is_served() {
    is_served(
        zwave().image("hangshell"),
        &["using namespace injection", "in time"],
    );
}

#[test]
fn a_container_without_capabilities_is_served() {
    is_served(zwave().with(&["--cap-drop", "ALL"]), &["node made"]);
}

#[test]
fn a_container_with_a_read_only_root_and_a_user_of_its_own_is_served() {
    let recipe = zwave()
        .image("noshell")
        .with(&["--read-only", "--user", "1000"]);
    let recipe = recipe.with(&["--security-opt", "no-new-privileges"]);
    is_served(recipe, &["using namespace injection"]);
}

#[test]
fn a_paused_container_is_served_while_it_is_paused() {
    for inject in ["auto", "namespace"] {
        let (_bed, container, daemon, port) = unplugged(inject, zwave());
        let before = opened(&container);
        container.docker(&["pause"]);
        port.plug();
        container.has_port(&port);
        container.docker(&["unpause"]);
        may_open(&container, &before, &[&port]);
        container.docker(&["pause"]);
        port.unplug();
        container.has_only(&[]);
        container.docker(&["unpause"]);
        may_open(&container, &before, &[]);
        daemon.stop();
    }
}

#[test]
fn nothing_is_executed_where_nodes_come_from_outside_alone() {
    let (_bed, container, daemon, port) = unplugged("namespace", zwave().image("hangshell"));
    let plugged = Instant::now();
    port.plug();
    container.has_port(&port);
    // A command in it would take its ten seconds.
    assert!(plugged.elapsed() < Duration::from_secs(5));
    let of_it = format!("container={}", container.inspect("{{.Id}}"));
    let since_then = ["events", "--since", "1m", "--until", "0s"];
    let execs = ["--filter", "event=exec_create", "--filter", &of_it];
    let events = run("docker", &[&since_then[..], &execs[..]].concat());
    assert_eq!(events, "");
    daemon.stop();
}

#[test]
fn what_an_exec_could_not_do_is_remembered_until_the_container_is_started_anew() {
    let (_bed, container, daemon, port) = unplugged("auto", zwave().image("noshell"));
    for _ in 0..3 {
        port.plug();
        container.has_port(&port);
        port.unplug();
        container.has_only(&[]);
    }
    assert_eq!(daemon.count(&["using namespace injection"]), 1);
    daemon.stop();
}
