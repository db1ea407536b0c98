//! What the wrapper makes of a container that is being created.

use crate::bed::{Bed, Port, SOON, eventually, output, run, test_dir};

use super::{Opened, Opening, held_port, open, port_for, says, stick, unprivileged_zwave, zwave};

#[test]
fn a_port_that_is_there_exists_before_the_first_instruction_with_the_right_to_it_alone() {
    let more = "group = \"dialout\"\nmode = \"0640\"";
    let bed = Bed::with_runtime(&port_for("\"zwave\"", "/dev/zwave", more));
    let daemon = bed.daemon();
    let (port, other) = (stick(63), Port::new(62));
    port.plug();
    other.plug();
    let script = format!(
        "stat -c '%t %T %a %u %g' /dev/zwave; opens once /dev/zwave; \
         mknod /tmp/other c 4 {} && opens once /tmp/other",
        other.minor()
    );
    let container = unprivileged_zwave().command(&["sh", "-c", &script]).start();
    let said = eventually(SOON, "it says all", || {
        let said = run("docker", &["logs", container.name()]);
        (said.lines().count() >= 3)
            .then(|| said.clone())
            .ok_or(said)
    });
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("4 {:x} 640 0 77", port.minor()));
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

/// A runtime that needs its time for `create`, or fails after a while: a shell script.
fn odd_runtime(create: &str) -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::TempDir::new_in(test_dir()).expect("it can be written to");
    let file = directory.path().join("runtime");
    let script =
        format!("#!/bin/sh\ncase \" $* \" in *' create '*) {create};; esac\nexec runc \"$@\"\n");
    std::fs::write(&file, script).expect("a file can be written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&file, executable).expect("it is ours");
    let name = file.to_string_lossy().into_owned();
    (directory, name)
}

#[test]
fn a_create_that_takes_long_does_not_lose_its_keeper() {
    let (_directory, runtime) = odd_runtime("sleep 30");
    let bed = Bed::with_runtime_in_front_of(&runtime, &held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    bed.holds(&["/dev/zwave"]);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_runtime_that_fails_leaves_no_keeper() {
    let (_directory, runtime) = odd_runtime("exit 1");
    let bed = Bed::with_runtime_in_front_of(&runtime, &held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().create();
    let started = output("docker", &["start", container.name()]);
    assert!(!started.status.success());
    assert!(bed.file("run/k").is_dir());
    bed.has_no_keeper();
}

#[test]
fn a_full_run_directory_does_not_keep_a_container_from_starting() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let run_dir = bed.file("run").to_string_lossy().into_owned();
    std::fs::create_dir(&run_dir).expect("a directory can be made");
    // Its root is its only inode (Documentation/filesystems/tmpfs.rst).
    run(
        "mount",
        &["-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", &run_dir],
    );
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    let opened = &says(&container, 1)[0];
    assert_eq!(opened.result, "ENOENT", "{opened:?}");
    assert!(opened.was_quick(), "{opened:?}");
    run("umount", &["--lazy", &run_dir]);
}

#[test]
fn a_restarted_container_is_held_by_what_is_known_of_it_without_the_daemon() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().start();
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    daemon.stop();
    port.unplug();
    container.docker(&["restart", "--time", "0"]);
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    // This container never asked for every port.
    assert!(open(&container, &["once", "/dev/ttyUSB0"])[0].was_quick());
    let port = stick(62);
    port.plug();
    let _daemon = bed.daemon();
    opening.end()[0].got(&port);
}
