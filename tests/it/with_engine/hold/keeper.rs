//! The keeper as a process: what it leaves behind, what it needs, and what its end means.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bed::{Bed, eventually, output, run, test_dir};

use super::{Opening, held_port, open, stick, zwave};

#[test]
fn a_keeper_ends_with_its_container_and_leaves_no_file() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().start();
    for end in [&["kill"][..], &["stop", "--time", "1"]] {
        assert_eq!(bed.keepers().len(), 1);
        container.docker(end);
        bed.has_no_keeper();
        container.docker(&["start"]);
    }
    // A keeper needs no daemon, not even to end.
    daemon.stop();
    container.docker(&["rm", "--force"]);
    bed.has_no_keeper();
}

#[test]
fn health_checks_and_execs_leak_nothing() {
    let bed = Bed::with_runtime(&held_port("forever"));
    let _daemon = bed.daemon();
    let health = [
        "--health-cmd",
        "echo >> /tmp/checks",
        "--health-interval",
        "1s",
    ];
    let container = zwave().with(&health).start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    let keeper = bed.keeper();
    let checks = |n| {
        eventually(Duration::from_secs(300), "health checks are made", || {
            let text = fs::read_to_string(container.path("/tmp/checks")).unwrap_or_default();
            let made = text.lines().count();
            (made >= n).then_some(()).ok_or_else(|| format!("{made}"))
        });
    };
    checks(2);
    for _ in 0..5 {
        open(&container, &["once", "/dev/null"]);
    }
    let memory = keeper.memory("RssAnon");
    let most = keeper.descriptors() + 2;
    for _ in 0..40 {
        open(&container, &["once", "/dev/null"]);
    }
    // A minute of them; the program that waits is given little more.
    checks(60);
    assert_eq!(bed.keeper(), keeper);
    eventually(
        Duration::from_secs(10),
        "no descriptor is left open",
        || {
            let now = keeper.descriptors();
            (now <= most)
                .then_some(())
                .ok_or_else(|| format!("{now} of {most}"))
        },
    );
    let now = keeper.memory("RssAnon");
    assert!(now <= memory + 64, "RssAnon grew from {memory} to {now} kB");
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn a_killed_keeper_costs_the_serial_opens_and_a_restart_mends_it() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let script = "while sleep 0.1; do opens once /dev/zwave; opens others /etc/passwd; done";
    let container = zwave().command(&["sh", "-c", script]).start();
    bed.holds(&["/dev/zwave"]);
    bed.keeper().signal(Signal::SIGKILL);
    let said = super::says(&container, 1);
    assert_eq!(said[0].result, "ENOSYS", "{said:?}");
    // Other opens go on, programs that are executed later cannot start.
    assert_eq!(super::says(&container, 2)[1].result, "ok");
    assert!(
        !output("docker", &["exec", container.name(), "true"])
            .status
            .success()
    );
    container.docker(&["restart", "--time", "0"]);
    bed.holds(&["/dev/zwave"]);
    assert!(
        output("docker", &["exec", container.name(), "true"])
            .status
            .success()
    );
    daemon.stop();
    container.docker(&["rm", "--force"]);
    eventually(Duration::from_secs(10), "no keeper runs", || {
        let keepers = bed.keepers();
        keepers
            .is_empty()
            .then_some(())
            .ok_or_else(|| format!("{keepers:?}"))
    });
    // What the killed one could not remove goes when the daemon finds it.
    let _daemon = bed.daemon();
    bed.has_no_keeper();
}

#[test]
fn nobody_but_root_can_speak_to_wrapper_keeper_or_daemon() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let _container = zwave().start();
    let keeper = bed.keeper();
    let connect = |socket: &Path, user: &str| {
        let opens = test_dir().join("opens").into_os_string();
        let opens = opens.to_str().expect("it is UTF-8");
        run(opens, &["connect", &socket.to_string_lossy(), user])
    };
    assert_eq!(connect(&keeper.socket, "0"), "answered");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o7777
    };
    let allow = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is there");
    };
    for socket in [keeper.socket.clone(), bed.file("run/runtime.sock")] {
        assert_eq!(mode(&socket), 0o600, "{}", socket.display());
        // Each of the gates has to keep by itself: the directory, the socket, the listener.
        let directory = socket.parent().expect("it is in one");
        allow(directory, 0o755);
        assert_eq!(connect(&socket, "65534"), "EACCES", "{}", socket.display());
        allow(&socket, 0o666);
        assert_eq!(connect(&socket, "65534"), "refused", "{}", socket.display());
    }
}

#[test]
fn a_keeper_holds_nothing_of_what_it_was_started_with() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let keeper = bed.keeper();
    let open = keeper.open_files();
    let strange: Vec<_> = open
        .iter()
        .filter(|name| {
            let name = name.to_string_lossy();
            !(name == "/dev/null"
                || name.starts_with("socket:")
                || name.starts_with("anon_inode:")
                || name.ends_with("runtime.log"))
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    // Those who would be in its session or wait for it would feel its end.
    assert_eq!(keeper.session(), keeper.pid());
    drop(container);
}
