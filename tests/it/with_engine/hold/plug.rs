//! A held open and its port: plugged in, unplugged, plugged in again, or never.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::testbed::{
    Container, Entry, HaltedUdevd, Port, SlowRule, Testbed, eventually, has_words, run,
};

use super::super::setup::{ENABLE, METER, RULE, meter, port_for};
use super::{
    AT_ONCE, LONG, NODE, Opening, held, held_port, holding, linked_port, open, opener, said, says,
    setup, stick, unplugged, wrapped, zwave,
};

#[test]
fn the_first_open_is_held_until_the_plug_and_finds_the_final_owner_and_mode() {
    let bed = Testbed::with_runtime(&port_for("\"zwave\"", NODE, "group = \"app\""));
    // Nobody but the group may open it: with any other owner the open would fail.
    let recipe = opener().with(&["--user", "app"]);
    let (bed, container, _daemon, port) = setup(bed, recipe);
    bed.holds(&[NODE]);
    port.plug();
    says(&container, 1)[0].got(&port.group(1000));
    has_words(bed.runtime_log(), &["open held", "open released"]);
}

#[test]
fn every_way_to_name_the_port_is_held() {
    let (bed, container, _daemon, port) = setup(Testbed::with_runtime(&linked_port(LONG)), zwave());
    let by_id = port.by_id();
    container.sh(
        "ln -s /dev/zwave /tmp/absolute; ln -s ../dev/./zwave /tmp/relative; \
         ln -s absolute /tmp/twice",
    );
    let ways: [&[&str]; 10] = [
        &["once", NODE],
        &["once", &by_id],
        &["once", "//dev/../dev//./zwave"],
        &["once", "/tmp/absolute"],
        &["once", "/tmp/relative"],
        &["once", "/tmp/twice"],
        &["in", "/dev/pts", "../zwave"],
        &["at", "/dev", "zwave"],
        &["at", "/tmp", "../dev/zwave"],
        &["edge", NODE],
    ];
    let openings = ways.map(|way| (way, Opening::start(&container, way)));
    let mut held = vec![NODE; ways.len() - 1];
    held.insert(0, &by_id);
    bed.holds(&held);
    // A name that means another file for every thread is not followed, and gets what it would get
    // without us.
    let magic = open(&container, &["once", "/proc/self/root/dev/zwave"]);
    magic[0].is("ENOENT").at_once();

    port.plug();
    for (way, opening) in openings {
        let opened = opening.end();
        assert_eq!(opened.len(), 1, "{way:?}");
        opened[0].got(&port);
    }
}

/// Each way of a kind in which opens.c opens a port is held, in a process of its own.
#[track_caller]
fn are_held(kind: &str, ways: &[&str]) {
    let (bed, container, _daemon, port) = unplugged(LONG);
    let start = |way: &&str| Opening::start(&container, &[kind, NODE, way]);
    let openings: Vec<_> = ways.iter().map(start).collect();
    bed.holds(&vec![NODE; ways.len()]);
    port.plug();
    for opening in openings {
        opening.end()[0].got(&port);
    }
}

#[test]
fn every_way_to_open_a_serial_port_is_held() {
    are_held("flags", &["nonblock", "without-noctty"]);
    // Not every machine has a call `open`, or a second table of calls.
    if cfg!(target_arch = "x86_64") {
        are_held("flags", &["open", "i386-open", "i386-openat"]);
    }
}

#[test]
fn opens_of_programs_without_a_serial_library_are_held_too() {
    let reading = ["read-noctty", "read-nonblock", "read-both"];
    are_held("wide", &[&["plain", "update"], &reading[..]].concat());
}

#[test]
fn stty_waits_for_its_port() {
    let script = format!("stty -F {NODE} >/dev/null && echo done; exec sleep 1000000");
    let recipe = zwave().command(&["sh", "-c", &script]);
    let (bed, container, _daemon, port) = setup(holding(LONG), recipe);
    bed.holds(&[NODE]);
    port.plug();
    eventually("stty is done", || container.logs(), |said| said == "done");
}

#[test]
fn opens_of_serial_libraries_alone_are_held_where_holds_is_serial() {
    let holds_serial = |container: &Container| {
        for opened in open(container, &["wide", NODE]) {
            opened.is("ENOENT").at_once();
        }
        open(container, &["once", NODE])[0].after_hold_of(3);
    };
    let config = format!("holds = \"serial\"\n{}", held_port("3s"));
    let (bed, container, daemon, _port) = setup(Testbed::with_runtime(&config), zwave());
    holds_serial(&container);
    drop(container);

    // The label of a container comes before the file, and is known without the daemon.
    bed.configure(&held_port("3s"));
    daemon.reload();
    let container = zwave().label("ttyplugd.holds=serial").start();
    holds_serial(&container);
    let known = || fs::read_to_string(bed.file("state/containers.json")).unwrap_or_default();
    eventually("it is known", known, |known| known.contains("\"serial\""));
    daemon.stop();
    container.docker(&["restart", "--time", "0"]);
    holds_serial(&container);
}

#[test]
fn an_open_of_another_kind_is_not_held() {
    let (_bed, container, _daemon, _port) = unplugged(LONG);
    for opened in open(&container, &["others", NODE]) {
        opened.is("ENOENT").at_once();
    }
}

#[test]
fn terminals_and_ordinary_files_are_never_held() {
    let (bed, container, _daemon, _port) = setup(Testbed::with_runtime(""), zwave().label(ENABLE));
    let paths = [
        "/dev/ptmx",
        "/dev/tty",
        "/dev/pts/0",
        "/dev/null",
        "/etc/passwd",
        "/dev/no-port",
        "/dev/ttyUSB0/x",
        "/tmp",
    ];
    let opened = open(&container, &[&["once"][..], &paths].concat());
    for (path, opened) in paths.iter().zip(&opened) {
        assert!(opened.milliseconds < AT_ONCE, "{path}: {opened:?}");
    }
    opened[0].is("ok");
    opened[4].is("ok");
    // Beside them, any name is held that such a port could come to have.
    let opening = Opening::of(&container, "/dev/ttyUSB7");
    bed.holds(&["/dev/ttyUSB7"]);
    drop(opening);
}

#[test]
fn a_port_that_is_not_to_be_held_is_not_held() {
    let (_bed, container, _daemon, _port) = setup(holding("off"), opener());
    says(&container, 1)[0].is("ENOENT").at_once();
}

#[test]
fn an_open_may_wait_forever() {
    let (bed, container, _daemon, port) = held("forever");
    // Only the keeper can say what "forever" means.
    has_words(bed.keeper().answer(), &["\"left_ms\":null"]);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_port_that_is_there_is_opened_at_once_and_after_an_unplug_the_next_open_is_held() {
    let (bed, container, daemon, old) = unplugged(LONG);
    let new = stick(62);
    old.plug();
    container.has_port(&old);
    daemon.logs(&[NODE]);
    Opening::of(&container, NODE).end()[0].got(&old);
    old.unplug();
    container.lacks_port(&old);
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    new.plug();
    opening.end()[0].got(&new);
    open(&container, &["once", NODE])[0].got(&new).at_once();
}

/// Waits until the daemon says that its only port is in this state.
#[track_caller]
fn is_said_to_be(bed: &Testbed, state: &str) {
    let said = || bed.status().expect("the daemon answers")["ports"][0]["state"].clone();
    eventually(&format!("the port is {state}"), said, |said| said == state);
}

#[test]
fn an_open_is_held_from_the_unplug_on_even_if_udevs_rules_take_long() {
    let (bed, container, _daemon, old) = unplugged(LONG);
    let new = stick(62);
    old.plug();
    container.has_port(&old);
    let rule = SlowRule::of(&old);
    let node = container.watch(NODE);
    old.uevent("remove");
    is_said_to_be(&bed, "waiting");
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    // udevd has not said anything yet, and nothing has changed in the container.
    assert_eq!(node.stop(), [old.entry()]);
    drop(rule);
    container.lacks_port(&old);
    bed.holds(&[NODE]);
    new.plug();
    opening.end()[0].got(&new);
}

#[test]
fn an_open_goes_on_if_a_device_that_the_kernel_has_removed_is_there_again() {
    let (bed, container, daemon, port) = unplugged(LONG);
    port.plug();
    container.has_port(&port);
    let rule = SlowRule::of(&port);
    port.uevent("remove");
    is_said_to_be(&bed, "waiting");
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    port.announce("add");
    drop(rule);
    opening.end()[0].got(&port);
    container.has_port(&port);

    // udevd says nothing of it at all. Whether it is there is found out by the next look.
    let udevd = HaltedUdevd::new();
    port.uevent("remove");
    is_said_to_be(&bed, "waiting");
    daemon.reload();
    is_said_to_be(&bed, "ready");
    open(&container, &["once", NODE])[0].got(&port).at_once();
    drop(udevd);
}

#[test]
fn a_container_of_another_runtime_is_served_and_not_held() {
    let recipe = zwave().with(&["--runtime", "runc"]);
    let (bed, container, _daemon, port) = setup(holding(LONG), recipe);
    open(&container, &["once", NODE])[0].is("ENOENT").at_once();
    assert_eq!(bed.keepers(), []);
    port.plug();
    container.has_port(&port);
}

#[test]
fn a_container_that_has_no_port_gets_no_keeper() {
    let recipe = wrapped("other").command(&["opens", "once", NODE, "/dev/ttyUSB0"]);
    let (bed, container, _daemon, _port) = setup(holding(LONG), recipe);
    for opened in says(&container, 2) {
        opened.at_once();
    }
    assert_eq!(bed.keepers(), []);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
}

#[test]
fn a_path_below_a_chroot_is_no_port() {
    let (bed, container, _daemon, _port) = unplugged(LONG);
    container.sh("mkdir -p /jail/dev; ln -s /dev/zwave /jail/link");
    for path in [NODE, "/../dev/zwave", "/link"] {
        open(&container, &["chroot", "/jail", path])[0]
            .is("ENOENT")
            .at_once();
    }
    // Where the chroot has the container's own /dev, it is the port.
    let opening = Opening::start(&container, &["chroot", "/", NODE]);
    bed.holds(&[NODE]);
    drop(opening);
    assert_eq!(said(&container), []);
    assert_eq!(container.at(NODE), Entry::Absent);
}

#[test]
fn a_container_that_asked_for_every_port_is_held_by_a_link_that_is_yet_unknown() {
    let (other, port) = (Port::new(62), Port::new(63));
    let link = port.by_id();
    let recipe = zwave().label(ENABLE).command(&["opens", "once", &link]);
    let (bed, container, _daemon, _) = setup(Testbed::with_runtime(""), recipe);
    bed.holds(&[&link]);
    // Another port is not what it waits for.
    other.plug();
    container.has_port(&other);
    bed.holds(&[&link]);
    port.plug();
    says(&container, 1)[0].got(&port);
}

/// The link still leads to the node that the stick had, until udevd says that it is gone.
#[test]
fn an_open_by_a_link_goes_on_where_its_stick_is_plugged_in_next() {
    let here = Port::new(63);
    let there = Port::new(62).with("TEST_BY_ID", "usb-Test_T63-if00");
    let recipe = zwave().label(ENABLE).label("ttyplugd.hold=forever");
    let (bed, container, _daemon, _) = setup(Testbed::with_runtime(""), recipe);
    here.plug();
    container.has_port(&here);
    let udevd = HaltedUdevd::new();
    here.uevent("remove");
    is_said_to_be(&bed, "waiting");
    let opening = Opening::of(&container, &here.by_id());
    bed.holds(&[&here.host_node()]);
    drop(udevd);
    container.lacks_port(&here);
    there.plug();
    opening.end()[0].got(&there);
}

/// The container says itself where its links lead.
#[test]
fn an_open_waits_for_the_port_that_its_link_leads_to_by_then() {
    let ports = held_port(LONG) + METER;
    let (bed, container, _daemon, port) = setup(Testbed::with_runtime(&ports), zwave());
    let meter = meter(62);
    container.sh("ln -s /dev/zwave /tmp/port; ln -s /dev/meter /tmp/other");
    let opening = Opening::of(&container, "/tmp/port");
    bed.holds(&[NODE]);
    container.sh("mv /tmp/other /tmp/port");
    port.plug();
    container.has_port(&port);
    bed.holds(&["/dev/meter"]);
    meter.plug();
    opening.end()[0].got(&meter);
}

/// Its number stays, and so does its node. The command that makes the link takes seconds.
#[test]
fn a_link_that_a_device_gets_while_it_is_plugged_in_is_held_until_it_is_there() {
    let port = Port::new(63);
    let other = port.clone().with("TEST_BY_ID", "usb-Other-if00");
    let (_bed, container, _daemon, _) = setup(Testbed::with_runtime(""), zwave().label(ENABLE));
    port.plug();
    container.has_port(&port);
    container.sh(
        "printf '#!/bin/busybox sh\\nsleep 3; exec busybox sh \"$@\"\\n' >/tmp/sh; \
         chmod 755 /tmp/sh; mv /tmp/sh /bin/sh",
    );
    other.plug();
    Opening::of(&container, &other.by_id()).end()[0].got(&other);
}

#[test]
fn each_container_waits_for_its_own_port() {
    let first = held_port(LONG);
    let second = first.replace("zwave", "meter").replace("Z1", "M1");
    let (bed, zwave, _daemon, port) =
        setup(Testbed::with_runtime(&[first, second].concat()), opener());
    let recipe = wrapped("meter").with(&RULE);
    let both = recipe
        .command(&["opens", "once", NODE, "/dev/meter"])
        .start();
    bed.holds(&["/dev/meter", NODE]);
    assert_eq!(bed.keepers().len(), 2);
    let meter = meter(62);
    meter.plug();
    let opened = says(&both, 2);
    opened[0].at_once();
    opened[1].got(&meter);
    bed.holds(&[NODE]);
    port.plug();
    says(&zwave, 1)[0].got(&port);
}

#[test]
fn a_file_server_that_is_dead_delays_nobody_but_those_who_use_it() {
    let bed = holding(LONG);
    let shared = bed.file("shared").to_string_lossy().into_owned();
    let dead = format!("{shared}/dead");
    fs::create_dir_all(&dead).expect("a directory can be made");
    run("mount", &["--bind", &shared, &shared]);
    run("mount", &["--make-shared", &shared]);
    let volumes = ["/shared", "/dev/shared"].map(|place| format!("{shared}:{place}:rslave"));
    let volumes = ["--volume", &volumes[0], "--volume", &volumes[1]];
    let (bed, container, _daemon, port) = setup(bed, zwave().with(&volumes));
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    // Nobody ever answers what the kernel asks at this descriptor (fuse(4)).
    let server = fuse(&dead);
    let stuck = ["/shared/dead/x/y", "/dev/shared/dead/z/y"];
    let stuck = stuck.map(|path| Opening::of(&container, path));
    let proc = container.path("/proc");
    // fs/fuse/dev.c: for its turn to ask, or for an answer.
    let of_fuse = |place: &&String| place.contains("fuse") || place.contains("request_wait_answer");
    let what = "two programs wait for the file server";
    let waiting = |places: &Vec<String>| places.iter().filter(of_fuse).count() == stuck.len();
    eventually(what, || places(&proc), waiting);
    for opened in open(
        &container,
        &["once", "/dev/ptmx", "/dev/no-port", "/etc/passwd"],
    ) {
        opened.at_once();
    }
    port.plug();
    opening.end()[0].got(&port);
    // With its last descriptor the server is gone, and everybody who waited for it goes on.
    drop(server);
    for stuck in stuck.map(Opening::end) {
        let result = stuck[0].result.as_str();
        assert!(["ENOTCONN", "ECONNABORTED"].contains(&result), "{stuck:?}");
    }
    run("umount", &["--lazy", &dead]);
    run("umount", &["--lazy", &shared]);
}

/// Mounts a file system whose server is this descriptor.
fn fuse(place: &str) -> File {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let device = device.expect("the kernel has FUSE");
    let stdin = device.try_clone().expect("it is open");
    let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
    let status = Command::new("timeout")
        .args(["10", "mount", "-i", "-t", "fuse", "-o", options, "dead"])
        .arg(place)
        .stdin(stdin)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "mount fails");
    device
}

/// Where in the kernel the programs opens.c of a container wait.
fn places(proc: &Path) -> Vec<String> {
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    let places = processes.filter_map(|process| {
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        let place = fs::read_to_string(process.path().join("wchan")).ok()?;
        (name == "opens\n").then_some(place)
    });
    places.collect()
}
