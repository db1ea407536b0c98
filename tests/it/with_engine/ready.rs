//! A port is ready where its path, looked up in the container, is its device and may be opened, and
//! nowhere else. What is mounted on one directory of a container says nothing about another one.

use std::fs;

use serde_json::Value;

use crate::testbed::{Container, Entry, Port, Recipe, Testbed, eventually, has_words, run};

use super::hold::{NODE, Opening, held_port, linked_port};
use super::setup::{RULE, ZWAVE, port_for, setup, stick};

/// The port "zwave" as status has it, once it is in this state.
#[track_caller]
fn is(bed: &Testbed, state: &str) -> Value {
    let zwave = || bed.json("status")["ports"].get(0).cloned();
    let what = format!("the port is {state}");
    let is_it = |zwave: &Option<Value>| zwave.as_ref().is_some_and(|zwave| zwave["state"] == state);
    eventually(&what, zwave, is_it).unwrap_or_default()
}

/// Waits until these words are noted of ports, and returns all that is.
#[track_caller]
pub(super) fn is_noted(bed: &Testbed, words: &[&str]) -> String {
    let notes = || {
        let status = bed.json("status");
        let ports = status["ports"].as_array().into_iter().flatten();
        let notes = ports.map(|port| port["notes"].to_string());
        notes.collect::<String>()
    };
    let noted = |notes: &String| words.iter().all(|word| notes.contains(word));
    eventually(&format!("{words:?} is noted"), notes, noted)
}

fn waits(bed: &Testbed) -> std::process::Output {
    bed.ttyplugd(&["wait", "zwave", "--timeout", "1s"])
}

/// The port is ready, and its opens succeed.
#[track_caller]
fn is_ready(bed: &Testbed, container: &Container, path: &str) -> Value {
    let zwave = is(bed, "ready");
    assert_eq!(waits(bed).status.code(), Some(0));
    container.sh(&format!(": <>{path}"));
    zwave
}

/// The port has failed, and `status`, `wait` and `check` say so in these words.
#[track_caller]
fn has_failed(bed: &Testbed, words: &[&str]) {
    let zwave = is(bed, "failed");
    has_words(format!("{} {}", zwave["cause"], zwave["remedy"]), words);
    let waited = waits(bed);
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    has_words(&waited.stderr, words);
    let check = bed.ttyplugd(&["check"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    has_words(&check.stdout, words);
}

fn zwave(arguments: &[&str]) -> Recipe {
    Recipe::new("zwave").with(arguments)
}

/// A container under the wrapper, whose opens are held for so long.
fn held(hold: &str, arguments: &[&str]) -> (Testbed, Recipe) {
    let bed = Testbed::with_runtime(&held_port(hold));
    let recipe = zwave(arguments).image("opens").wrapped();
    (bed, recipe.with(&RULE))
}

#[test]
fn the_hosts_links_keep_no_node_away() {
    for (mounts, left) in [
        (&["--volume", "/dev/serial/by-id:/dev/serial/by-id"][..], 1),
        (&["--volume", "/dev/serial:/dev/serial:ro"], 2),
        (&["--volume", "ttyplugd-test:/dev/serial"], 2),
        (&["--tmpfs", "/dev/serial/by-id:ro"], 1),
    ] {
        let (bed, recipe) = held("60s", mounts);
        let (bed, container, daemon, port) = setup(bed, recipe);
        let opening = Opening::of(&container, NODE);
        bed.holds(&[NODE]);
        port.plug();
        opening.end()[0].got(&port);
        is_ready(&bed, &container, NODE);
        container.gets(NODE, &port.entry());
        if left == 1 {
            container.gets(&port.by_path(), &port.link_at(&port.by_path()));
        }
        // What does not lead to the port is said.
        let notes = is_noted(&bed, &[&port.by_id()]);
        assert_eq!(notes.contains(&port.by_path()), left == 2, "{notes}");
        has_words(bed.ttyplugd(&["status"]).stdout, &[&port.by_id()]);
        has_words(bed.ttyplugd(&["check"]).stdout, &["by-id"]);
        port.unplug();
        container.loses(NODE);
        daemon.stop();
    }
    run("docker", &["volume", "prune", "--force"]);
}

/// The host's own link leads to the node of the container, so nothing is missing.
#[test]
fn the_hosts_link_to_a_node_of_the_hosts_name_is_as_good_as_ours() {
    let port = stick(63);
    let port = port.clone().at(&port.host_node());
    let bed = Testbed::with_config(&port_for("\"zwave\"", &port.host_node(), ""));
    let by_id = ["--volume", "/dev/serial/by-id:/dev/serial/by-id"];
    let (bed, container, _daemon, _) = setup(bed, zwave(&by_id));
    port.plug();
    is_ready(&bed, &container, &port.by_id());
    let notes = is_noted(&bed, &["/dev/serial/by-id", "never"]);
    assert!(!notes.contains(&port.by_id()), "{notes}");
}

#[test]
fn a_link_that_leads_nowhere_goes_on_waiting_while_its_node_is_opened() {
    let by_id = ["--volume", "/dev/serial/by-id:/dev/serial/by-id"];
    let bed = Testbed::with_runtime(&linked_port("3s"));
    let recipe = zwave(&by_id).image("opens").wrapped();
    let (bed, container, _daemon, port) = setup(bed, recipe);
    let opening = Opening::of(&container, &port.by_id());
    bed.holds(&[&port.by_id()]);
    port.plug();
    is_ready(&bed, &container, NODE);
    Opening::of(&container, NODE).end()[0].got(&port);
    opening.end()[0].is("ENOENT").after_hold_of(3);
}

#[test]
fn the_hosts_dev_without_the_node_is_no_ready_port() {
    let (bed, recipe) = held("3s", &["--volume", "/dev:/dev"]);
    let (bed, container, _daemon, port) = setup(bed, recipe);
    port.plug();
    has_failed(&bed, &["host's own /dev", NODE]);
    let opened = Opening::of(&container, NODE).end().remove(0);
    opened.is("ENOENT").after_hold_of(3);
}

#[test]
fn the_hosts_dev_with_the_node_is_a_ready_port() {
    let port = stick(63);
    let bed = Testbed::with_config(&port_for("\"zwave\"", &port.host_node(), ""));
    let (bed, container, daemon, _) = setup(bed, zwave(&["--volume", "/dev:/dev"]));
    port.plug();
    is_ready(&bed, &container, &port.host_node());
    is_ready(&bed, &container, &port.by_id());
    daemon.logs(&["zwave", "host's own /dev"]);
    port.unplug();
    is(&bed, "waiting");
}

/// Docker mounts a tmpfs with nodev unless it is told otherwise (docker-run(1), --tmpfs).
#[test]
fn a_node_that_its_mount_keeps_from_being_opened_is_not_ready() {
    let config = port_for("\"zwave\"", "/dev/ports/zwave", "");
    let path = "/dev/ports/zwave";
    for (tmpfs, opens) in [("/dev/ports", false), ("/dev/ports:dev", true)] {
        let bed = Testbed::with_config(&config);
        let (bed, container, _daemon, port) = setup(bed, zwave(&["--tmpfs", tmpfs]));
        port.plug();
        match opens {
            true => drop(is_ready(&bed, &container, path)),
            false => has_failed(&bed, &[path, "nodev"]),
        }
    }
}

#[test]
fn links_in_a_tmpfs_of_the_container_are_made() {
    let bed = Testbed::with_config(ZWAVE);
    let (bed, container, _daemon, port) = setup(bed, zwave(&["--tmpfs", "/dev/serial"]));
    port.plug();
    container.has_port(&port);
    let zwave = is_ready(&bed, &container, &port.by_id());
    assert_eq!(zwave["notes"], serde_json::json!([]));
}

/// A node of a file system that is mounted with nodev, mounted over the port's own path.
#[test]
fn a_mounted_node_is_ready_if_it_may_be_opened() {
    let port = stick(63);
    for (option, opens) in [("dev", true), ("nodev", false)] {
        let bed = Testbed::with_config(ZWAVE);
        port.plug();
        let directory = bed.file("nodes");
        fs::create_dir(&directory).expect("a directory can be made");
        let text = directory.to_string_lossy().into_owned();
        run("mount", &["-t", "tmpfs", "-o", option, "tmpfs", &text]);
        let minor = port.minor().to_string();
        let node = format!("{text}/node");
        run("mknod", &[&*node, "c", "4", &minor]);
        let volume = format!("{node}:{NODE}");
        let (bed, container, daemon, _) = setup(bed, zwave(&["--volume", &volume]));
        match opens {
            true => drop(is_ready(&bed, &container, NODE)),
            false => has_failed(&bed, &[NODE, "nodev"]),
        }
        daemon.stop();
        drop(container);
        run("umount", &["--lazy", &text]);
    }
}

#[test]
fn a_port_that_the_container_may_not_open_is_not_ready() {
    let bed = Testbed::with_runtime(&format!("grant = \"off\"\n{}", held_port("3s")));
    let recipe = zwave(&[]).image("opens").wrapped();
    let (bed, container, daemon, port) = setup(bed, recipe);
    port.plug();
    container.gets(NODE, &port.entry());
    has_failed(&bed, &["device_cgroup_rules"]);
    let opened = Opening::of(&container, NODE).end().remove(0);
    opened.is("EPERM").after_hold_of(3);
    drop(container);
    let container = zwave(&RULE).start();
    is_ready(&bed, &container, NODE);
    daemon.stop();
}

/// What the image or its application has put at the path is left alone, and judged by where it leads.
#[test]
fn a_link_of_the_container_is_ready_where_it_leads_to_the_device() {
    let port = stick(63);
    port.plug();
    let bed = Testbed::with_config(ZWAVE);
    port.plug();
    let container = zwave(&["--device", &port.host_node()]).start();
    container.sh(&format!("ln -s {} {NODE}", port.host_node()));
    let _daemon = bed.daemon();
    is_ready(&bed, &container, NODE);
    let link = Entry::link(&port.host_node());
    assert_eq!(container.at(NODE), link);
    let other = Port::new(62).host_node();
    container.sh(&format!("ln -snf {other} {NODE}"));
    port.plug();
    has_failed(&bed, &[NODE, "a link"]);
}

#[test]
fn a_directory_that_cannot_be_entered_keeps_no_node_away() {
    let bed = Testbed::with_config(ZWAVE);
    let (bed, container, _daemon, port) = setup(bed, zwave(&[]));
    container.sh("ln -s serial /dev/serial");
    port.plug();
    container.gets(NODE, &port.entry());
    is_ready(&bed, &container, NODE);
    is_noted(&bed, &["/dev/serial/by-id"]);
}
