//! A container that is paused in the middle of a command of ours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::testbed::{Container, Delays, Process, Recipe, Testbed, engine, output, until};

use super::setup::{ZWAVE, stick};

/// Thaws the container with this id at the end of a round, however that is: a frozen process cannot
/// even be killed.
struct Thaw<'a>(&'a str);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        let group = format!("/sys/fs/cgroup/freezer/docker/{}", self.0);
        let _ = fs::write(Path::new(&group).join("freezer.state"), "THAWED");
    }
}

/// runc gives up on a container that begins a process at each of its tries (libcontainer,
/// cgroups/fs/freezer.go).
fn pause(container: &Container) {
    until("the container is paused", || {
        let paused = output("docker", &["pause", container.name()]);
        paused.status.success()
    });
}

/// The runtime's process that starts the command waits for one of its own in the container. If that
/// is frozen, the shim waits for both with its lock held, and every call to the engine for the
/// container with it (containerd, runtime/v2/runc/task/service.go).
#[test]
fn a_pause_in_the_middle_of_a_command_ends_with_the_unpause() {
    let bed = Testbed::with_config(&format!("inject = \"exec\"\n{ZWAVE}"));
    let container = Recipe::new("zwave").start();
    let id = container.inspect("{{.Id}}");
    let daemon = bed.daemon();
    let port = stick(63);
    let mut delays = Delays::new();
    for round in 0..50 {
        port.announce("add");
        std::thread::sleep(delays.below(Duration::from_millis(80)));
        pause(&container);
        let _thaw = Thaw(&id);
        let unpaused = Command::new("timeout")
            .args(["30", "docker", "unpause", "zwave"])
            .status();
        assert!(unpaused.is_ok_and(|ended| ended.success()), "round {round}");
        container.has_port(&port);
        port.unplug();
        container.lacks_port(&port);
    }
    daemon.stop();
}

/// Nobody who has begun the command is left, and the next daemon knows nothing of it.
#[test]
fn a_pause_in_the_middle_of_a_command_ends_though_its_daemon_has_ended() {
    let bed = Testbed::with_config(&format!("inject = \"exec\"\n{ZWAVE}"));
    let container = Recipe::new("zwave").start();
    let id = container.inspect("{{.Id}}");
    let port = stick(63);
    let mut delays = Delays::new();
    for round in 0..10 {
        let signal = [Signal::SIGKILL, Signal::SIGTERM][round % 2];
        let daemon = bed.daemon();
        port.announce("add");
        std::thread::sleep(delays.below(Duration::from_millis(80)));
        pause(&container);
        let _thaw = Thaw(&id);
        daemon.end(signal);
        let mut unpause = Process::start(Command::new("docker").args(["unpause", "zwave"]));
        let daemon = bed.daemon();
        assert!(unpause.end().success(), "round {round}");
        container.has_port(&port);
        port.unplug();
        container.lacks_port(&port);
        daemon.stop();
    }
}

/// The engine is killed while a command runs, and the stick goes before the command makes its node.
#[test]
fn what_a_command_makes_after_its_engine_has_died_goes_with_the_port() {
    let bed = Testbed::with_config(ZWAVE);
    let _live_restore = bed.live_restore();
    let container = Recipe::new("zwave").start();
    container.sh(
        "printf '#!/bin/busybox sh\\ntouch /tmp/begun; sleep 5; busybox sh \"$@\"; touch /tmp/made\\n' \
         >/tmp/sh; chmod 755 /tmp/sh; mv /tmp/sh /bin/sh",
    );
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    until("the command runs", || container.path("/tmp/begun").exists());
    engine("stop");
    port.unplug();
    until("it has made the node", || {
        container.path("/tmp/made").exists()
    });
    container.has_only(&[]);
    engine("start");
    daemon.stop();
}
