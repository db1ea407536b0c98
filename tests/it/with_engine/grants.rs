//! The right to open a port comes with it and goes with it, and no other right changes.
//!
//! What a container may open is found out by opening it: nothing here reads what ttyplugd or the
//! kernel say of it.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::bed::{Bed, Container, MAJOR, Port, Recipe, SOON, eventually};

use super::ZWAVE;

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

/// Devices of every kind that a container could ask for: those that each has, terminals, USB
/// serial ports whether or not there are any, a disk, the memory, and the like.
const DEVICES: &str = "c:1:1 c:1:3 c:1:5 c:1:7 c:1:8 c:1:9 c:1:11 c:4:0 c:4:60 c:4:61 c:4:62 c:4:63 \
    c:4:64 c:5:0 c:5:1 c:5:2 c:10:200 c:10:229 c:10:237 c:166:0 c:166:1 c:188:0 c:188:1 c:188:63 \
    c:189:0 c:204:64 b:7:0 b:8:0 b:253:0 b:254:0";

/// Makes a node of each device in the container and opens it for reading and writing. Returns those
/// that the device cgroup did not refuse, which it does with EPERM before any driver is asked; the
/// driver's own refusals are others (open(2)).
fn opened(container: &Container) -> BTreeSet<String> {
    let script = format!(
        "for d in {DEVICES}; do set -- $(echo $d | tr : ' '); rm -f /tmp/d; \
         mknod /tmp/d $1 $2 $3 2>/dev/null || {{ echo no-mknod:$d; continue; }}; \
         said=$(: 2>&1 <>/tmp/d) || case $said in *'not permitted'*) continue;; esac; echo $d; done"
    );
    container.sh(&script).lines().map(str::to_owned).collect()
}

fn number(port: &Port) -> String {
    format!("c:{MAJOR}:{}", port.node().minor)
}

/// Waits until what the container may open is `before` and these.
fn may_open(container: &Container, before: &BTreeSet<String>, more: &[&Port]) {
    let mut expected = before.clone();
    expected.extend(more.iter().map(|port| number(port)));
    eventually(
        SOON,
        &format!("the container may open {expected:?}"),
        || {
            let found = opened(container);
            (found == expected)
                .then_some(())
                .ok_or_else(|| format!("it may open {found:?}"))
        },
    );
}

#[test]
fn a_port_can_be_opened_from_plug_to_unplug_and_no_other_right_changes() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let before = opened(&container);
    assert!(
        before.contains("c:1:3") && !before.contains("c:4:63"),
        "{before:?}"
    );
    let daemon = bed.daemon();
    // Another port that is there and is not for this container.
    let other = Port::new(62);
    other.plug();
    for number in [63, 61] {
        let port = stick(number);
        port.plug();
        container.gets("/dev/zwave", &port.entry());
        container.sh(": <>/dev/zwave");
        may_open(&container, &before, &[&port]);
        port.unplug();
        container.loses("/dev/zwave");
        may_open(&container, &before, &[]);
    }
    assert_eq!(daemon.count(&["no right"]), 0);
    daemon.stop();
}

#[test]
fn what_the_definition_gives_is_kept() {
    let bed = Bed::with_config(ZWAVE);
    let rule = format!("c {MAJOR}:* rmw");
    let wide = Recipe::new("zwave")
        .with(&["--device-cgroup-rule", &rule])
        .start();
    let before = opened(&wide);
    assert!(
        before.contains("c:4:63") && before.contains("c:4:60"),
        "{before:?}"
    );
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    wide.gets("/dev/zwave", &port.entry());
    port.unplug();
    wide.loses("/dev/zwave");
    may_open(&wide, &before, &[]);
    drop(wide);

    let device = Recipe::new("zwave")
        .with(&["--device", "/dev/tty63:/dev/own"])
        .start();
    let before = opened(&device);
    assert!(
        before.contains("c:4:63") && !before.contains("c:4:60"),
        "{before:?}"
    );
    port.plug();
    device.gets("/dev/zwave", &port.entry());
    port.unplug();
    device.loses("/dev/zwave");
    may_open(&device, &before, &[]);
    daemon.stop();
}

#[test]
fn what_the_runtime_gave_goes_with_the_port_and_comes_back_with_it() {
    let bed = Bed::with_runtime(ZWAVE);
    let daemon = bed.daemon();
    let plain = Recipe::new("plain").start();
    let before = opened(&plain);
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").with(&["--runtime", "ttyplug"]).start();
    may_open(&container, &before, &[&port]);
    port.unplug();
    container.loses("/dev/zwave");
    may_open(&container, &before, &[]);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    may_open(&container, &before, &[&port]);
    // And a second time: what it was created with is no reason to keep it.
    port.unplug();
    container.loses("/dev/zwave");
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn a_right_is_given_again_after_every_start_and_update_of_the_container() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let before = opened(&container);
    let daemon = bed.daemon();
    let port = stick(63);
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
fn a_right_outlives_the_daemon_and_a_port_that_went_meanwhile_takes_it_along() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let before = opened(&container);
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    may_open(&container, &before, &[&port]);
    daemon.end(Signal::SIGKILL);
    may_open(&container, &before, &[&port]);
    port.unplug();
    // Another device has its number now, and the next daemon knows what the last one gave.
    Port::new(63).plug();
    let daemon = bed.daemon();
    container.loses("/dev/zwave");
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn nothing_is_granted_where_that_is_switched_off() {
    let bed = Bed::with_config(&format!("grant = \"off\"\n{ZWAVE}"));
    let container = Recipe::new("zwave").start();
    let before = opened(&container);
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    daemon.logs(&["no right", "zwave", "device_cgroup_rules"]);
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn a_container_that_sees_the_hosts_dev_gets_the_right_and_nothing_is_written() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave")
        .with(&["--volume", "/dev:/dev"])
        .start();
    let before = opened(&container);
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    may_open(&container, &before, &[&port]);
    container.sh(": <>/dev/tty63");
    assert!(!std::path::Path::new("/dev/zwave").exists());
    port.unplug();
    may_open(&container, &before, &[]);
    daemon.stop();
}

/// What is opened all the time while rights come and go is never refused.
#[test]
fn the_other_rights_hold_while_one_changes_a_thousand_times() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    let opener = "i=0; while [ ! -e /tmp/stop ]; do : <>/dev/null || exit 1; : </dev/urandom || exit 1; \
                  i=$((i+1)); done; echo $i >/tmp/opened";
    let arguments = [
        "exec",
        "--detach",
        container.name(),
        "/bin/sh",
        "-c",
        opener,
    ];
    crate::bed::run("docker", &arguments);
    let pid: i64 = container
        .inspect("{{.State.Pid}}")
        .parse()
        .expect("it runs");
    let id = ttyplugd::inventory::ContainerId(container.inspect("{{.Id}}"));
    let group = ttyplugd::device_group::DeviceGroup::of(pid, &id).expect("it has one");
    let devnum = ttyplugd::model::DevNum {
        major: 4,
        minor: 63,
    };
    for _ in 0..500 {
        for change in [
            ttyplugd::rights::Change::Grant,
            ttyplugd::rights::Change::Revoke,
        ] {
            group
                .change(&[(devnum, change)].into())
                .expect("it can be changed");
        }
    }
    container.sh(": >/tmp/stop");
    eventually(SOON, "the opener has ended well", || {
        let opened = container.sh("cat /tmp/opened 2>/dev/null || true");
        opened
            .parse::<u32>()
            .map_err(|_| format!("it says {opened:?}"))
            .map(|_| ())
    });
    daemon.stop();
}
