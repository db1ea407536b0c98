//! A held open and its port: plugged in, unplugged, plugged in again, or never.

use std::path::Path;

use crate::bed::{Bed, Entry, Recipe, SOON, eventually, run};

use super::{Opening, held_port, open, said, says, stick, zwave};

const BY_ID: &str = "/dev/serial/by-id/usb-Test_T63-if00";

#[test]
fn the_first_open_is_held_until_the_plug_and_finds_the_final_owner_and_mode() {
    let config = super::port_for("\"zwave\"", "/dev/zwave", "group = \"app\"");
    let bed = Bed::with_runtime(&config);
    let _daemon = bed.daemon();
    // Nobody but the group may open it: with any other owner the open would fail.
    let container = zwave()
        .with(&["--user", "app"])
        .command(&["opens", "once", "/dev/zwave"])
        .start();
    bed.holds(&["/dev/zwave"]);
    let port = stick(63);
    port.plug();
    let opened = &says(&container, 1)[0];
    assert_eq!(opened.result, "ok", "{opened:?}");
    let node = opened.node.expect("it is a device");
    assert_eq!(
        (node.major, node.minor, node.mode),
        (4, port.minor(), 0o660)
    );
    assert_eq!((node.uid, node.gid), (0, 1000));
    assert!(bed.runtime_log().contains("open held"));
    assert!(bed.runtime_log().contains("open released"));
}

#[test]
fn every_way_to_name_the_port_is_held() {
    let by_id = "match = { serial = \"Z1\", by-id = \"usb-Test_T63-if00\" }";
    let config = held_port("60s").replace("match = { serial = \"Z1\" }", by_id);
    let bed = Bed::with_runtime(&config);
    let _daemon = bed.daemon();
    let container = zwave().start();
    container.sh(
        "ln -s /dev/zwave /tmp/absolute; ln -s ../dev/./zwave /tmp/relative; \
                  ln -s absolute /tmp/twice",
    );
    let ways: [&[&str]; 10] = [
        &["once", "/dev/zwave"],
        &["once", BY_ID],
        &["once", "//dev/../dev//./zwave"],
        &["once", "/tmp/absolute"],
        &["once", "/tmp/relative"],
        &["once", "/tmp/twice"],
        &["in", "/dev/pts", "../zwave"],
        &["at", "/dev", "zwave"],
        &["at", "/tmp", "../dev/zwave"],
        &["edge", "/dev/zwave"],
    ];
    let openings = ways.map(|way| (way, Opening::start(&container, way)));
    let mut held = vec!["/dev/zwave"; ways.len() - 1];
    held.insert(0, BY_ID);
    bed.holds(&held);
    // A name that means another file for every thread is not followed, and gets what it would get
    // without us.
    let magic = &open(&container, &["once", "/proc/self/root/dev/zwave"])[0];
    assert_eq!(magic.result, "ENOENT", "{magic:?}");
    assert!(magic.was_quick(), "{magic:?}");

    let port = stick(63);
    port.plug();
    for (way, opening) in openings {
        let opened = opening.end();
        assert_eq!(opened.len(), 1, "{way:?}");
        opened[0].got(&port);
    }
}

#[test]
fn every_way_to_open_a_serial_port_is_held() {
    let bed = Bed::with_runtime(&held_port("1s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    let opened = open(&container, &["flags", "/dev/zwave"]);
    // Not every machine has a call `open`, or a second table of calls.
    let ways = if cfg!(target_arch = "x86_64") { 5 } else { 2 };
    assert!(opened.len() >= ways, "{opened:?}");
    for opened in opened {
        assert_eq!(opened.result, "ENOENT", "{opened:?}");
        opened.waited(900, 3000);
    }
}

#[test]
fn an_open_of_another_kind_is_not_held() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    for opened in open(&container, &["others", "/dev/zwave"]) {
        assert_eq!(opened.result, "ENOENT", "{opened:?}");
        assert!(opened.was_quick(), "{opened:?}");
    }
}

#[test]
fn terminals_and_ordinary_files_are_never_held() {
    let bed = Bed::with_runtime("");
    let _daemon = bed.daemon();
    let container = zwave().label("ttyplugd.enable=true").start();
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
        assert!(opened.was_quick(), "{path}: {opened:?}");
    }
    assert_eq!(opened[0].result, "ok", "{opened:?}");
    assert_eq!(opened[4].result, "ok", "{opened:?}");
    // What is held beside them: any name that such a port could come to have.
    let opening = Opening::start(&container, &["once", "/dev/ttyUSB7"]);
    bed.holds(&["/dev/ttyUSB7"]);
    drop(opening);
}

#[test]
fn an_open_goes_on_when_its_time_is_over_and_a_retry_has_its_own() {
    let bed = Bed::with_runtime(&held_port("2s"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["opens", "twice", "/dev/zwave"]).start();
    for opened in says(&container, 2) {
        assert_eq!(opened.result, "ENOENT", "{opened:?}");
        opened.waited(1900, 3500);
    }
}

#[test]
fn a_port_that_is_not_to_be_held_is_not_held() {
    let bed = Bed::with_runtime(&held_port("off"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    let opened = &says(&container, 1)[0];
    assert_eq!(opened.result, "ENOENT", "{opened:?}");
    assert!(opened.was_quick(), "{opened:?}");
}

#[test]
fn an_open_may_wait_forever() {
    let bed = Bed::with_runtime(&held_port("forever"));
    let _daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    bed.holds(&["/dev/zwave"]);
    // What "forever" means can be asked only of the keeper.
    assert!(bed.keeper().answer().contains("\"left_ms\":null"));
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn a_port_that_is_there_is_opened_at_once_and_after_an_unplug_the_next_open_is_held() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().start();
    let (old, new) = (stick(62), stick(63));
    old.plug();
    container.gets("/dev/zwave", &old.entry());
    daemon.logs(&["/dev/zwave"]);
    Opening::start(&container, &["once", "/dev/zwave"]).end()[0].got(&old);
    old.unplug();
    container.loses("/dev/zwave");
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    new.plug();
    opening.end()[0].got(&new);
    let opened = &open(&container, &["once", "/dev/zwave"])[0];
    opened.got(&new);
    assert!(opened.was_quick(), "{opened:?}");
}

#[test]
fn a_container_of_another_runtime_is_served_and_not_held() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().with(&["--runtime", "runc"]).start();
    let opened = &open(&container, &["once", "/dev/zwave"])[0];
    assert_eq!(opened.result, "ENOENT", "{opened:?}");
    assert!(opened.was_quick(), "{opened:?}");
    assert_eq!(bed.keepers(), []);
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
}

#[test]
fn a_container_that_has_no_port_gets_no_keeper() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = crate::bed::Recipe::new("other")
        .image("opens")
        .with(&["--runtime", "ttyplug"])
        .command(&["opens", "once", "/dev/zwave", "/dev/ttyUSB0"])
        .start();
    for opened in says(&container, 2) {
        assert!(opened.was_quick(), "{opened:?}");
    }
    assert_eq!(bed.keepers(), []);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
}

#[test]
fn a_path_below_a_chroot_is_no_port() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let container = zwave().start();
    container.sh("mkdir -p /jail/dev; ln -s /dev/zwave /jail/link");
    for path in ["/dev/zwave", "/../dev/zwave", "/link"] {
        let opened = &open(&container, &["chroot", "/jail", path])[0];
        assert_eq!(opened.result, "ENOENT", "{opened:?}");
        assert!(opened.was_quick(), "{path}: {opened:?}");
    }
    // Where the chroot has the container's own /dev, it is the port.
    let opening = Opening::start(&container, &["chroot", "/", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    drop(opening);
    assert_eq!(said(&container), []);
    assert_eq!(container.at("/dev/zwave"), Entry::Absent);
}

#[test]
fn a_container_that_asked_for_every_port_is_held_by_a_link_that_is_yet_unknown() {
    let bed = Bed::with_runtime("");
    let _daemon = bed.daemon();
    let container = zwave()
        .label("ttyplugd.enable=true")
        .command(&["opens", "once", BY_ID])
        .start();
    bed.holds(&[BY_ID]);
    // Another port is not what it waits for.
    stick(62).plug();
    container.gets(&stick(62).host_node(), &stick(62).entry());
    bed.holds(&[BY_ID]);
    let port = stick(63);
    port.plug();
    says(&container, 1)[0].got(&port);
}

#[test]
fn each_container_waits_for_its_own_port() {
    let second = held_port("60s")
        .replace("zwave", "meter")
        .replace("Z1", "M1");
    let bed = Bed::with_runtime(&format!("{}{second}", held_port("60s")));
    let _daemon = bed.daemon();
    let zwave = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    let meter = Recipe::new("meter")
        .image("opens")
        .with(&["--runtime", "ttyplug", "--device-cgroup-rule", "c 4:* rmw"])
        .command(&["opens", "once", "/dev/zwave", "/dev/meter"])
        .start();
    bed.holds(&["/dev/meter", "/dev/zwave"]);
    assert_eq!(bed.keepers().len(), 2);
    let port = stick(63).with("ID_SERIAL_SHORT", "M1");
    port.plug();
    let opened = says(&meter, 2);
    assert!(opened[0].was_quick(), "{opened:?}");
    opened[1].got(&port);
    bed.holds(&["/dev/zwave"]);
    let port = stick(62);
    port.plug();
    says(&zwave, 1)[0].got(&port);
}

#[test]
fn a_file_server_that_is_dead_delays_nobody_but_those_who_use_it() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let _daemon = bed.daemon();
    let shared = bed.file("shared").to_string_lossy().into_owned();
    let dead = format!("{shared}/dead");
    std::fs::create_dir_all(&dead).expect("a directory can be made");
    run("mount", &["--bind", &shared, &shared]);
    run("mount", &["--make-shared", &shared]);
    let container = zwave()
        .with(&["--volume", &format!("{shared}:/shared:rslave")])
        .start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    bed.holds(&["/dev/zwave"]);
    // Nobody ever answers what the kernel asks at this descriptor (fuse(4)).
    let server = fuse(&dead);
    let stuck = Opening::start(&container, &["once", "/shared/dead/x/y"]);
    let proc = container.path("/proc");
    eventually(SOON, "a program waits for the file server", || {
        let places = places(&proc);
        // fs/fuse/dev.c: for its turn to ask, or for an answer.
        let waits = places
            .iter()
            .any(|place| place.contains("fuse") || place.contains("request_wait_answer"));
        waits.then_some(()).ok_or_else(|| format!("{places:?}"))
    });
    let opened = open(
        &container,
        &["once", "/dev/ptmx", "/dev/no-port", "/etc/passwd"],
    );
    for opened in opened {
        assert!(opened.was_quick(), "{opened:?}");
    }
    let port = stick(63);
    port.plug();
    opening.end()[0].got(&port);
    // With its last descriptor the server is gone, and everybody who waited for it goes on.
    drop(server);
    let stuck = &stuck.end()[0];
    assert!(
        ["ENOTCONN", "ECONNABORTED"].contains(&stuck.result.as_str()),
        "{stuck:?}"
    );
    run("umount", &["--lazy", &dead]);
    run("umount", &["--lazy", &shared]);
}

fn fuse(place: &str) -> std::fs::File {
    let device = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    let device = device.expect("the kernel has FUSE");
    let stdin = device.try_clone().expect("it is open");
    let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
    let status = std::process::Command::new("timeout")
        .args([
            "10", "mount", "-i", "-t", "fuse", "-o", options, "dead", place,
        ])
        .stdin(stdin)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "mount fails");
    device
}

/// Where in the kernel the programs opens.c of a container wait.
fn places(proc: &Path) -> Vec<String> {
    let processes = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let places = processes.filter_map(|process| {
        let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
        let place = std::fs::read_to_string(process.path().join("wchan")).ok()?;
        (name == "opens\n").then_some(place)
    });
    places.collect()
}
