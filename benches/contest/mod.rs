//! One port is plugged in and unplugged, and somebody brings it to the containers: ttyplugd, or the
//! udev rule and script that it replaces. They take turns, one round each, in the same containers
//! and below the same udevd, so that whatever else the machine does hits all of them.

pub(crate) mod command;
pub(crate) mod cost;
mod daemon;
mod script;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::testbed::{Container, Entry, Port, run, settle, until};

pub(crate) use daemon::Daemon;
use script::Script;

/// A round that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct Round {
    pub(crate) plugged: Times,
    pub(crate) unplugged: Times,
}

/// From one uevent on, in milliseconds.
pub(crate) struct Times {
    /// Until udevd told its listeners of it.
    pub(crate) announced: f64,
    /// Until the node in every container was as it should be.
    pub(crate) done: f64,
    pub(crate) begin: Instant,
}

/// The daemon hears of this port too, and has no container for it.
pub(crate) fn round_by_script(containers: &[Container], prove: bool) -> Round {
    let port = Port::new(62);
    let _script = Script::install(containers);
    round(&port, 0o777, containers, prove, |_| settle())
}

pub(crate) fn round_by_ttyplugd(port: &Port, containers: &[Container], prove: bool) -> Round {
    // The other contestant begins with an udevd that has just read its rules again, too.
    reload_rules();
    round(port, 0o660, containers, prove, |action| {
        links_are(port, containers, action == "add");
    })
}

/// Waits until every container has the links of the port, which are made and removed last, or none
/// of them has. The log has not a line for each: it is bounded.
pub(crate) fn links_are(port: &Port, containers: &[Container], there: bool) {
    let links = port.links();
    let paths = || {
        containers
            .iter()
            .flat_map(|c| links.iter().map(|link| c.path(link)))
    };
    until(&format!("links are there: {there}"), || {
        paths().all(|path| path.is_symlink() == there)
    });
}

/// Plugs and unplugs a port. `finish` waits until the work that follows from an event is done.
fn round(
    port: &Port,
    mode: u32,
    containers: &[Container],
    prove: bool,
    finish: impl Fn(&str),
) -> Round {
    let minor = port.node().minor;
    let is_there = |found: &Entry| matches!(found, Entry::Node(node) if (node.minor, node.mode) == (minor, mode));
    port.describe();
    let plugged = time(port, "add", containers, is_there);
    finish("add");
    if prove {
        open_everywhere(port, containers);
    }
    let unplugged = time(port, "remove", containers, |found| *found == Entry::Absent);
    finish("remove");
    Round { plugged, unplugged }
}

/// From the uevent until the node in every container is as it should be.
///
/// It is looked at from the host, because a process of its own in each of 32 containers would be in
/// the way of what it measures. To be open to a container's process takes the right number, the
/// final mode and the device cgroup's permission; the last is there before the node appears, and is
/// proved in the first round.
fn time(
    port: &Port,
    action: &str,
    containers: &[Container],
    done: impl Fn(&Entry) -> bool,
) -> Times {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("the kernel has inotify");
    let appears = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    let changes = appears | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE;
    let watch = |container: &Container| {
        let directory = container.path("/dev");
        let watch = inotify.add_watch(&directory, changes);
        let watch = watch.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        (watch, container.path(&port.host_node()))
    };
    let mut left: BTreeMap<_, PathBuf> = containers.iter().map(watch).collect();
    let udevd = udev::MonitorBuilder::new()
        .and_then(|monitor| monitor.match_subsystem("tty")?.listen())
        .expect("udevd can be listened to");
    // For what the event before has left to do in the engine.
    sleep(Duration::from_millis(100));
    let begin = Instant::now();
    port.uevent(action);
    let (mut announced, mut finished) = (None, None);
    loop {
        if let (Some(announced), Some(done)) = (announced, finished) {
            return Times {
                begin,
                announced: ms(announced),
                done: ms(done),
            };
        }
        let limit = PollTimeout::try_from(LIMIT).expect("it is short enough");
        let sources = [inotify.as_fd(), udevd.as_fd()];
        let mut sources = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
        poll(&mut sources, limit).expect("both can be waited for");
        let time = begin.elapsed();
        let [changed, heard] = sources.map(|source| source.any().unwrap_or(false));
        assert!(time < LIMIT, "{action}: nothing happens at {left:?}");
        let is_it = |event: udev::Event| event.action().is_some_and(|said| said == action);
        if heard && udevd.iter().any(is_it) {
            announced = announced.or(Some(time));
        }
        if changed {
            for event in inotify.read_events().expect("there are some") {
                if left.get(&event.wd).is_some_and(|at| done(&Entry::at(at))) {
                    left.remove(&event.wd);
                }
            }
        }
        if left.is_empty() {
            finished = finished.or(Some(time));
        }
    }
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Opens the node in every container, as a process of the container.
fn open_everywhere(port: &Port, containers: &[Container]) {
    for container in containers {
        container.sh(&format!(": <>{}", port.host_node()));
    }
}

/// Has udevd read its rules, which it does at the next event and not before.
fn reload_rules() {
    run("udevadm", &["control", "--reload"]);
    Port::new(60).uevent("change");
    settle();
}
