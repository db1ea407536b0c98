//! Containers that see the host's own /dev: nothing in it may change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::testbed::{Entry, Port, Recipe, Testbed};

use super::setup::{port_for, stick};

/// One entry of the host's /dev as text: name, type and mode, number, owner, link target, mtime.
type Listing = Vec<String>;

/// Lists /dev recursively, but not what is mounted in it.
fn host_dev() -> Listing {
    let mut listing = Vec::new();
    let device = fs::metadata("/dev").expect("/dev is there").dev();
    list(Path::new("/dev"), device, &mut listing);
    listing.sort();
    assert!(listing.iter().any(|line| line.starts_with("/dev/null ")));
    listing
}

fn list(directory: &Path, device: u64, listing: &mut Listing) {
    let entries = fs::read_dir(directory).expect("root can read it");
    for path in entries.flatten().map(|entry| entry.path()) {
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        // A console that somebody opens gets these (vcs(4)), also one of another lane.
        let is_console = path.to_string_lossy().starts_with("/dev/vcs");
        if found.dev() != device || is_console {
            continue;
        }
        // A write to a terminal changes the time of its node.
        let used = found.rdev() != 0 && !path.starts_with("/dev/serial") && !is_test_tty(&path);
        listing.push(format!(
            "{} {:o} {:x} {}:{} {:?} {:?}",
            path.display(),
            found.mode(),
            found.rdev(),
            found.uid(),
            found.gid(),
            fs::read_link(&path).unwrap_or_default(),
            (!used).then(|| (found.mtime(), found.mtime_nsec())),
        ));
        if found.is_dir() {
            list(&path, device, listing);
        }
    }
}

fn is_test_tty(path: &Path) -> bool {
    Port::all().any(|port| path == Path::new(&port.host_node()))
}

/// Without the times, for moments between which udevd itself has made its links anew.
fn without_times(listing: Listing) -> Listing {
    let cut = |line: String| {
        line.rsplit_once(" Some(")
            .map_or(line.clone(), |(l, _)| l.into())
    };
    listing.into_iter().map(cut).collect()
}

/// The host's /dev with the port and without it, while no daemon runs.
fn rehearse(port: &Port) -> (Listing, Listing) {
    port.plug();
    let plugged = without_times(host_dev());
    port.unplug();
    (plugged, without_times(host_dev()))
}

fn the_hosts_dev_stays_the_same(node: &str, arguments: &[&str]) {
    let bed = Testbed::with_config(&port_for("\"zwave\", \"own-dev\"", node, ""));
    let own = Recipe::new("own-dev").start();
    let port = stick(63).at(node);
    let (plugged, unplugged) = rehearse(&port);

    // There at the daemon's start. The engine makes directories to mount on, so it goes first.
    port.plug();
    let container = Recipe::new("zwave").with(arguments).start();
    let before = host_dev();
    let daemon = bed.daemon();
    daemon.logs(&["zwave", "host"]);
    own.has_port(&port);
    assert_eq!(host_dev(), before, "after the daemon's start");

    let reloads = daemon.count(&["INFO", "config"]);
    daemon.reload();
    daemon.logs_again(reloads, &["INFO", "config"]);
    own.sh(&format!("rm {node}"));
    own.docker(&["restart", "-t", "0"]);
    own.has_port(&port);
    assert_eq!(host_dev(), before, "after SIGHUP");

    container.docker(&["restart", "-t", "0"]);
    let watched = Recipe::new("other").start();
    drop(watched);
    own.docker(&["restart", "-t", "0"]);
    own.has_port(&port);
    assert_eq!(host_dev(), before, "after the container's start");

    port.unplug();
    own.lacks_port(&port);
    assert_eq!(without_times(host_dev()), unplugged, "after the unplug");
    port.plug();
    own.has_port(&port);
    assert_eq!(without_times(host_dev()), plugged, "after the plug");
    let before = host_dev();
    daemon.stop();
    let daemon = bed.daemon();
    daemon.logs(&["zwave", "host"]);
    assert_eq!(host_dev(), before, "after another start");
}

#[test]
fn a_container_with_all_of_the_hosts_dev_changes_nothing_in_it() {
    the_hosts_dev_stays_the_same("/dev/zwave", &["--volume", "/dev:/dev"]);
}

#[test]
fn a_port_under_its_host_name_does_not_touch_the_hosts_node() {
    the_hosts_dev_stays_the_same(&stick(63).host_node(), &["--volume", "/dev:/dev"]);
}

#[test]
fn a_container_with_the_hosts_links_changes_nothing_in_them() {
    the_hosts_dev_stays_the_same("/dev/zwave", &["--volume", "/dev/serial:/dev/serial"]);
}

/// A bind mount of any other directory is not the container's own either.
#[test]
fn a_directory_of_the_host_below_dev_is_never_written_to() {
    let bed = Testbed::with_config(&port_for("\"zwave\", \"own-dev\"", "/dev/ports/zwave", ""));
    let shared: PathBuf = bed.file("shared");
    fs::create_dir(&shared).expect("a directory can be made");
    let volume = format!("{}:/dev/ports", shared.display());
    let container = Recipe::new("zwave").with(&["--volume", &volume]).start();
    let own = Recipe::new("own-dev").start();
    let daemon = bed.daemon();
    let port = stick(63).at("/dev/ports/zwave");
    port.plug();
    own.has_port(&port);
    daemon.logs(&["zwave", "/dev/ports"]);
    assert_eq!(container.at("/dev/ports/zwave"), Entry::Absent);
    assert_eq!(shared.read_dir().into_iter().flatten().count(), 0);
}
