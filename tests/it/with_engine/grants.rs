//! The right to open a port comes with it and goes with it, and no other right changes.
//!
//! What a container may open is found out by opening it: nothing here reads what ttyplugd or the
//! kernel say of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use ttyplugd::device_group::DeviceGroup;
use ttyplugd::inventory::ContainerId;
use ttyplugd::model::DevNum;
use ttyplugd::rights::{Change, Given};

use crate::bed::{Bed, Container, Daemon, MAJOR, Port, Recipe, SOON, engine, eventually, run};

use super::ZWAVE;

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

/// Devices of every kind that a container could ask for: those that each has, terminals, USB
/// serial ports whether or not there are any, a disk, the memory, and the like.
const DEVICES: &str = "c:1:1 c:1:3 c:1:5 c:1:7 c:1:8 c:1:9 c:1:11 c:4:0 c:4:64 c:5:0 c:5:1 c:5:2 c:10:200 c:10:229 c:10:237 c:166:0 c:166:1 c:188:0 c:188:1 c:188:63 \
    c:189:0 c:204:64 b:7:0 b:8:0 b:253:0 b:254:0";

/// Makes a node of each device in the container and opens it for reading, for writing, and for both.
/// Returns what the device cgroup did not refuse, e.g. `c:1:3:rw`, which it does with EPERM before
/// any driver is asked; the driver's own refusals are others (open(2)).
pub(super) fn opened(container: &Container) -> BTreeSet<String> {
    let script = opens("/tmp/d");
    container.sh(&script).lines().map(str::to_owned).collect()
}

fn opens(node: &str) -> String {
    let ports = [60, 61, 62, 63].map(|number| format!("c:{}", Port::new(number).devnum()));
    let ports = ports.join(" ");
    format!(
        "may() {{ case $(eval \": 2>&1 $2{node}\") in *'not permitted'*) ;; *) echo $d:$1;; esac; }}; \
         for d in {ports} {DEVICES}; do set -- $(echo $d | tr : ' '); rm -f {node}; \
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

/// What `access` to a port is called there.
fn right(port: &Port, access: &str) -> String {
    format!("c:{MAJOR}:{}:{access}", port.node().minor)
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
    eventually(
        SOON,
        &format!("the container may open {expected:?}"),
        || {
            let found = opened();
            (found == expected)
                .then_some(())
                .ok_or_else(|| format!("it may open {found:?}"))
        },
    );
}

/// Unplugs the port, and waits until the container has lost its node and the right to it.
fn goes_with_its_right(port: &Port, container: &Container, before: &BTreeSet<String>) {
    port.unplug();
    container.loses("/dev/zwave");
    may_open(container, before, &[]);
}

/// What most of these tests begin with: a container that is to have a port which is not plugged in
/// yet, what it may open without it, and the daemon.
fn opening(bed: &Bed, recipe: Recipe) -> (Container, BTreeSet<String>, Daemon, Port) {
    let container = recipe.start();
    let before = opened(&container);
    (container, before, bed.daemon(), stick(63))
}

fn device_group(container: &Container) -> DeviceGroup {
    let pid = container.inspect("{{.State.Pid}}");
    let id = ContainerId(container.inspect("{{.Id}}"));
    DeviceGroup::of(pid.parse().expect("it runs"), &id).expect("it has one")
}

/// Changes the right to tty63, as somebody else would.
fn change(group: &DeviceGroup, change: Change) {
    let devnum = DevNum {
        major: 4,
        minor: stick(63).minor().try_into().expect("it is small"),
    };
    let (_, done) = group.change(&[(devnum, change)].into());
    done.expect("it can be changed");
}

#[test]
fn a_port_can_be_opened_from_plug_to_unplug_and_no_other_right_changes() {
    let bed = Bed::with_config(ZWAVE);
    let (container, before, daemon, _) = opening(&bed, Recipe::new("zwave"));
    assert!(
        before.contains("c:1:3:rw") && !before.contains(&right(&stick(63), "r")),
        "{before:?}"
    );
    // Another port that is there and is not for this container.
    let other = Port::new(62);
    other.plug();
    for number in [63, 61] {
        let port = stick(number);
        port.plug();
        container.gets("/dev/zwave", &port.entry());
        container.sh(": <>/dev/zwave");
        may_open(&container, &before, &[&port]);
        goes_with_its_right(&port, &container, &before);
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
        before.contains(&right(&stick(63), "rw")) && before.contains(&right(&stick(60), "rw")),
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
        .with(&["--device", &format!("{}:/dev/own", port.host_node())])
        .start();
    let before = opened(&device);
    assert!(
        before.contains(&right(&port, "rw")) && !before.contains(&right(&stick(60), "r")),
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
fn what_the_definition_gives_is_kept_letter_by_letter() {
    let bed = Bed::with_config(ZWAVE);
    let daemon = bed.daemon();
    let port = stick(63);
    let (node, devnum) = (port.host_node(), port.devnum());
    let node = node.as_str();
    for (arguments, letters) in [
        (
            ["--device-cgroup-rule".to_owned(), "c 4:* r".into()],
            &["r"][..],
        ),
        (
            ["--device-cgroup-rule".to_owned(), format!("c {devnum} wm")],
            &["w"],
        ),
        (
            ["--device-cgroup-rule".to_owned(), format!("c {devnum} m")],
            &[],
        ),
        (
            ["--device".to_owned(), format!("{node}:/dev/own:r")],
            &["r"],
        ),
        (
            ["--device".to_owned(), format!("{node}:/dev/own:w")],
            &["w"],
        ),
        (["--device".to_owned(), format!("{node}:/dev/own:m")], &[]),
    ] {
        let container = Recipe::new("zwave")
            .with(&[arguments[0].as_str(), &arguments[1]])
            .start();
        let before = opened(&container);
        for access in ["r", "w", "rw"] {
            let expected = letters.contains(&access);
            assert_eq!(
                before.contains(&right(&port, access)),
                expected,
                "{before:?}"
            );
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
    let bed = Bed::with_config(ZWAVE);
    let link = "/dev/serial/by-id/usb-Z1";
    let [first, second] = [62, 63].map(|number| stick(number).with("TEST_BY_ID", "usb-Z1"));
    first.plug();
    let device = format!("{link}:/dev/own");
    let container = Recipe::new("zwave").with(&["--device", &device]).start();
    let before = opened(&container);
    assert!(before.contains(&right(&first, "rw")), "{before:?}");
    let daemon = bed.daemon();
    container.gets("/dev/zwave", &first.entry());
    goes_with_its_right(&first, &container, &before);
    // The link leads elsewhere now, and the engine has given nothing by it since.
    second.plug();
    may_open(&container, &before, &[&second]);
    goes_with_its_right(&second, &container, &before);
    daemon.stop();
}

#[test]
fn what_somebody_else_puts_in_force_again_is_taken_back_again() {
    let bed = Bed::with_runtime(ZWAVE);
    let daemon = bed.daemon();
    let plain = Recipe::new("plain").start();
    let before = opened(&plain);
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").with(&["--runtime", "ttyplug"]).start();
    may_open(&container, &before, &[&port]);
    goes_with_its_right(&port, &container, &before);
    // The engine, which goes by how the container was created.
    let revoked = daemon.count(&["action=\"revoke\""]);
    container.docker(&["update", "--cpu-shares", "512"]);
    daemon.logs_again(revoked, &["action=\"revoke\""]);
    may_open(&container, &before, &[]);
    // Whoever else: the daemon that finds it may be another one.
    change(&device_group(&container), Change::Grant);
    may_open(&container, &before, &[&port]);
    daemon.end(Signal::SIGKILL);
    let daemon = bed.daemon();
    may_open(&container, &before, &[]);
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
    goes_with_its_right(&port, &container, &before);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    may_open(&container, &before, &[&port]);
    // And a second time: what it was created with is no reason to keep it.
    goes_with_its_right(&port, &container, &before);
    daemon.stop();
}

#[test]
fn a_right_is_given_again_after_every_start_and_update_of_the_container() {
    let bed = Bed::with_config(ZWAVE);
    let (container, before, daemon, port) = opening(&bed, Recipe::new("zwave"));
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
    let bed = Bed::with_runtime(ZWAVE);
    let _live_restore = bed.live_restore();
    let (container, before, daemon, port) = opening(&bed, Recipe::new("zwave"));
    // No command can be run in it then.
    let looks = format!(
        "mknod /tmp/port c 4 {}; while :; do may=no; (: <>/tmp/port) 2>/dev/null && may=yes; \
                 echo $may >/tmp/new; mv /tmp/new /tmp/may; sleep 0.1; done",
        port.minor()
    );
    let name = container.name();
    run(
        "docker",
        &["exec", "--detach", name, "/bin/sh", "-c", &looks],
    );
    let may_be_opened = |expected: &str| {
        let what = format!("whether the port may be opened: {expected}");
        eventually(SOON, &what, || {
            let found = std::fs::read_to_string(container.path("/tmp/may"));
            let found = found.map_err(|error| error.to_string())?;
            (found.trim() == expected).then_some(()).ok_or(found)
        });
    };
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    may_be_opened("yes");
    engine("stop");
    for _ in 0..2 {
        port.unplug();
        container.has_exactly(&[]);
        may_be_opened("no");
        port.plug();
        container.gets("/dev/zwave", &port.entry());
        may_be_opened("yes");
    }
    engine("start");
    port.unplug();
    container.has_exactly(&[]);
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn a_right_comes_again_with_a_restarted_engine() {
    let bed = Bed::with_config(ZWAVE);
    let recipe = Recipe::new("zwave").with(&["--restart", "always"]);
    let (container, before, daemon, port) = opening(&bed, recipe);
    port.plug();
    may_open(&container, &before, &[&port]);
    engine("stop");
    engine("start");
    eventually(Duration::from_secs(60), "the container runs again", || {
        let runs = container.inspect("{{.State.Running}}");
        (runs == "true").then_some(()).ok_or(runs)
    });
    may_open(&container, &before, &[&port]);
    port.unplug();
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn a_right_outlives_the_daemon_and_a_port_that_went_meanwhile_takes_it_along() {
    let bed = Bed::with_config(ZWAVE);
    let (container, before, daemon, port) = opening(&bed, Recipe::new("zwave"));
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
fn a_port_whose_right_cannot_be_given_is_not_ready() {
    let bed = Bed::with_config(ZWAVE);
    let (container, before, daemon, port) = opening(&bed, Recipe::new("zwave"));
    let group = PathBuf::from("/sys/fs/cgroup/devices/docker").join(container.inspect("{{.Id}}"));
    let move_into = |group: &Path| {
        let pid = container.inspect("{{.State.Pid}}");
        fs::write(group.join("cgroup.procs"), pid).expect("a process can be moved");
    };
    let zwave = || bed.status().expect("the daemon answers")["ports"][0].clone();
    // Outside of the container's group nothing can be given to it alone.
    move_into(group.parent().expect("it has one"));
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    daemon.logs(&["no device cgroup that can be found"]);
    assert_eq!(zwave()["state"], "failed");
    assert_eq!(bed.ttyplugd(&["check"]).status.code(), Some(1));
    move_into(&group);
    may_open(&container, &before, &[&port]);
    daemon.logs(&["right to open it given", &port.sysname()]);
    eventually(SOON, "it is ready", || {
        let zwave = zwave();
        (zwave["state"] == "ready")
            .then_some(())
            .ok_or(zwave.to_string())
    });
    port.unplug();
    daemon.logs(&["right to open it taken back"]);
    daemon.stop();
}

#[test]
fn nothing_is_granted_where_that_is_switched_off() {
    let bed = Bed::with_config(&format!("grant = \"off\"\n{ZWAVE}"));
    let (container, before, daemon, port) = opening(&bed, Recipe::new("zwave"));
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    daemon.logs(&["no right", "zwave", "device_cgroup_rules"]);
    may_open(&container, &before, &[]);
    daemon.stop();
}

#[test]
fn neither_is_anything_when_a_container_is_created() {
    let bed = Bed::with_runtime(&format!("grant = \"off\"\n{ZWAVE}"));
    let daemon = bed.daemon();
    let held = ["--runtime", "ttyplug"];
    let before = opened(&Recipe::new("other").with(&held).start());
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").with(&held).start();
    container.gets("/dev/zwave", &port.entry());
    may_open(&container, &before, &[]);
    port.unplug();
    container.loses("/dev/zwave");
    daemon.stop();
}

#[test]
fn a_container_that_sees_the_hosts_dev_gets_the_right_and_nothing_is_written() {
    let bed = Bed::with_config(ZWAVE);
    let recipe = Recipe::new("zwave").with(&["--volume", "/dev:/dev"]);
    let (container, before, daemon, port) = opening(&bed, recipe);
    port.plug();
    may_open(&container, &before, &[&port]);
    container.sh(&format!(": <>{}", port.host_node()));
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
                  i=$((i+1)); [ $i != 1 ] || : >/tmp/begun; done; echo $i >/tmp/opened";
    let arguments = [
        "exec",
        "--detach",
        container.name(),
        "/bin/sh",
        "-c",
        opener,
    ];
    run("docker", &arguments);
    container.sh("until [ -e /tmp/begun ]; do sleep 0.1; done");
    let group = device_group(&container);
    for _ in 0..500 {
        change(&group, Change::Grant);
        change(&group, Change::Revoke(Given::default()));
    }
    container.sh(": >/tmp/stop");
    eventually(SOON, "the opener has ended well", || {
        let opened = container.sh("cat /tmp/opened 2>/dev/null || true");
        match opened.parse::<u32>() {
            Ok(1000..) => Ok(()),
            _ => Err(format!("it says {opened:?}")),
        }
    });
    daemon.stop();
}
