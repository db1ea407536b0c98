//! The path of a trapped open, below a root directory with links that the container has made: it
//! leads where the kernel says, or nowhere, and finding that out takes little.
#![no_main]

use std::fs::{File, create_dir};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use ttyplugd::keeper::resolve::{Tree, Work};
use ttyplugd_fuzz::bounded;

#[derive(Debug, Arbitrary)]
struct Input {
    entries: Vec<(Vec<Name>, Entry)>,
    path: Vec<Name>,
}

/// Few names, that they meet.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Name {
    A,
    B,
    Dev,
    Up,
    Here,
    Root,
}

#[derive(Debug, Arbitrary)]
enum Entry {
    Directory,
    Link(Vec<Name>),
}

fn path(names: &[Name]) -> String {
    let text = |name: &Name| match name {
        Name::A => "a",
        Name::B => "b",
        Name::Dev => "dev",
        Name::Up => "..",
        Name::Here => ".",
        Name::Root => "",
    };
    let names: Vec<&str> = names.iter().take(64).map(text).collect();
    names.join("/")
}

/// The path of a new entry, which stays below the root.
fn place(root: &Path, names: &[Name]) -> std::path::PathBuf {
    let below = names
        .iter()
        .filter(|name| matches!(name, Name::A | Name::B | Name::Dev));
    let below: Vec<Name> = below.take(4).copied().collect();
    root.join(path(&below))
}

fuzz_target!(|input: Input| {
    let directory = tempfile::tempdir_in("/dev/shm").expect("there is room");
    let root = directory.path();
    create_dir(root.join("dev")).expect("there is room");
    for (names, entry) in input.entries.iter().take(24) {
        let place = place(root, names);
        // Never through a link: that would lead out of the root.
        let parent = place.parent().unwrap_or(root);
        if parent.canonicalize().ok().as_deref() != Some(parent) {
            continue;
        }
        let _ = match entry {
            Entry::Directory => create_dir(place),
            Entry::Link(target) => symlink(path(target), place),
        };
    }
    let path = format!("/{}", path(&input.path));
    let opened = File::open(root).expect("it is there");
    let by_kernel = by_kernel(&opened, root, &path);

    let mut tree = Tree::below(OwnedFd::from(opened));
    let found = bounded(|| tree.resolve(b"/", path.as_bytes()));
    let work = tree.work();
    assert!(work.look_ups <= Work::MOST.look_ups && work.components <= Work::MOST.components);
    if let (Ok(found), Some(expected)) = (found, by_kernel) {
        assert_eq!(found.as_str(), expected, "{path}");
    }
});

/// Where the kernel comes to, if there is something.
fn by_kernel(opened: &File, root: &Path, path: &str) -> Option<String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let end = openat2(opened, path, flags, Mode::empty(), how).ok()?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", end.as_raw_fd())).ok()?;
    let below = name.strip_prefix(root).expect("it is below the root");
    let text = std::str::from_utf8(below.as_os_str().as_bytes()).expect("it is text");
    Some(format!("/{text}"))
}
