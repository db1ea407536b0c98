//! What the wrapper makes of a container that is being created.

use crate::bed::{Bed, Port, SOON, eventually, output, run};

use super::{Opened, held_port, port_for, says, stick, unprivileged_zwave, zwave};

#[test]
fn a_port_that_is_there_exists_before_the_first_instruction_with_the_right_to_it_alone() {
    let more = "group = \"dialout\"\nmode = \"0640\"";
    let bed = Bed::with_runtime(&port_for("\"zwave\"", "/dev/zwave", more));
    let daemon = bed.daemon();
    let (port, other) = (stick(63), Port::new(62));
    port.plug();
    other.plug();
    let script = "stat -c '%t %T %a %u %g' /dev/zwave; opens once /dev/zwave; \
                  mknod /tmp/other c 4 62 && opens once /tmp/other";
    let container = unprivileged_zwave().command(&["sh", "-c", script]).start();
    let said = eventually(SOON, "it says all", || {
        let said = run("docker", &["logs", container.name()]);
        (said.lines().count() >= 3)
            .then(|| said.clone())
            .ok_or(said)
    });
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "4 3f 640 0 77");
    let (own, other) = (Opened::read(lines[1]), Opened::read(lines[2]));
    assert_eq!(own.result, "ok", "{own:?}");
    assert!(own.was_quick(), "{own:?}");
    assert_eq!(other.result, "EPERM", "{other:?}");
    daemon.stop();
}

#[test]
fn a_create_that_fails_leaves_no_keeper() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["/no/such/program"]).create();
    let started = output("docker", &["start", container.name()]);
    assert!(!started.status.success());
    bed.has_no_keeper();
    drop(container);

    let source = bed.file("mounted");
    std::fs::create_dir(&source).expect("a directory can be made");
    let mount = format!("type=bind,src={},dst=/etc/passwd", source.display());
    // A directory cannot be mounted on a file, which only the runtime finds out.
    let container = zwave().with(&["--mount", &mount]).create();
    let started = output("docker", &["start", container.name()]);
    assert!(!started.status.success());
    bed.has_no_keeper();
    drop(container);

    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    bed.holds(&["/dev/zwave"]);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}
