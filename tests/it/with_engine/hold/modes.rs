//! Containers that are run in another way than most, by the table of docs/compose-and-engines.md.

use super::super::setup::port_for;
use super::{LONG, NODE, Opening, holding, opener, says, setup, stick, wrapped, zwave};
use crate::testbed::Testbed;

#[test]
fn a_container_that_sees_the_hosts_dev_waits_until_the_device_is_plugged_in() {
    let port = stick(63);
    let node = port.host_node();
    let bed = Testbed::with_runtime(&port_for("\"zwave\"", &node, ""));
    let (bed, container, daemon, _) = setup(bed, zwave().with(&["--volume", "/dev:/dev"]));
    let opening = Opening::of(&container, &node);
    bed.holds(&[&node]);
    port.plug();
    opening.end()[0].got(&port);
    daemon.stop();
}

#[test]
fn a_container_without_a_shell_has_the_port_that_was_there_when_it_was_created() {
    let bed = holding(LONG);
    let port = stick(63);
    port.plug();
    let recipe = wrapped("zwave").image("noshell");
    let recipe = recipe.command(&["/sleep", "1000000"]);
    let (_bed, container, daemon, _) = setup(bed, recipe);
    container.has_port(&port);
    daemon.stop();
}

#[test]
fn a_container_without_capabilities_has_the_port_that_was_there_and_waits_for_another() {
    let bed = holding(LONG);
    let daemon = bed.daemon();
    let bare = || opener().with(&["--cap-drop", "ALL"]);
    let port = stick(63);
    port.plug();
    let container = bare().start();
    says(&container, 1)[0].got(&port);
    drop(container);

    port.unplug();
    let container = bare().start();
    bed.holds(&[NODE]);
    port.plug();
    says(&container, 1)[0].got(&port);
    daemon.stop();
}
