//! Containers in which no open is ever held: nothing in them is watched.

use std::fs;

use serde_json::Value;

use super::super::setup::ENABLE;
use super::{LONG, NODE, Opening, held_port, holding, says, stick, wrapped, zwave};
use crate::testbed::{Container, Recipe, Testbed, has_words, test_dir};

const OFF: &str = "ttyplugd.hold=off";

/// Its program opens the port once and goes on running.
fn once() -> Recipe {
    let script = format!("opens once {NODE}; exec sleep 1000000");
    zwave().command(&["sh", "-c", &script])
}

/// The seccomp profile that the runtime was given, and how many filters the kernel has of it.
fn seccomp(container: &Container) -> (Value, String) {
    let id = container.inspect("{{.Id}}");
    let bundle = format!("containerd-state/io.containerd.runtime.v2.task/moby/{id}/config.json");
    let text = fs::read_to_string(test_dir().join(bundle)).expect("it is there");
    let config: Value = serde_json::from_str(&text).expect("it is JSON");
    let status = container.sh("grep Seccomp /proc/1/status");
    (config["linux"]["seccomp"].clone(), status)
}

/// A container is as the engine's own runtime would have made it, but for its node.
#[track_caller]
fn is_not_watched(bed: &Testbed, recipe: Recipe, plain: Recipe) -> Container {
    let (container, plain) = (recipe.start(), plain.start());
    assert_eq!(bed.keepers(), [], "{}", bed.runtime_log());
    assert_eq!(seccomp(&container), seccomp(&plain));
    container
}

#[test]
fn a_container_whose_ports_all_have_no_hold_has_its_node_and_no_keeper() {
    let bed = holding("off");
    let port = stick(63);
    port.plug();
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let plain = || Recipe::new("plain").image("opens");
    let container = is_not_watched(&bed, once().label(ENABLE).label(OFF), plain());
    says(&container, 1)[0].got(&port);
    drop(container);

    let unconfined = ["--security-opt", "seccomp=unconfined"];
    let recipe = once().with(&unconfined);
    let container = is_not_watched(&bed, recipe, plain().with(&unconfined));
    says(&container, 1)[0].got(&port);
    let findings = bed.json("check")["findings"].to_string();
    has_words(findings, &["hold is off for all of its ports"]);

    // What is on record says so too.
    daemon.stop();
    container.docker(&["restart", "--time", "0"]);
    assert_eq!(bed.keepers(), [], "{}", bed.runtime_log());
}

#[test]
fn the_hold_of_a_container_stands_above_that_of_the_file_and_below_that_of_a_label_of_a_port() {
    let bed = holding(LONG);
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let plain = Recipe::new("plain").image("opens");
    drop(is_not_watched(&bed, once().label(OFF), plain));

    let own = once().label(OFF).label("ttyplugd.port.own.match=serial=O1");
    let own = own.label("ttyplugd.port.own.node=/dev/own");
    let held = own.label("ttyplugd.port.own.hold=60s");
    let container = held.start();
    assert_eq!(bed.keepers().len(), 1);
    says(&container, 1)[0].is("ENOENT").at_once();
    let opening = Opening::of(&container, "/dev/own");
    bed.holds(&["/dev/own"]);
    drop(opening);
}

#[test]
fn a_hold_that_is_set_later_takes_a_restart_and_check_says_so() {
    let bed = holding("off");
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let container = wrapped("zwave").start();
    assert_eq!(bed.keepers(), []);
    bed.configure(&held_port(LONG));
    let findings = bed.json("check")["findings"].to_string();
    has_words(
        findings,
        &["no port of the container had a hold", "docker restart"],
    );
    daemon.reload();
    container.docker(&["restart", "--time", "0"]);
    assert_eq!(bed.keepers().len(), 1);
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    drop(opening);
}
