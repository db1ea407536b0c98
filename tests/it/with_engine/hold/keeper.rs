//! The keeper as a process: what it leaves behind, what it needs, and what its end means.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::testbed::{eventually, output, run, test_dir, until, until_within};

use super::{LONG, NODE, Opening, holding, open, says, setup, unplugged, zwave};

#[test]
fn a_keeper_ends_with_its_container_and_leaves_no_file() {
    let (bed, container, daemon, _port) = unplugged(LONG);
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
    let every_second = ["--health-interval", "1s"];
    let recipe = zwave().with(&["--health-cmd", "echo >> /tmp/checks"]);
    let (bed, container, _daemon, port) = setup(holding("forever"), recipe.with(&every_second));
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    let keeper = bed.keeper();
    let checks = |count| {
        until_within(Duration::from_secs(300), "health checks are made", || {
            let made = fs::read_to_string(container.path("/tmp/checks")).unwrap_or_default();
            made.lines().count() >= count
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
    let descriptors = || keeper.descriptors();
    eventually("no descriptor is left open", descriptors, |&now| {
        now <= most
    });
    let now = keeper.memory("RssAnon");
    assert!(now <= memory + 64, "RssAnon grew from {memory} to {now} kB");
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn a_keeper_that_is_killed_without_a_daemon_costs_the_serial_opens_and_a_restart_mends_it() {
    let script = "while sleep 0.1; do opens once /dev/zwave; opens others /etc/passwd; done";
    let recipe = zwave().command(&["sh", "-c", script]);
    let (bed, container, daemon, _port) = setup(holding(LONG), recipe);
    bed.holds(&[NODE]);
    daemon.end(Signal::SIGKILL);
    bed.keeper().signal(Signal::SIGKILL);
    says(&container, 1)[0].is("ENOSYS");
    // Other opens go on, programs that are executed later cannot start.
    says(&container, 2)[1].is("ok");
    let executes = || output("docker", &["exec", container.name(), "true"]);
    assert!(!executes().status.success());
    container.docker(&["restart", "--time", "0"]);
    bed.holds(&[NODE]);
    assert!(executes().status.success());
    container.docker(&["rm", "--force"]);
    until("no keeper runs", || bed.keepers().is_empty());
    // The daemon removes the files of the killed one.
    let _daemon = bed.daemon();
    bed.has_no_keeper();
}

#[test]
fn nobody_but_root_can_speak_to_wrapper_keeper_or_daemon() {
    let (bed, _container, _daemon, _port) = unplugged(LONG);
    let keeper = bed.keeper();
    let connect = |socket: &Path, user: &str| {
        let opens = test_dir().join("opens").into_os_string();
        let opens = opens.to_str().expect("it is UTF-8");
        run(opens, &["connect", &socket.to_string_lossy(), user])
    };
    assert_eq!(connect(&keeper.socket, "0"), "answered");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o7777;
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
    let (bed, _container, _daemon, _port) = unplugged(LONG);
    let keeper = bed.keeper();
    for name in keeper.open_files() {
        let name = name.to_string_lossy();
        let expected = name == "/dev/null"
            || name.starts_with("socket:")
            || name.starts_with("anon_inode:")
            || name.starts_with("/memfd:ttyplugd-keeper")
            || name.ends_with("runtime.log");
        assert!(expected, "{name}");
    }
    // Those who would be in its session or wait for it would feel its end.
    assert_eq!(keeper.session(), keeper.pid());
}
