//! Owner and mode of a node are set when it is made and when the settings change. What the container
//! has changed since is left, and told.

use std::fs;

use nix::sys::signal::Signal;

use crate::testbed::{Container, Daemon, Entry, Port, Recipe, Testbed, eventually, run};

use super::ready::is_noted;
use super::setup::{Setup, port_for, setup, stick};

const NODE: &str = "/dev/zwave";

fn config(inject: &str, more: &str) -> String {
    let port = port_for("\"zwave\"", NODE, more);
    format!("inject = {inject:?}\n{port}")
}

fn plugged(inject: &str) -> Setup {
    let recipe = Recipe::new("zwave");
    let setup = setup(Testbed::with_config(&config(inject, "")), recipe);
    let (_, container, _, port) = &setup;
    port.plug();
    container.has_port(port);
    setup
}

/// The daemon looks into its containers again, and nothing is made there.
fn look_again(bed: &Testbed, container: &Container, daemon: &Daemon) {
    let looked = daemon.count(&["configuration reloaded"]);
    daemon.reload();
    daemon.logs_again(looked, &["configuration reloaded"]);
    // Another port of the container comes after that look.
    is_noted(bed, &["/dev/zwave"]);
    let more = Port::new(62).at("/dev/more");
    more.plug();
    container.gets("/dev/more", &more.entry());
    more.unplug();
    container.loses("/dev/more");
}

fn with_another_port(config: &str) -> String {
    let more = port_for("\"zwave\"", "/dev/more", "");
    let more = more.replace("\"zwave\"\nmatch", "\"more\"\nmatch");
    format!("{config}{}", more.replace("Z1", "T62"))
}

#[test]
fn what_the_container_has_changed_is_left_and_told_once() {
    for inject in ["exec", "namespace"] {
        let (bed, container, daemon, port) = plugged(inject);
        bed.configure(&with_another_port(&config(inject, "")));
        container.sh("chmod 666 /dev/zwave; chown 1000:77 /dev/zwave");
        let changed = port.clone().mode(0o666).owner(1000).group(77);
        let watch = container.watch(NODE);
        look_again(&bed, &container, &daemon);
        look_again(&bed, &container, &daemon);
        is_noted(&bed, &[NODE, "1000:77 0666", "0660"]);
        assert_eq!(daemon.count(&[NODE, "1000:77 0666", "0660"]), 1);
        daemon.end(Signal::SIGKILL);
        let daemon = bed.daemon();
        look_again(&bed, &container, &daemon);
        assert_eq!(watch.stop(), [changed.entry()]);

        // What is made anew is as it is to be.
        port.unplug();
        container.loses(NODE);
        port.plug();
        container.has_port(&port);
        let notes = || bed.json("status")["ports"].to_string();
        eventually("nothing is noted", notes, |notes| !notes.contains("0666"));
        daemon.stop();
    }
}

#[test]
fn settings_that_change_are_set_whatever_the_container_has_changed() {
    for inject in ["exec", "namespace"] {
        let (bed, container, daemon, port) = plugged(inject);
        container.sh("chmod 666 /dev/zwave");
        bed.configure(&config(inject, "mode = \"0600\""));
        daemon.reload();
        let port = port.mode(0o600);
        container.has_port(&port);
        container.sh("chmod 640 /dev/zwave");
        bed.configure(&config(inject, "mode = \"0600\"\nowner = 1000"));
        daemon.reload();
        container.has_port(&port.clone().owner(1000));
        // Back to what was set first.
        bed.configure(&config(inject, ""));
        daemon.reload();
        container.has_port(&port.mode(0o660));
        daemon.stop();
    }
}

/// The settings change while the daemon is down.
#[test]
fn settings_that_changed_meanwhile_are_set() {
    let (bed, container, daemon, port) = plugged("auto");
    container.sh("chmod 666 /dev/zwave");
    daemon.end(Signal::SIGKILL);
    bed.configure(&config("auto", "mode = \"0600\""));
    let daemon = bed.daemon();
    container.has_port(&port.mode(0o600));
    daemon.stop();
}

/// A container whose first instruction changes the node that is there already.
fn entry_script(recipe: Recipe) -> Recipe {
    recipe.command(&["sh", "-c", "chmod 666 /dev/zwave; exec sleep 1000000"])
}

#[track_caller]
fn stays_changed(bed: &Testbed, daemon: &Daemon, recipe: Recipe) {
    let port = stick(63);
    port.plug();
    let container = entry_script(recipe).start();
    let changed = port.clone().mode(0o666);
    container.gets(&port.by_id(), &port.link_at(&port.by_id()));
    container.gets(NODE, &changed.entry());
    let watch = container.watch(NODE);
    look_again(bed, &container, daemon);
    assert_eq!(watch.stop(), [changed.entry()]);
}

#[test]
fn an_entry_script_changes_the_node_that_the_container_was_created_with() {
    let bed = Testbed::with_runtime(&with_another_port(&config("auto", "")));
    let daemon = bed.daemon();
    stays_changed(&bed, &daemon, Recipe::new("zwave").wrapped());
    daemon.stop();
}

#[test]
fn an_entry_script_changes_the_node_of_the_containers_definition() {
    let bed = Testbed::with_config(&with_another_port(&config("auto", "")));
    let daemon = bed.daemon();
    let device = format!("{}:{NODE}", stick(63).host_node());
    stays_changed(
        &bed,
        &daemon,
        Recipe::new("zwave").with(&["--device", &device]),
    );
    daemon.stop();
}

/// The node of a definition has the host's mode, which is not what the port is to have.
#[test]
fn what_a_port_is_to_have_counts_for_a_node_of_the_containers_definition() {
    let bed = Testbed::with_config(&config("auto", "mode = \"0600\"\nowner = 1000"));
    let port = stick(63);
    port.plug();
    let daemon = bed.daemon();
    let device = format!("{}:{NODE}", port.host_node());
    let container = Recipe::new("zwave").with(&["--device", &device]).start();
    container.has_port(&port.mode(0o600).owner(1000));
    daemon.stop();
}

/// Some images give their users other numbers when they start.
#[test]
fn an_owner_whose_number_changes_is_set_again() {
    let bed = Testbed::with_config(&config("auto", "owner = \"app\""));
    let (bed, container, daemon, port) = setup(bed, Recipe::new("zwave"));
    port.plug();
    container.has_port(&port.clone().owner(1000));
    container.sh("sed -i s/app:x:1000/app:x:1234/ /etc/passwd");
    daemon.reload();
    container.has_port(&port.owner(1234));
    drop(bed);
}

/// A node that somebody has made is not what the container has changed.
#[test]
fn a_node_of_somebody_else_gets_the_settings_of_the_port() {
    let bed = Testbed::with_config(&config("auto", ""));
    let port = stick(63);
    let container = Recipe::new("zwave").start();
    let minor = port.minor();
    container.sh(&format!("mknod -m 777 {NODE} c 4 {minor}"));
    assert!(matches!(container.at(NODE), Entry::Node(_)));
    let daemon = bed.daemon();
    port.plug();
    container.has_port(&port);
    daemon.stop();
}

/// A rule of the operator's, as long as it is not dropped.
struct Rule(&'static str);

impl Rule {
    fn mode(port: &Port, mode: &str) -> Self {
        let file = "/run/udev/rules.d/99-operator.rules";
        let rule = format!("KERNEL==\"{}\", MODE=\"{mode}\"\n", port.sysname());
        fs::write(file, rule).expect("the directory of rules can be written to");
        run("udevadm", &["control", "--reload"]);
        Self(file)
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
        run("udevadm", &["control", "--reload"]);
    }
}

#[test]
fn a_mode_that_a_udev_rule_sets_counts_in_containers_too() {
    let bed = Testbed::with_runtime(&config("auto", ""));
    let daemon = bed.daemon();
    let port = stick(63);
    let rule = Rule::mode(&port, "0666");
    port.plug();
    let open = port.clone().mode(0o666);
    let container = Recipe::new("zwave").wrapped().start();
    container.has_port(&open);
    // Another one of the same port.
    let closed = Rule::mode(&port, "0600");
    run(
        "udevadm",
        &[
            "trigger",
            "--action=change",
            &format!("/dev/{}", port.sysname()),
        ],
    );
    container.has_port(&port.clone().mode(0o600));
    drop(closed);

    // What the definition of the port says wins.
    bed.configure(&config("auto", "mode = \"0640\""));
    daemon.reload();
    container.has_port(&port.clone().mode(0o640));
    drop(rule);
    daemon.stop();
}
