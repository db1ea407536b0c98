//! How most scenarios begin.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::testbed::{Container, Daemon, Port, Recipe, Testbed, test_dir};

/// One port for one container under a fixed name.
pub(super) const ZWAVE: &str = r#"
[[port]]
name = "zwave"
match = { vendor = "0658", serial = "Z1" }
containers = ["zwave"]
node = "/dev/zwave"
"#;

/// Another one for the same container.
pub(super) const METER: &str = r#"
[[port]]
name = "meter"
match = { serial = "M1" }
containers = ["zwave"]
node = "/dev/meter"
"#;

/// Gives a container the right to open any virtual console, and so any port.
pub(super) const RULE: [&str; 2] = ["--device-cgroup-rule", "c 4:* rmw"];

/// The label by which a container asks for every port.
pub(super) const ENABLE: &str = "ttyplugd.enable=true";

/// One port by its serial number for any of the containers.
pub(super) fn port_for(containers: &str, node: &str, more: &str) -> String {
    format!(
        "[[port]]\nname = \"zwave\"\nmatch = {{ serial = \"Z1\" }}\n\
         containers = [{containers}]\nnode = {node:?}\n{more}\n"
    )
}

/// The stick of [`ZWAVE`].
pub(super) fn stick(number: u64) -> Port {
    let port = Port::new(number).with("ID_SERIAL_SHORT", "Z1");
    port.at("/dev/zwave")
}

/// The stick of [`METER`].
pub(super) fn meter(number: u64) -> Port {
    let port = Port::new(number).with("ID_SERIAL_SHORT", "M1");
    port.at("/dev/meter")
}

/// The files and the turn of a test, a container, the daemon, and the port of the container, which
/// is not plugged in yet.
///
/// A test has to bind all four, be it to `_bed`: they are dropped from the last to the first, the
/// daemon before the container, and the bed at the end.
pub(super) type Setup = (Testbed, Container, Daemon, Port);

/// The container runs before the daemon does.
pub(super) fn setup(bed: Testbed, recipe: Recipe) -> Setup {
    let container = recipe.start();
    let daemon = bed.daemon();
    (bed, container, daemon, stick(63))
}

/// The container "zwave" waits for its port.
pub(super) fn unplugged() -> Setup {
    unplugged_with(ZWAVE)
}

/// The same with another configuration.
pub(super) fn unplugged_with(config: &str) -> Setup {
    setup(Testbed::with_config(config), Recipe::new("zwave"))
}

/// The container "zwave" has its port.
pub(super) fn plugged() -> Setup {
    let setup = unplugged();
    let (_, container, _, port) = &setup;
    port.plug();
    container.has_port(port);
    setup
}

/// An OCI runtime that does something of its own before each `create`: a shell script, which has
/// its directory in `$dir`, in front of runc.
pub(super) fn odd_runtime(create: &str) -> (TempDir, String) {
    runtime_with("create", create)
}

/// The same before each call of another command of the runtime.
pub(super) fn runtime_with(call: &str, what: &str) -> (TempDir, String) {
    let directory = TempDir::new_in(test_dir()).expect("the test directory can be written to");
    let file = directory.path().join("runtime");
    let script = format!(
        "#!/bin/sh\ndir=${{0%/*}}\ncase \" $* \" in *' {call} '*) {what};; esac\n\
         exec runc \"$@\"\n"
    );
    fs::write(&file, script).expect("a file can be written");
    fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("it is ours");
    let name = file.to_string_lossy().into_owned();
    (directory, name)
}
