//! Containers in which a command cannot make a node, where nothing else is allowed: each is
//! reported alone, none delays another.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::testbed::{Recipe, Testbed, has_words, output, run};

use super::setup::{METER, RULE, meter, port_for, stick, unplugged, unplugged_with};

/// One port for any of the containers, by a command in them alone.
fn by_exec(containers: &str) -> String {
    let port = port_for(containers, "/dev/zwave", "");
    format!("inject = \"exec\"\n{port}")
}

/// Nothing that goes wrong in one container may take longer than this in another: half of the time
/// that an exec may take.
const UNDELAYED: Duration = Duration::from_secs(5);

/// A good container beside a bad one that `spoil` made so: the good one has its port at once,
/// the bad one is reported with these words, and the unplug is as quick.
fn a_bad_container(bad: Recipe, spoil: impl FnOnce(), words: &[&str]) {
    let bed = Testbed::with_config(&by_exec("\"good\", \"bad\""));
    let good = Recipe::new("good").start();
    let bad = bad.start();
    spoil();
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let plugged = Instant::now();
    good.has_port(&port);
    assert!(plugged.elapsed() < UNDELAYED, "{:?}", plugged.elapsed());
    daemon.logs(&[&["bad"], words].concat());
    let unplugged = Instant::now();
    port.unplug();
    good.lacks_port(&port);
    assert!(unplugged.elapsed() < UNDELAYED, "{:?}", unplugged.elapsed());
    assert_eq!(bad.own_names(), [""; 0]);
    daemon.stop();
}

/// Makes /dev in a container read-only or writable. busybox's mount reads /proc, which belongs to
/// the container's own processes, so it has to be one of them.
fn remount(container: &str, how: &str) {
    let pid = run(
        "docker",
        &["inspect", "--format", "{{.State.Pid}}", container],
    );
    let script = format!("mount -o remount,{how} /dev");
    run(
        "nsenter",
        &["-t", &pid, "-m", "-p", "/bin/sh", "-c", &script],
    );
}

#[test]
fn a_container_without_a_shell_is_reported() {
    a_bad_container(
        Recipe::new("bad").image("noshell"),
        || (),
        &["could not execute /bin/sh"],
    );
}

#[test]
fn a_container_without_mknod_is_reported() {
    a_bad_container(Recipe::new("bad").image("nomknod"), || (), &["mknod"]);
}

#[test]
fn a_container_without_the_capability_is_reported() {
    let bad = Recipe::new("bad").with(&["--cap-drop", "ALL"]);
    a_bad_container(bad, || (), &["cap"]);
}

#[test]
fn a_container_whose_dev_is_read_only_is_reported() {
    a_bad_container(Recipe::new("bad"), || remount("bad", "ro"), &["Read-only"]);
}

#[test]
fn a_container_whose_shell_hangs_is_reported() {
    a_bad_container(Recipe::new("bad").image("hangshell"), || (), &["in time"]);
}

/// The engine itself waits for the file when it looks up user 0 for an exec (moby, daemon/exec).
#[test]
fn a_container_whose_group_file_is_a_fifo_is_reported() {
    let make_fifo = || {
        let script = "rm /etc/group && mkfifo /etc/group";
        run("docker", &["exec", "bad", "/bin/sh", "-c", script]);
    };
    a_bad_container(Recipe::new("bad"), make_fifo, &[]);
}

#[test]
fn a_group_that_the_container_does_not_have_is_reported() {
    let zwave = port_for("\"zwave\"", "/dev/zwave", "group = \"nosuchgroup\"");
    let (bed, container, daemon, port) = unplugged_with(&[&zwave, METER].concat());
    let meter = meter(62);
    port.plug();
    daemon.logs(&["zwave", "nosuchgroup"]);
    meter.plug();
    container.has_only(&[&meter]);
    let check = bed.ttyplugd(&["check"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    has_words(&check.stdout, &["nosuchgroup", "container zwave"]);
}

#[test]
fn a_failure_is_tried_again_and_succeeds_when_its_cause_is_gone() {
    let (_bed, container, daemon, port) = unplugged();
    remount("zwave", "ro");
    port.plug();
    daemon.logs(&["zwave", "Read-only"]);
    remount("zwave", "rw");
    container.has_port(&port);
}

#[test]
fn check_names_what_is_missing_for_each_container() {
    let bed = Testbed::with_config(&format!("grant = \"off\"\n{}", by_exec("\"*\"")));
    stick(63).plug();
    let _noshell = Recipe::new("has-no-shell").image("noshell").start();
    let _nomknod = Recipe::new("has-no-mknod").image("nomknod").start();
    let _norule = Recipe::new("has-no-rule").start();
    let _good = Recipe::new("lacks-nothing").with(&RULE).start();
    let check = bed.ttyplugd(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout);
    assert_eq!(check.status.code(), Some(1), "{said}");
    has_words(&*said, &["has-no-shell", "shell"]);
    has_words(&*said, &["has-no-mknod", "mknod"]);
    has_words(&*said, &["has-no-rule", "device_cgroup_rules", "c 4:* rmw"]);
    let is_fault = |line: &&str| line.starts_with("error") || line.starts_with("warning");
    let faults = said.lines().filter(is_fault);
    let mut of_good = faults.filter(|line| line.contains("lacks-nothing"));
    assert_eq!(of_good.next(), None, "{said}");
}

#[test]
fn check_does_not_wait_for_a_hanging_engine() {
    let bed = Testbed::new();
    let socket = bed.file("silent.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket can be made");
    let begin = Instant::now();
    let host = format!("unix://{}", socket.display());
    let check = bed.command(&["check"]).env("DOCKER_HOST", host).output();
    let check = check.expect("timeout, of coreutils, runs");
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(45),
        "{:?}",
        begin.elapsed()
    );
    // Nothing of this test talked to the engine that is there.
    assert!(output("docker", &["version"]).status.success());
}
