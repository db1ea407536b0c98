//! The daemon is killed, stopped and started again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use ttyplugd::engine::exec::EXEC_LIMIT;

use crate::testbed::{
    Container, Delays, Port, Process, Recipe, Testbed, run, settle, test_dir, until,
};

use super::grants::{may_open, opened};
use super::setup::{ZWAVE, odd_runtime, plugged, runtime_with, stick};

/// Lets time pass without a sleep: a kill has to be able to hit any instruction.
fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::yield_now();
    }
}

#[test]
fn a_daemon_killed_at_any_moment_converges_when_it_is_started_again() {
    let bed = Testbed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let (old, new) = (stick(62), stick(63));
    let mut delays = Delays::new();
    for round in 0..50 {
        let delay = delays.below(Duration::from_millis(250));
        let killed = AtomicBool::new(false);
        let daemon = bed.daemon();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !killed.load(Ordering::Relaxed) {
                    old.plug();
                    old.unplug();
                    new.plug();
                    new.unplug();
                }
            });
            spin(delay);
            daemon.end(Signal::SIGKILL);
            killed.store(true, Ordering::Relaxed);
        });

        // Half of the rounds end unplugged, to see that nothing stays; half plugged.
        let there = if round % 2 == 1 {
            vec![new.plug()]
        } else {
            vec![]
        };
        let daemon = bed.daemon();
        container.has_only(&there);
        daemon.stop();
        new.unplug();
    }
}

/// Right, node, links and the word to the applications come one after the other, and go so.
#[test]
fn a_daemon_killed_at_any_step_of_a_plug_or_unplug_leaves_nothing_half_done() {
    let mut delays = Delays::new();
    for (inject, limit) in [("exec", 150), ("namespace", 60)] {
        let bed = Testbed::with_config(&format!("inject = {inject:?}\n{ZWAVE}"));
        let container = Recipe::new("zwave").start();
        let before = opened(&container);
        let (port, other) = (stick(63), stick(62));
        for round in 0..40 {
            let daemon = bed.daemon();
            // A plug, an unplug, a plug, and one device in the place of another.
            let there = match round % 4 {
                1 => {
                    port.announce("remove");
                    vec![]
                }
                3 => {
                    port.announce("remove");
                    other.announce("add");
                    vec![&other]
                }
                _ => {
                    port.announce("add");
                    vec![&port]
                }
            };
            spin(delays.below(Duration::from_millis(limit)));
            daemon.end(Signal::SIGKILL);
            settle();
            let daemon = bed.daemon();
            container.has_only(&there);
            may_open(&container, &before, &there);
            if round % 4 == 3 {
                other.unplug();
                container.has_only(&[]);
                may_open(&container, &before, &[]);
            }
            daemon.stop();
        }
    }
}

#[test]
fn a_stopped_daemon_leaves_the_nodes_and_knows_them_when_it_is_started_again() {
    let bed = Testbed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let daemon = bed.daemon();
        container.has_port(&port);
        let status = daemon.end(signal);
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(container.at("/dev/zwave"), port.entry());
    }
    port.unplug();
    let _daemon = bed.daemon();
    container.has_only(&[]);
}

#[test]
fn what_somebody_else_put_there_while_the_daemon_was_down_is_not_removed() {
    let (bed, container, daemon, port) = plugged();
    daemon.stop();
    port.unplug();
    container.sh("rm /dev/zwave && mknod /dev/zwave c 1 3");
    let other = container.at("/dev/zwave");
    let _daemon = bed.daemon();
    // The link goes because it is ours, in the same pass that leaves the node.
    container.loses(&port.by_id());
    assert_eq!(container.at("/dev/zwave"), other);
}

/// The device goes, and the daemon dies, between the wrapper's question and the first look into the
/// container.
#[test]
fn a_node_that_a_container_was_created_with_goes_with_its_port() {
    let (directory, runtime) =
        odd_runtime("touch $dir/begun; until [ -e $dir/go-on ]; do sleep 0.1; done");
    let bed = Testbed::with_runtime_in_front_of(&runtime, ZWAVE);
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").wrapped().create();
    let mut start = Process::start(Command::new("docker").args(["start", "zwave"]));
    until("it is being created", || {
        directory.path().join("begun").exists()
    });
    daemon.end(Signal::SIGKILL);
    port.unplug();
    fs::write(directory.path().join("go-on"), "").expect("a file can be written");
    assert!(start.end().success());
    assert_eq!(container.at("/dev/zwave"), port.entry());
    let daemon = bed.daemon();
    container.has_only(&[]);
    daemon.stop();
}

/// What a command makes that links a port by its id.
fn link_again(container: &Container, port: &Port) {
    let link = port.by_id();
    container.sh(&format!(
        "mkdir -p /dev/serial/by-id && ln -s ../../zwave {link}"
    ));
}

/// The engine executes a command that a killed daemon has sent it, in the start that the container is in
/// by then.
#[test]
fn what_a_command_of_a_killed_daemon_makes_in_the_next_start_goes_too() {
    let (bed, container, daemon, port) = plugged();
    daemon.end(Signal::SIGKILL);
    container.docker(&["restart", "-t", "0"]);
    link_again(&container, &port);
    port.unplug();
    let daemon = bed.daemon();
    container.has_only(&[]);
    daemon.stop();
}

/// The same where it is carried out after the next daemon has looked into the container.
#[test]
fn what_a_command_of_a_killed_daemon_makes_later_in_the_next_start_goes_too() {
    let (bed, container, daemon, port) = plugged();
    daemon.end(Signal::SIGKILL);
    container.docker(&["stop", "-t", "0"]);
    port.unplug();
    let daemon = bed.daemon();
    container.docker(&["start"]);
    settle();
    link_again(&container, &port);
    daemon.reload();
    container.has_only(&[]);
    daemon.stop();
}

/// The shim starts one command after the other (containerd 1.6, runtime/v2/runc/task/service.go, `Start`),
/// and nobody waits for this one any more when its turn comes.
#[test]
fn a_command_that_the_engine_begins_too_late_makes_nothing() {
    let (directory, runtime) = runtime_with(
        "exec",
        "echo >>$dir/commands
        if rm $dir/hangs; then touch $dir/begun; until [ -e $dir/go-on ]; do sleep 0.1; done; fi
        runc \"$@\"; ended=$?; echo >>$dir/started; exit $ended",
    );
    let file = |name: &str| directory.path().join(name);
    let exec = format!("inject = \"exec\"\n{ZWAVE}");
    let bed = Testbed::with_runtime_in_front_of(&runtime, &exec);
    let daemon = bed.daemon();
    let container = Recipe::new("zwave").wrapped().start();
    fs::write(file("hangs"), "").expect("a file can be written");
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(test_dir().join("containerd.sock"));
    ctr.args(["--namespace", "moby", "tasks", "exec", "--exec-id", "hangs"]);
    let mut hangs = Process::start(ctr.args([&container.inspect("{{.Id}}"), "true"]));
    until("a command hangs", || file("begun").exists());
    let port = stick(63);
    port.plug();
    daemon.logs(&["device access granted"]);
    // The engine is asked to execute another one meanwhile.
    std::thread::sleep(Duration::from_secs(1));
    port.unplug();
    std::thread::sleep(EXEC_LIMIT + Duration::from_secs(5));
    daemon.reload();
    let lines = |name: &str| {
        let text = fs::read_to_string(file(name)).unwrap_or_default();
        text.lines().count()
    };
    if lines("commands") > 1 {
        // A newer shim starts them side by side, and none is late.
        return;
    }
    fs::write(file("go-on"), "").expect("a file can be written");
    assert!(hangs.end().success());
    until("the other command is started", || lines("started") > 1);
    until("it ends", || {
        let processes = run("docker", &["top", "zwave", "-o", "pid"]);
        processes.lines().count() == 2
    });
    daemon.reload();
    container.has_only(&[]);
    daemon.stop();
}

/// Where users are remapped a node is bound over an empty file, and the daemon may be killed between
/// the two.
#[test]
fn the_empty_file_of_a_node_that_was_being_bound_is_removed() {
    let (bed, container, daemon, port) = plugged();
    daemon.end(Signal::SIGKILL);
    let record = bed.file("run/owned.json");
    let text = fs::read_to_string(&record).expect("it was written");
    let node = format!("\"node\": \"{}\"", port.devnum());
    let bound = text.replace(&node, &node.replace("node", "bound"));
    assert_ne!(bound, text);
    fs::write(&record, bound).expect("it can be written");
    container.sh("rm /dev/zwave && : >/dev/zwave");
    port.unplug();
    let daemon = bed.daemon();
    container.has_only(&[]);
    daemon.stop();
}

/// What we made, and what is known for the next boot.
const STATE: [&str; 3] = [
    "run/owned.json",
    "state/containers.json",
    "state/ports.json",
];

#[test]
fn state_files_that_cannot_be_read_do_not_keep_it_from_working() {
    let bed = Testbed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    for file in STATE {
        let file = bed.file(file);
        let directory = file.parent().expect("it is in one");
        fs::create_dir_all(directory).expect("a directory can be made");
        fs::write(file, "{ \"cut off").expect("it can be written");
    }
    let daemon = bed.daemon();
    container.has_port(&port);
    daemon.logs(&["owned.json"]);
}

#[test]
fn state_files_are_for_root_alone() {
    let (bed, _container, _daemon, _port) = plugged();
    for name in STATE {
        let mode = || fs::metadata(bed.file(name)).map(|file| file.mode() & 0o7777);
        until(name, || mode().is_ok_and(|mode| mode == 0o600));
    }
}
