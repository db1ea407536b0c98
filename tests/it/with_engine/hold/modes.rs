//! Containers that are run in another way than most: what the README's table says of them.

use crate::bed::{Bed, Recipe};

use super::{Opening, held_port, port_for, says, stick, zwave};

#[test]
fn a_container_that_sees_the_hosts_dev_waits_until_the_device_is_plugged_in() {
    let bed = Bed::with_runtime(&port_for("\"zwave\"", &stick(63).host_node(), ""));
    let daemon = bed.daemon();
    let container = zwave().with(&["--volume", "/dev:/dev"]).start();
    let opening = Opening::start(&container, &["once", &stick(63).host_node()]);
    bed.holds(&[&stick(63).host_node()]);
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
    daemon.stop();
}

#[test]
fn a_container_without_a_shell_has_the_port_that_was_there_when_it_was_created() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave")
        .image("noshell")
        .with(&["--runtime", "ttyplug"])
        .command(&["/sleep", "1000000"])
        .start();
    container.gets("/dev/zwave", &port.entry());
    daemon.stop();
}

#[test]
fn a_container_without_capabilities_has_the_port_that_was_there_and_waits_for_another() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let bare = || {
        let recipe = zwave().with(&["--cap-drop", "ALL"]);
        recipe.command(&["opens", "once", "/dev/zwave"])
    };
    let port = stick(63);
    port.plug();
    let container = bare().start();
    says(&container, 1)[0].got(&port);
    drop(container);

    port.unplug();
    let container = bare().start();
    bed.holds(&["/dev/zwave"]);
    port.plug();
    says(&container, 1)[0].got(&port);
    daemon.stop();
}
