//! Keepers that are killed, or whose program is replaced, while opens are held: others take over.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::testbed::keeper::Keeper;
use crate::testbed::{Container, Daemon, Testbed, eventually, test_dir};

use super::super::setup::Setup;
use super::{LONG, NODE, Opened, Opening, held_port, holding_many, open, setup, unplugged, zwave};

/// How many opens are held while a keeper is killed.
const MANY: usize = 1000;

/// Kills the keeper and waits until another one answers.
#[track_caller]
fn kill(bed: &Testbed) -> Keeper {
    let killed = bed.keeper();
    killed.signal(Signal::SIGKILL);
    another(bed, &killed)
}

#[track_caller]
fn another(bed: &Testbed, before: &Keeper) -> Keeper {
    let is_other = |keepers: &Vec<Keeper>| match &keepers[..] {
        [keeper] => keeper.pid() != before.pid() && keeper.held().is_ok(),
        _ => false,
    };
    eventually("another keeper", || bed.keepers(), is_other).remove(0)
}

/// A program in the container waits for the port.
#[track_caller]
fn opening() -> (Setup, Opening) {
    let setup = unplugged(LONG);
    let opening = Opening::of(&setup.1, NODE);
    setup.0.holds(&[NODE]);
    (setup, opening)
}

/// A program that opens a path again and again. A keeper that is killed while its listener arrives takes
/// that along.
#[track_caller]
fn storm(container: &Container, path: &str) -> Opening {
    let storm = Opening::start(container, &["storm", path]);
    storm.says(1);
    storm
}

/// The threads that wait.
fn threads(keeper: &Keeper) -> BTreeSet<i32> {
    let held = keeper.held().expect("it answers");
    held.into_iter().map(|(tid, _)| tid).collect()
}

#[test]
fn held_opens_go_on_waiting_when_their_keeper_is_killed() {
    let (bed, container, _daemon, port) = setup(holding_many(LONG), zwave());
    let opening = Opening::start(&container, &["threads", NODE, &MANY.to_string()]);
    let all = |keeper: &Keeper| threads(keeper).len() == MANY;
    eventually("all are held", || bed.keeper(), all);
    let before = threads(&bed.keeper());
    assert_eq!(threads(&kill(&bed)), before);
    assert!(opening.so_far().is_empty());
    port.plug();
    let opened = opening.end();
    assert_eq!(opened.len(), MANY);
    for opened in opened {
        opened.got(&port);
    }
}

#[test]
fn a_deadline_stays_whoever_keeps_it() {
    let (bed, container, _daemon, _port) = unplugged("4s");
    let opening = Opening::of(&container, NODE);
    // Its signals interrupt the call, which the kernel restarts.
    let restarted = Opening::start(&container, &["restarted", NODE]);
    bed.holds(&[NODE, NODE]);
    for _ in 0..3 {
        kill(&bed);
    }
    opening.end()[0].is("ENOENT").after_hold_of(4);
    restarted.end()[0].is("ENOENT").after_hold_of(4);
}

#[test]
fn a_hold_that_has_ended_in_vain_is_not_repeated_by_the_next_keeper() {
    let (bed, container, _daemon, _port) = unplugged("2s");
    let once = || open(&container, &["once", NODE]).remove(0);
    once().is("ENOENT").after_hold_of(2);
    kill(&bed);
    once().is("ENOENT").at_once();
}

#[test]
fn no_open_fails_however_often_keepers_are_killed() {
    let (bed, container, _daemon, port) = unplugged(LONG);
    let held = Opening::of(&container, NODE);
    let storms = ["/dev/ptmx", "/etc/passwd", "/dev/ttyUSB9"];
    let mut storms = storms.map(|path| storm(&container, path));
    bed.holds(&[NODE]);
    for round in 0..40 {
        kill(&bed);
        // At any moment of a keeper's life.
        std::thread::sleep(Duration::from_millis(round));
    }
    bed.holds(&[NODE]);
    port.plug();
    held.end()[0].got(&port);
    storms.iter_mut().for_each(Opening::nudge);
    for (storm, result) in storms.into_iter().zip(["ok", "ok", "ENOENT"]) {
        let said = storm.end();
        assert!(!said.is_empty());
        let others = said.iter().filter(|opened| !opened.is_none_of(result));
        assert_eq!(others.count(), 0, "{said:?}");
    }
}

impl Opened {
    /// Whether it has this result, or counts none.
    fn is_none_of(&self, result: &str) -> bool {
        self.result == result || self.milliseconds == 0
    }
}

#[test]
fn a_container_is_entered_and_ends_as_ever_after_its_keeper_was_killed() {
    let (bed, container, _daemon, port) = unplugged(LONG);
    kill(&bed);
    open(&container, &["once", "/dev/null"])[0].is("ok");
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    // What has begun since the last one was killed goes on too.
    kill(&bed);
    port.plug();
    opening.end()[0].got(&port);
    container.docker(&["restart", "--time", "0"]);
    let one = |keepers: &Vec<Keeper>| keepers.len() == 1;
    eventually("the one before has ended", || bed.keepers(), one);
    container.docker(&["rm", "--force"]);
    bed.has_no_keeper();
}

#[test]
fn a_keeper_that_takes_over_is_no_part_of_the_daemon() {
    let (bed, container, daemon, port) = unplugged(LONG);
    let group = Group::of(daemon.pid().as_raw());
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    let first = bed.keeper();
    let (groups, descriptors) = (first.groups(), first.descriptors());
    let next = kill(&bed);
    assert_eq!(next.groups(), groups);
    assert_eq!(next.session(), next.pid());
    assert!(next.descriptors() <= descriptors, "{:?}", next.open_files());
    // What the service manager does to all processes of a service.
    daemon.end(Signal::SIGKILL);
    assert_eq!(group.processes(), "");
    bed.holds(&[NODE]);
    let _daemon = bed.daemon();
    port.plug();
    opening.end()[0].got(&port);
}

/// A control group for one process.
struct Group(PathBuf);

impl Group {
    fn of(process: i32) -> Self {
        // With one hierarchy, or with one of each controller (cgroups(7)).
        let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new);
        let root = roots
            .into_iter()
            .find(|root| root.join("cgroup.procs").exists());
        let group = root
            .expect("there are control groups")
            .join(format!("ttyplugd-{process}"));
        fs::create_dir(&group).expect("it can be made");
        fs::write(group.join("cgroup.procs"), process.to_string()).expect("it runs");
        Self(group)
    }

    fn processes(&self) -> String {
        fs::read_to_string(self.0.join("cgroup.procs")).expect("it is there")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_stopped_container_is_let_go_by_the_next_keeper_too() {
    let ((bed, container, _daemon, _port), opening) = opening();
    // runc kill CONTAINER TERM goes through the wrapper.
    container.docker(&["kill", "--signal", "TERM"]);
    opening.end()[0].is("ENOENT").at_once();
    kill(&bed);
    open(&container, &["once", NODE])[0].is("ENOENT").at_once();
}

/// The programs of another version: the same ones, in another file.
fn upgraded(bed: &Testbed) -> (Daemon, PathBuf) {
    let directory = bed.file("upgraded");
    fs::create_dir(&directory).expect("it can be made");
    for program in [crate::testbed::PROGRAM, crate::testbed::RUNTIME] {
        let name = Path::new(program).file_name().expect("it has a name");
        fs::copy(program, directory.join(name)).expect("it is copied");
    }
    let program = directory.join("ttyplugd");
    (bed.daemon_by(&program), directory)
}

#[test]
fn keepers_of_another_version_are_replaced_and_held_opens_go_on() {
    let ((bed, container, daemon, port), opening) = opening();
    let old = bed.keeper();
    daemon.stop();
    let (daemon, directory) = upgraded(&bed);
    let new = another(&bed, &old);
    assert!(new.program().starts_with(&directory), "{:?}", new.program());
    assert_eq!(threads(&new).len(), 1);
    open(&container, &["once", "/dev/null"])[0].is("ok");
    // Only once.
    daemon.stop();
    let _daemon = bed.daemon_by(&directory.join("ttyplugd"));
    open(&container, &["once", "/dev/null"])[0].is("ok");
    assert_eq!(bed.keeper(), new);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn a_keeper_is_not_replaced_by_a_program_that_cannot_be_executed() {
    let ((bed, _container, daemon, port), opening) = opening();
    let old = bed.keeper();
    daemon.stop();
    let directory = bed.file("broken");
    fs::create_dir(&directory).expect("it can be made");
    let program = directory.join("ttyplugd");
    fs::copy(crate::testbed::PROGRAM, &program).expect("it is copied");
    fs::write(directory.join("ttyplug-runtime"), "broken").expect("it is written");
    let daemon = bed.daemon_by(&program);
    daemon.logs(&["cannot replace a keeper"]);
    assert_eq!(bed.keeper(), old);
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn a_keeper_that_is_killed_together_with_its_container_leaves_nothing() {
    let (bed, container, daemon, _port) = unplugged(LONG);
    let files = format!("/proc/{}/fd", daemon.pid());
    let all = || fs::read_dir(&files).expect("it runs").flatten();
    let descriptors = || all().count();
    let copies = || {
        let names = all().filter_map(|file| fs::read_link(file.path()).ok());
        let states = names.filter(|name| name.to_string_lossy().contains("ttyplugd-keeper"));
        states.count()
    };
    container.docker(&["rm", "--force"]);
    bed.has_no_keeper();
    eventually("its copies are closed", copies, |&copies| copies == 0);
    let without = descriptors();

    let container = zwave().start();
    eventually(
        "it has a keeper",
        || bed.keepers().len(),
        |&keepers| keepers == 1,
    );
    let keeper = bed.keeper();
    keeper.signal(Signal::SIGSTOP);
    container.docker(&["rm", "--force"]);
    keeper.signal(Signal::SIGKILL);
    bed.has_no_keeper();
    eventually("its copies are closed", descriptors, |&now| now <= without);
}

#[test]
fn a_program_that_is_missing_for_a_moment_costs_no_open() {
    let (bed, container, daemon, port) = unplugged(LONG);
    daemon.stop();
    let (daemon, directory) = upgraded(&bed);
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    let [program, away] = ["ttyplug-runtime", "away"].map(|name| directory.join(name));
    fs::rename(&program, &away).expect("it is there");
    bed.keeper().signal(Signal::SIGKILL);
    daemon.logs(&["cannot connect to a keeper; retrying"]);
    fs::rename(&away, &program).expect("it is there");
    bed.holds(&[NODE]);
    port.plug();
    opening.end()[0].got(&port);
}

/// While the container is being created, no listener has come yet.
#[test]
fn a_keeper_is_not_replaced_before_its_container_is_there() {
    let bed = slow_to_create();
    let daemon = bed.daemon();
    let creating = std::thread::spawn(|| zwave().start());
    eventually(
        "it has a keeper",
        || bed.keepers().len(),
        |&keepers| keepers == 1,
    );
    daemon.stop();
    let (_daemon, directory) = upgraded(&bed);
    let container = creating.join().expect("it is created");
    open(&container, &["once", "/dev/null"])[0].is("ok");
    let is_new = |keepers: &Vec<Keeper>| {
        keepers
            .iter()
            .all(|it| it.program().starts_with(&directory))
    };
    eventually("it is replaced then", || bed.keepers(), is_new);
    open(&container, &["once", "/dev/null"])[0].is("ok");
}

/// The real runtime takes two seconds until it creates a container.
fn slow_to_create() -> Testbed {
    let script = test_dir().join("slow-runc");
    let text = "#!/bin/sh\ncase \" $* \" in *\" create \"*) sleep 2 ;; esac\nexec runc \"$@\"\n";
    fs::write(&script, text).expect("it is written");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&script, executable).expect("it is there");
    Testbed::with_runtime_in_front_of(&script.to_string_lossy(), &held_port(LONG))
}

#[test]
fn a_keeper_goes_on_if_whoever_asked_it_to_retire_has_gone() {
    let ((bed, container, daemon, port), opening) = opening();
    daemon.end(Signal::SIGKILL);
    let keeper = bed.keeper();
    let mut asking = UnixStream::connect(&keeper.socket).expect("it listens");
    asking
        .write_all(b"{\"ttyplugd\":1,\"retire\":true}\n")
        .expect("it reads");
    drop(asking);
    open(&container, &["once", "/dev/null"])[0].is("ok");
    assert_eq!(bed.keeper(), keeper);
    let _daemon = bed.daemon();
    port.plug();
    opening.end()[0].got(&port);
}

#[test]
fn a_daemon_that_is_killed_while_keepers_are_replaced_costs_no_open() {
    let (bed, container, daemon, port) = unplugged(LONG);
    let held = Opening::of(&container, NODE);
    let mut storm = storm(&container, "/dev/ptmx");
    bed.holds(&[NODE]);
    daemon.stop();
    for round in 0..12 {
        let (daemon, directory) = upgraded(&bed);
        // At any moment of the takeover.
        std::thread::sleep(Duration::from_millis(5 * round));
        daemon.end(Signal::SIGKILL);
        fs::remove_dir_all(directory).expect("it is there");
    }
    bed.holds(&[NODE]);
    storm.nudge();
    for opened in storm.end() {
        opened.is("ok");
    }
    let _daemon = bed.daemon();
    port.plug();
    held.end()[0].got(&port);
}
