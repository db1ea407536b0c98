//! The nodes that a container is created with: only in a tmpfs of its own, and never in the way of
//! anything else that the runtime makes there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::testbed::{Container, Daemon, Recipe, Testbed, eventually, output, run};

use super::setup::{port_for, stick};

const NODE: &str = "/dev/ports/zwave";

/// The container "zwave" under the wrapper, created while its port is plugged in. It says at its
/// first instruction whether it has the node.
fn created(bed: &Testbed, recipe: Recipe) -> Container {
    let script = format!("ls -l {NODE}; exec sleep 1000000");
    let container = recipe.wrapped().command(&["sh", "-c", &script]).create();
    let started = output("docker", &["start", container.name()]);
    let log = bed.runtime_log();
    assert!(started.status.success(), "{started:?}\n{log}");
    container
}

/// What it has said. `docker start` may return before its first instruction.
#[track_caller]
fn said(container: &Container) -> String {
    let has_said = |log: &String| !log.is_empty();
    eventually("it has said something", || container.logs(), has_said)
}

fn zwave(arguments: &[&str]) -> Recipe {
    Recipe::new("zwave").with(arguments)
}

fn plugged_in(hold: &str) -> (Testbed, Daemon) {
    let bed = Testbed::with_runtime(&port_for("\"zwave\"", NODE, &format!("hold = {hold:?}")));
    stick(63).plug();
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    (bed, daemon)
}

/// A directory on the host is mounted where the node would be, and stays empty.
#[track_caller]
fn stays_empty(container: Container, directory: &Path) {
    let mounted = container.sh("grep -c ' /dev/ports ' /proc/mounts");
    let inside = names(directory);
    drop(container);
    assert_eq!(
        (mounted.as_str(), inside, names(directory)),
        ("1", Vec::new(), Vec::new())
    );
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("it is there").flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn a_directory_of_the_host_never_gets_a_node() {
    let (bed, _daemon) = plugged_in("60s");
    let [host, links] = ["host", "links"].map(|name| bed.file(name));
    fs::create_dir(&host).expect("a directory can be made");
    fs::create_dir(&links).expect("a directory can be made");
    symlink("/dev", links.join("link")).expect("a link can be made");
    let at = |place: &str| format!("{}:{place}", host.display());
    for (image, mounts) in [
        ("busybox", &[at("/dev/ports")][..]),
        ("busybox", &[at("/dev/ports:ro")]),
        ("busybox", &[at("/dev//./ports/")]),
        ("devlink", &[at("/linked/ports")]),
        (
            "busybox",
            &[format!("{}:/data", links.display()), at("/data/link/ports")],
        ),
    ] {
        let volumes = mounts.iter().flat_map(|mount| ["--volume", mount]);
        let recipe = zwave(&volumes.collect::<Vec<_>>()).image(image);
        stays_empty(created(&bed, recipe), &host);
    }
}

#[test]
fn a_volume_never_gets_a_node() {
    let (bed, _daemon) = plugged_in("60s");
    for recipe in [
        zwave(&["--volume", "ttyplugd-test:/dev/ports"]),
        zwave(&[]).image("devlink"),
    ] {
        let container = created(&bed, recipe);
        let volume = PathBuf::from(container.inspect("{{(index .Mounts 0).Source}}"));
        stays_empty(container, &volume);
    }
    run("docker", &["volume", "prune", "--force"]);
}

/// Whatever is at the node's place or above it, the container starts as without us.
#[test]
fn a_node_never_keeps_a_container_from_starting() {
    for arguments in [
        &["--device", "/dev/null:/dev/ports"][..],
        &["--device", "/dev/null:/dev/ports/zwave/x"],
        &["--device", "/dev/null:/linked/../dev/./ports"],
        &["--volume", "/dev/null:/dev/ports"],
        &["--volume", "/dev/null:/dev/ports/zwave/x"],
        &["--tmpfs", "/dev/ports"],
        &["--tmpfs", "/dev/ports:ro"],
        &["--tmpfs", "/dev/ports/zwave"],
    ] {
        let (bed, _daemon) = plugged_in("off");
        let container = created(&bed, zwave(arguments));
        assert_eq!(container.sh("echo runs"), "runs", "{arguments:?}");
    }
}

#[test]
fn the_device_of_an_operator_stays_what_it_is_at_the_start() {
    let (bed, _daemon) = plugged_in("off");
    let container = created(&bed, zwave(&["--device", "/dev/null:/dev/ports/zwave"]));
    let log = said(&container);
    assert!(log.contains(" 1, "), "{log}");
    container.has_port(&stick(63).at(NODE));
}

#[test]
fn a_node_in_a_directory_of_its_own_is_there_at_the_first_instruction() {
    let (bed, _daemon) = plugged_in("off");
    let mounts = [
        "--tmpfs",
        "/run",
        "--read-only",
        "--volume",
        "/dev/null:/dev/beside",
    ];
    let container = created(&bed, zwave(&mounts));
    let log = said(&container);
    assert!(log.starts_with("crw-rw----"), "{log}");
}
