//! The right to open a port comes with it and goes with it, and no other right changes.
//!
//! The tests find out what a container may open by opening it: they read nothing that ttyplugd or
//! the kernel say of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use ttyplugd::container::device_cgroup::DeviceGroup;
use ttyplugd::model::DevNum;
use ttyplugd::model::device_access::{AccessChange, Grant, Origin};
use ttyplugd::model::inventory::ContainerId;

use crate::testbed::{
    Container, Daemon, MAJOR, Port, Recipe, Testbed, engine, eventually, run, until, until_within,
};

use super::setup::{METER, RULE, ZWAVE, meter, stick, unplugged};

/// Devices of every kind that a container could ask for: those that each has, terminals, USB
/// serial ports whether or not there are any, a disk, the memory, and the like. The test ttys are
/// opened beside them.
const DEVICES: &str = "c:1:1 c:1:3 c:1:5 c:1:7 c:1:8 c:1:9 c:1:11 c:4:0 c:4:64 c:5:0 c:5:1 c:5:2 \
    c:10:200 c:10:229 c:10:237 c:166:0 c:166:1 c:188:0 c:188:1 c:188:63 c:189:0 c:204:64 b:7:0 \
    b:8:0 b:253:0 b:254:0";

/// Makes a node of each device in the container and opens it for reading, for writing, and for both.
/// Returns what the device cgroup did not refuse, e.g. `c:1:3:rw`, which it does with EPERM before
/// any driver is asked; the driver's own refusals are others (open(2)).
pub(super) fn opened(container: &Container) -> BTreeSet<String> {
    let script = opens("/tmp/d");
    container.sh(&script).lines().map(str::to_owned).collect()
}

fn opens(node: &str) -> String {
    let ports: String = Port::all()
        .map(|port| format!(" c:{}", port.devnum()))
        .collect();
    format!(
        "may() {{ case $(eval \": 2>&1 $2{node}\") in *'not permitted'*) ;; *) echo $d:$1;; esac; }}; \
         for d in {DEVICES}{ports}; do set -- $(echo $d | tr : ' '); rm -f {node}; \
         mknod {node} $1 $2 $3 2>/dev/null || {{ echo no-mknod:$d; continue; }}; \
         may r '<'; may w '>'; may rw '<>'; done; rm -f {node}"
    )
}

/// The same for a container in which nothing can be executed: a process of the host joins its control
/// group, and opens nodes in its /dev.
pub(super) fn opened_in_its_group(container: &Container) -> BTreeSet<String> {
    let groups = fs::read_to_string(container.root().with_file_name("cgroup"));
    let groups = groups.expect("the container runs");
    let of = |controllers: &str| {
        let line = groups.lines().find_map(|line| line.split_once(controllers));
        line.map(|(_, path)| path)
    };
    let group = match of(":devices:") {
        Some(path) => format!("/sys/fs/cgroup/devices{path}"),
        None => format!("/sys/fs/cgroup{}", of("0::").expect("it has a group")),
    };
    let node = container.path("/dev/probe");
    let script = format!(
        "echo $$ >{group}/cgroup.procs && {}",
        opens(&node.to_string_lossy())
    );
    let opened = run("sh", &["-c", &script]);
    opened.lines().map(str::to_owned).collect()
}

/// The name of an access to a port in that set.
fn right(port: &Port, access: &str) -> String {
    format!("c:{}:{access}", port.devnum())
}

/// Waits until what the container may open is `before` and these.
pub(super) fn may_open(container: &Container, before: &BTreeSet<String>, more: &[&Port]) {
    are_opened(|| opened(container), before, more);
}

/// Waits until `opened` are `before` and these.
pub(super) fn are_opened(
    opened: impl Fn() -> BTreeSet<String>,
    before: &BTreeSet<String>,
    more: &[&Port],
) {
    let mut expected = before.clone();
    for port in more {
        expected.extend(["r", "w", "rw"].map(|access| right(port, access)));
    }
    let what = format!("the container may open {expected:?}");
    eventually(&what, opened, |found| *found == expected);
}

/// Unplugs the port, and waits until the container has lost its node and the right to it.
fn goes_with_its_right(port: &Port, container: &Container, before: &BTreeSet<String>) {
    port.unplug();
    container.lacks_port(port);
    may_open(container, before, &[]);
}

/// A program in the container opens the port's number over and over again, by a node of its own.
fn keeps_opening(container: &Container, port: &Port) {
    container.sh_detached(&format!(
        "mknod /tmp/port c {MAJOR} {}; \
         while :; do may=no; (: <>/tmp/port) 2>/dev/null && may=yes; \
         echo $may >/tmp/new; mv /tmp/new /tmp/may; sleep 0.1; done",
        port.minor()
    ));
}

/// Whether the last of these opens has succeeded: yes or no.
fn may_be_opened(container: &Container) -> String {
    let may = fs::read_to_string(container.path("/tmp/may"));
    may.unwrap_or_default().trim().to_owned()
}

/// The setup of most of these tests: the port is not plugged in yet, and the last value is all that
/// the container may open without it.
fn opening(bed: Testbed, recipe: Recipe) -> (Testbed, Container, Daemon, Port, BTreeSet<String>) {
    let container = recipe.start();
    let before = opened(&container);
    let daemon = bed.daemon();
    (bed, container, daemon, stick(63), before)
}

/// The container "zwave".
fn zwave() -> Recipe {
    Recipe::new("zwave")
}

fn device_group(container: &Container) -> DeviceGroup {
    let pid = container.inspect("{{.State.Pid}}");
    let id = ContainerId::of_docker(container.inspect("{{.Id}}"));
    DeviceGroup::open(pid.parse().expect("it runs"), &id).expect("it has one")
}

/// Changes the right to a port, as somebody else would.
fn change(group: &DeviceGroup, port: &Port, change: AccessChange) {
    let devnum: DevNum = port.devnum().parse().expect("it is a number");
    let (_, done) = group.change(&[(devnum, change)].into());
    done.expect("it can be changed");
}

#[test]
fn a_port_can_be_opened_from_plug_to_unplug_and_no_other_right_changes() {
    let (_bed, container, daemon, _, before) = opening(Testbed::with_config(ZWAVE), zwave());
    let right_before = before.contains(&right(&stick(63), "r"));
    assert!(before.contains("c:1:3:rw") && !right_before, "{before:?}");
    // Another port that is there and is not for this container.
    let other = Port::new(62);
    other.plug();
    for number in [63, 61] {
        let port = stick(number);
        port.plug();
        container.has_port(&port);
        container.sh(": <>/dev/zwave");
        may_open(&container, &before, &[&port]);
        goes_with_its_right(&port, &container, &before);
    }
    assert_eq!(daemon.count(&["has no access to the device"]), 0);
    daemon.stop();
}

#[test]
fn what_the_definition_gives_is_kept() {
    let bed = Testbed::with_config(ZWAVE);
    let daemon = bed.daemon();
    let (port, other) = (stick(63), stick(60));
    let device = format!("{}:/dev/own", port.host_node());
    for (definition, gives_the_other) in [(RULE, true), (["--device", &device], false)] {
        let container = zwave().with(&definition).start();
        let before = opened(&container);
        assert!(before.contains(&right(&port, "rw")), "{before:?}");
        let other = before.contains(&right(&other, "r"));
        assert_eq!(other, gives_the_other, "{before:?}");
        port.plug();
        container.has_port(&port);
        goes_with_its_right(&port, &container, &before);
    }
    daemon.stop();
}

#[test]
fn what_the_definition_gives_is_kept_letter_by_letter() {
    let bed = Testbed::with_config(ZWAVE);
    let daemon = bed.daemon();
    let port = stick(63);
    let (rule, device) = ("--device-cgroup-rule", "--device");
    let exact = format!("c {}", port.devnum());
    let own = format!("{}:/dev/own", port.host_node());
    for (option, given, letters) in [
        (rule, "c 4:* r", &["r"][..]),
        (rule, &format!("{exact} wm"), &["w"]),
        (rule, &format!("{exact} m"), &[]),
        (device, &format!("{own}:r"), &["r"]),
        (device, &format!("{own}:w"), &["w"]),
        (device, &format!("{own}:m"), &[]),
    ] {
        let container = zwave().with(&[option, given]).start();
        let before = opened(&container);
        for access in ["r", "w", "rw"] {
            let found = before.contains(&right(&port, access));
            assert_eq!(found, letters.contains(&access), "{access}: {before:?}");
        }
        for _ in 0..2 {
            port.plug();
            may_open(&container, &before, &[&port]);
            goes_with_its_right(&port, &container, &before);
        }
    }
    daemon.stop();
}

#[test]
fn a_device_that_was_given_by_a_link_is_known_by_what_it_leads_to() {
    let bed = Testbed::with_config(ZWAVE);
    let [first, second] = [62, 63].map(|number| stick(number).with("TEST_BY_ID", "usb-Z1"));
    first.plug();
    let device = format!("{}:/dev/own", first.by_id());
    let (_bed, container, daemon, _, before) = opening(bed, zwave().with(&["--device", &device]));
    assert!(before.contains(&right(&first, "rw")), "{before:?}");
    container.has_port(&first);
    goes_with_its_right(&first, &container, &before);
    // The link leads elsewhere now, and the engine has given nothing by it since.
    second.plug();
    may_open(&container, &before, &[&second]);
    goes_with_its_right(&second, &container, &before);
    daemon.stop();
}

#[test]
fn what_somebody_else_puts_in_force_again_is_taken_back_again() {
    let bed = Testbed::with_runtime(ZWAVE);
    let daemon = bed.daemon();
    let plain = Recipe::new("plain").start();
    let before = opened(&plain);
    let port = stick(63);
    port.plug();
    let container = zwave().wrapped().start();
    may_open(&container, &before, &[&port]);
    goes_with_its_right(&port, &container, &before);
    // The engine, which goes by how the container was created.
    container.docker(&["update", "--cpu-shares", "512"]);
    may_open(&container, &before, &[]);
    // Somebody else, while no daemon runs: one that has just heard of the update may be about to look.
    daemon.end(Signal::SIGKILL);
    change(&device_group(&container), &port, AccessChange::Grant);
    may_open(&container, &before, &[&port]);
    let daemon = bed.daemon();
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn what_the_runtime_gave_goes_with_the_port_and_comes_back_with_it() {
    let bed = Testbed::with_runtime(ZWAVE);
    let daemon = bed.daemon();
    let plain = Recipe::new("plain").start();
    let before = opened(&plain);
    let port = stick(63);
    port.plug();
    let container = zwave().wrapped().start();
    may_open(&container, &before, &[&port]);
    goes_with_its_right(&port, &container, &before);
    port.plug();
    container.has_port(&port);
    may_open(&container, &before, &[&port]);
    // And a second time: what it was created with is no reason to keep it.
    goes_with_its_right(&port, &container, &before);
    daemon.stop();
}

#[test]
fn a_right_is_given_again_after_every_start_and_update_of_the_container() {
    let (_bed, container, daemon, port, before) = opening(Testbed::with_config(ZWAVE), zwave());
    port.plug();
    may_open(&container, &before, &[&port]);
    container.docker(&["restart"]);
    may_open(&container, &before, &[&port]);
    container.docker(&["update", "--cpu-shares", "512"]);
    may_open(&container, &before, &[&port]);
    port.unplug();
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn while_the_engine_is_away_a_port_goes_and_comes_with_its_right() {
    let bed = Testbed::with_runtime(ZWAVE);
    let _live_restore = bed.live_restore();
    let container = zwave().start();
    let before = opened(&container);
    let (daemon, port) = (bed.daemon(), stick(63));
    // No command can be run in it then.
    keeps_opening(&container, &port);
    let may_be_opened = |expected: &str| {
        let what = format!("whether the port may be opened: {expected}");
        eventually(
            &what,
            || may_be_opened(&container),
            |found| found == expected,
        );
    };
    port.plug();
    container.has_port(&port);
    may_be_opened("yes");
    engine("stop");
    for _ in 0..2 {
        port.unplug();
        container.has_only(&[]);
        may_be_opened("no");
        port.plug();
        container.has_port(&port);
        may_be_opened("yes");
    }
    engine("start");
    port.unplug();
    container.has_only(&[]);
    may_open(&container, &before, &[]);
    daemon.stop();
}

/// How soon a right has to end with its port, whatever the container does. A command in it may take
/// 10 s.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The container's own shell never ends from now on.
fn shell_hangs(container: &Container) {
    container.sh(
        "printf '#!/bin/busybox sh\\nsleep 1000\\n' >/tmp/sh; chmod 755 /tmp/sh; mv /tmp/sh /bin/sh",
    );
}

#[test]
fn a_right_ends_at_once_though_a_command_in_the_container_hangs() {
    let bed = Testbed::with_config(&format!("inject = \"exec\"\n{ZWAVE}{METER}"));
    let (_bed, container, daemon, port, _) = opening(bed, zwave());
    port.plug();
    container.has_port(&port);
    keeps_opening(&container, &port);
    eventually("it opens", || may_be_opened(&container), |may| may == "yes");
    shell_hangs(&container);
    // One hangs already, for another port.
    meter(62).plug();
    daemon.logs(&["device access granted", &Port::new(62).sysname()]);
    port.unplug();
    until_within(AT_ONCE, "the right has ended", || {
        may_be_opened(&container) == "no"
    });
    daemon.stop();
}

#[test]
fn a_right_ends_at_once_though_its_node_cannot_be_removed() {
    let bed = Testbed::with_config(&format!("inject = \"exec\"\n{ZWAVE}"));
    let (_bed, container, daemon, port, before) = opening(bed, zwave());
    for pause in [true, false] {
        port.plug();
        container.has_port(&port);
        if pause {
            // No command can be executed in it.
            container.docker(&["pause"]);
        } else {
            shell_hangs(&container);
        }
        port.unplug();
        until_within(AT_ONCE, "the right has ended", || {
            opened_in_its_group(&container) == before
        });
        if pause {
            container.docker(&["unpause"]);
        }
    }
    daemon.stop();
}

/// The daemon that revokes it has not seen the container run.
#[test]
fn a_paused_container_keeps_no_right_of_a_port_that_went_while_the_daemon_was_down() {
    for inject in ["exec", "auto", "namespace"] {
        let bed = Testbed::with_config(&format!("inject = {inject:?}\n{ZWAVE}"));
        let (bed, container, daemon, port, before) = opening(bed, zwave());
        port.plug();
        container.has_port(&port);
        daemon.stop();
        container.docker(&["pause"]);
        port.unplug();
        let daemon = bed.daemon();
        let what = format!("it may open what it could before ({inject})");
        until(&what, || opened_in_its_group(&container) == before);
        container.docker(&["unpause"]);
        container.lacks_port(&port);
        daemon.stop();
    }
}

#[test]
fn a_right_comes_again_with_a_restarted_engine() {
    let recipe = zwave().with(&["--restart", "always"]);
    let (_bed, container, daemon, port, before) = opening(Testbed::with_config(ZWAVE), recipe);
    port.plug();
    may_open(&container, &before, &[&port]);
    engine("stop");
    engine("start");
    until("the container runs again", || {
        container.inspect("{{.State.Running}}") == "true"
    });
    may_open(&container, &before, &[&port]);
    port.unplug();
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn a_right_outlives_the_daemon_and_a_port_that_went_meanwhile_takes_it_along() {
    let (bed, container, daemon, port, before) = opening(Testbed::with_config(ZWAVE), zwave());
    port.plug();
    may_open(&container, &before, &[&port]);
    daemon.end(Signal::SIGKILL);
    may_open(&container, &before, &[&port]);
    port.unplug();
    // Another device has its number now, and the next daemon knows what the last one gave.
    Port::new(63).plug();
    let daemon = bed.daemon();
    container.lacks_port(&port);
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn a_port_whose_right_cannot_be_given_is_not_ready() {
    let (bed, container, daemon, port, before) = opening(Testbed::with_config(ZWAVE), zwave());
    daemon.stop();
    let zwave_status = || bed.status().expect("the daemon answers")["ports"][0].clone();
    // Nobody else may change a device cgroup (kernel, security/device_cgroup.c and
    // kernel/bpf/syscall.c).
    let daemon = bed.daemon_without("sys_admin");
    port.plug();
    container.has_port(&port);
    daemon.logs(&["WARN", "device_cgroup_rules", "Operation not permitted"]);
    assert_eq!(zwave_status()["state"], "failed");
    assert_eq!(bed.ttyplugd(&["check"]).status.code(), Some(1));
    may_open(&container, &before, &[]);
    daemon.stop();
    let daemon = bed.daemon();
    may_open(&container, &before, &[&port]);
    daemon.logs(&["device access granted", &port.sysname()]);
    eventually("it is ready", zwave_status, |zwave| {
        zwave["state"] == "ready"
    });
    port.unplug();
    daemon.logs(&["device access revoked"]);
    daemon.stop();
}

#[test]
fn nothing_is_granted_where_that_is_switched_off() {
    let bed = Testbed::with_config(&format!("grant = \"off\"\n{ZWAVE}"));
    let (_bed, container, daemon, port, before) = opening(bed, zwave());
    port.plug();
    container.has_port(&port);
    daemon.logs(&[
        "has no access to the device",
        "zwave",
        "device_cgroup_rules",
    ]);
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn neither_is_anything_when_a_container_is_created() {
    let bed = Testbed::with_runtime(&format!("grant = \"off\"\n{ZWAVE}"));
    let daemon = bed.daemon();
    let other = Recipe::new("other").wrapped();
    let before = opened(&other.start());
    let port = stick(63);
    port.plug();
    let container = zwave().wrapped().start();
    container.has_port(&port);
    may_open(&container, &before, &[]);
    port.unplug();
    container.lacks_port(&port);
    daemon.stop();
}

#[test]
fn a_container_that_sees_the_hosts_dev_gets_the_right_and_nothing_is_written() {
    let recipe = zwave().with(&["--volume", "/dev:/dev"]);
    let (_bed, container, daemon, port, before) = opening(Testbed::with_config(ZWAVE), recipe);
    port.plug();
    may_open(&container, &before, &[&port]);
    container.sh(&format!(": <>{}", port.host_node()));
    assert!(!Path::new("/dev/zwave").exists());
    port.unplug();
    may_open(&container, &before, &[]);
    daemon.stop();
}

/// An open of another device is never refused meanwhile.
#[test]
fn the_other_rights_hold_while_one_changes_a_thousand_times() {
    let (_bed, container, daemon, port) = unplugged();
    container.sh_detached(
        "i=0; while [ ! -e /tmp/stop ]; do : <>/dev/null || exit 1; : </dev/urandom || exit 1; \
         i=$((i+1)); [ $i != 1 ] || : >/tmp/begun; done; echo $i >/tmp/opened",
    );
    container.sh("until [ -e /tmp/begun ]; do sleep 0.1; done");
    let group = device_group(&container);
    for _ in 0..500 {
        change(&group, &port, AccessChange::Grant);
        change(
            &group,
            &port,
            AccessChange::Revoke(Grant::by(Origin::Daemon)),
        );
    }
    container.sh(": >/tmp/stop");
    let opened = || container.sh("cat /tmp/opened 2>/dev/null || true");
    eventually("the opener has ended well", opened, |opened| {
        matches!(opened.parse::<u32>(), Ok(1000..))
    });
    daemon.stop();
}
