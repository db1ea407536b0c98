//! What a program sees that waits for its port with inotify(7).

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::testbed::{Container, Entry, Recipe, Testbed, until};

use super::setup::{port_for, setup, stick};

const EVENTS: [(AddWatchFlags, &str); 3] = [
    (AddWatchFlags::IN_CREATE, "created"),
    (AddWatchFlags::IN_MOVED_TO, "moved to"),
    (AddWatchFlags::IN_DELETE, "deleted"),
];

/// Watches directories of a container.
struct Watcher {
    inotify: Inotify,
    directories: BTreeMap<WatchDescriptor, PathBuf>,
    /// What has happened to entries, other than temporary ones, and what they were just then.
    seen: Vec<(String, &'static str, Entry)>,
}

impl Watcher {
    fn of(container: &Container, directories: &[&str]) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK).expect("the kernel has it");
        let all = EVENTS.iter().map(|(flag, _)| *flag).collect();
        let watch = |directory: &&str| {
            let path = container.path(directory);
            let watch = inotify.add_watch(&path, all).expect("it is there");
            (watch, path)
        };
        Self {
            directories: directories.iter().map(watch).collect(),
            inotify,
            seen: Vec::new(),
        }
    }

    fn read(&mut self) {
        for event in self.inotify.read_events().unwrap_or_default() {
            let name = event.name.unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            if name.starts_with(".ttyplugd.") {
                continue;
            }
            let is_it = |(flag, _): &&(AddWatchFlags, &str)| event.mask.contains(*flag);
            let (_, what) = EVENTS.iter().find(is_it).expect("no other was asked for");
            let entry = Entry::at(&self.directories[&event.wd].join(&name));
            self.seen.push((name, what, entry));
        }
    }

    /// Waits for these events, in any order, and for no others.
    #[track_caller]
    fn sees(&mut self, expected: &[(String, &'static str, Entry)]) {
        until(&format!("inotify says {expected:?}"), || {
            self.read();
            let seen = std::mem::take(&mut self.seen);
            let is_it = seen.len() == expected.len();
            let is_it = is_it && expected.iter().all(|event| seen.contains(event));
            if !is_it {
                self.seen.clone_from(&seen);
            }
            is_it.then_some(()).ok_or(format!("{seen:?}"))
        });
    }
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn a_new_node_is_created_and_one_that_replaces_another_is_moved_there() {
    for (inject, image) in [
        ("exec", "busybox"),
        ("exec", "bash"),
        ("namespace", "noshell"),
    ] {
        let more = "mode = \"0640\"\nowner = 1000";
        let port = port_for("\"zwave\"", "/dev/zwave", more);
        let bed = Testbed::with_config(&format!("inject = {inject:?}\n{port}"));
        let (bed, container, daemon, port) = setup(bed, Recipe::new("zwave").image(image));
        let port = port.mode(0o640).owner(1000);
        port.plug();
        container.has_port(&port);
        port.unplug();
        container.has_only(&[]);

        let mut watcher = Watcher::of(&container, &["/dev", "/dev/serial/by-id"]);
        let event = |path: &str, what, entry| (name(path), what, entry);
        port.plug();
        watcher.sees(&[
            event("zwave", "created", port.entry()),
            event(&port.by_id(), "created", port.link_at(&port.by_id())),
        ]);
        // It comes back under another number, and nobody has seen it go.
        let other = stick(62).mode(0o640).owner(1000);
        let other = other.with("TEST_BY_ID", name(&port.by_id()));
        daemon.stop();
        port.unplug();
        other.plug();
        let daemon = bed.daemon();
        watcher.sees(&[event("zwave", "moved to", other.entry())]);
        other.unplug();
        watcher.sees(&[
            event("zwave", "deleted", Entry::Absent),
            event(&port.by_id(), "deleted", Entry::Absent),
        ]);
        daemon.stop();
    }
}
