//! Which name in a container's /dev a path leads to, found as the kernel finds it, links followed.
//!
//! The container chooses the path, and makes the directories and links on its way. So the work is
//! bounded, and nothing is asked that might never be answered. A path that takes more leads to no
//! name, and its open goes on. The links of /proc, which mean something else for every thread, are
//! never followed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Split};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::Mode;

use crate::model::NodePath;
use crate::sys::mountinfo::{id_and_kind, mount_id};

/// The longest path that is followed, before and after every link in it.
pub const MOST_BYTES: usize = 1024;

/// How many lines of a mount table count as one look-up.
const LINES: usize = 4;

/// How the kernel is asked for what it has cached (openat2(2)).
const CACHED: ResolveFlag = ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED);

/// What following a path has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// How often the kernel was asked about a name, a link or a mount.
    pub look_ups: usize,
    /// How many components those names had.
    pub components: usize,
}

impl Work {
    /// What it may cost. It is enough for a chain of four links, for three that are not in the
    /// kernel's cache, and for any name that a port can have.
    pub const MOST: Self = Self {
        look_ups: 21,
        components: 512,
    };

    pub fn is_within(self, most: Self) -> bool {
        self.look_ups <= most.look_ups && self.components <= most.components
    }

    fn add(&mut self, components: usize) -> io::Result<()> {
        let more = Self {
            look_ups: self.look_ups + 1,
            components: self.components + components,
        };
        if !more.is_within(Self::MOST) {
            return Err(Errno::E2BIG.into());
        }
        *self = more;
        Ok(())
    }
}

/// The files as a thread sees them.
#[derive(Debug)]
pub struct Tree {
    tid: u32,
    /// How the kernel is asked for what it has cached. `None` once it turns out to be too old.
    cached: Option<ResolveFlag>,
    /// Not opened before it is needed.
    root: Option<OwnedFd>,
    /// Not read before it is needed.
    mounts: Option<Mounts>,
    /// The names in /dev that were links, in their order.
    passed: Vec<NodePath>,
    work: Work,
}

/// What the kernel says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Something,
    Nothing,
    /// One of its components, and be it the last, is a symbolic link.
    Link,
}

impl Tree {
    pub fn of_thread(tid: u32) -> Self {
        Self {
            tid,
            cached: Some(CACHED),
            root: None,
            mounts: None,
            passed: Vec::new(),
            work: Work::default(),
        }
    }

    /// The files below a directory, whichever root this thread has.
    pub fn below(root: OwnedFd) -> Self {
        Self {
            root: Some(root),
            ..Self::of_thread(std::process::id())
        }
    }

    pub fn work(&self) -> Work {
        self.work
    }

    /// Takes out the names in /dev that were links on the way, in their order.
    pub fn take_passed(&mut self) -> Vec<NodePath> {
        std::mem::take(&mut self.passed)
    }

    /// Follows a path, which begins at the directory `base` if it is relative. Whether there is a
    /// file at its end does not matter.
    ///
    /// # Errors
    /// It does not lead to a name that a port may have, or not within [`Work::MOST`].
    pub fn resolve(&mut self, base: &[u8], path: &[u8]) -> io::Result<NodePath> {
        let name = self.follow(base, path)?;
        let name = String::from_utf8(name).map_err(io::Error::other)?;
        name.parse().map_err(io::Error::other)
    }

    fn follow(&mut self, base: &[u8], path: &[u8]) -> io::Result<Vec<u8>> {
        let base = match base {
            b"/" => b"",
            base => base,
        };
        let mut walk = Walk {
            name: base.to_vec(),
            known: base.len(),
            rest: Vec::new(),
            at: 0,
        };
        walk.go_on_with(path.to_vec())?;
        walk.walk(self)
    }

    /// Looks a name up. In /dev, which is a file system in memory, everything that exists is
    /// cached; that the kernel could not wait for another processor is not likely to happen twice.
    fn look_up(&mut self, name: &[u8], flags: OFlag) -> io::Result<Found> {
        match self.open_cached(name, flags)? {
            Err(Errno::EAGAIN) if !is_in_dev(name) => found(self.open_on_disk(name, flags)?),
            Err(Errno::EAGAIN) => match self.open_cached(name, flags)? {
                Err(Errno::EAGAIN) => Ok(Found::Nothing),
                opened => found(opened),
            },
            opened => found(opened),
        }
    }

    /// Opens a name of which not everything is cached, where the rest of it is on a local file
    /// system: the look-up ends, and what it has found is cached.
    fn open_on_disk(&mut self, name: &[u8], flags: OFlag) -> io::Result<Result<OwnedFd, Errno>> {
        let mut above = parent(name);
        let directory = loop {
            if above.is_empty() {
                break self.root()?.try_clone()?;
            }
            match self.open_cached(above, OFlag::O_DIRECTORY)? {
                Err(Errno::EAGAIN) => above = parent(above),
                Err(error) => return Ok(Err(error)),
                Ok(directory) => break directory,
            }
        };
        self.ensure_local(&directory)?;
        let rest = &name[above.len() + 1..];
        self.work.add(components(rest))?;
        let resolve = ResolveFlag::RESOLVE_NO_XDEV;
        Ok(open_path(&directory, rest, flags, resolve))
    }

    /// Opens a name if the kernel can do so from its cache alone (openat2(2), RESOLVE_CACHED), so
    /// no file server is asked, which may be dead or the container's own. A kernel before 5.12
    /// knows no such flag; there a name outside /dev is found if it is on the file system of the
    /// root, and links in /dev are not followed.
    fn open_cached(&mut self, name: &[u8], flags: OFlag) -> io::Result<Result<OwnedFd, Errno>> {
        let Some(cached) = self.cached else {
            return Ok(Err(Errno::EAGAIN));
        };
        self.work.add(components(name))?;
        let name = name.strip_prefix(b"/").unwrap_or(b".");
        match open_path(self.root()?, name, flags, cached) {
            Err(Errno::EINVAL) => {
                self.cached = None;
                Ok(Err(Errno::EAGAIN))
            }
            opened => Ok(opened),
        }
    }

    /// Reads a link.
    fn read_link(&mut self, name: &[u8]) -> io::Result<Vec<u8>> {
        let link = match self.open_cached(name, OFlag::O_NOFOLLOW)? {
            Err(Errno::EAGAIN) if !is_in_dev(name) => self.open_on_disk(name, OFlag::O_NOFOLLOW)?,
            opened => opened,
        }?;
        self.ensure_local(&link)?;
        self.work.add(0)?;
        Ok(readlinkat(&link, "")?.into_vec())
    }

    /// Makes sure that look-ups at a file end in finite time, by the type of its file system.
    /// statfs(2) would ask the file server, so the mount's number is looked for in the thread's own
    /// table.
    fn ensure_local(&mut self, file: &OwnedFd) -> io::Result<()> {
        self.work.add(0)?;
        let id = mount_id(file)?;
        let mounts = match &mut self.mounts {
            Some(mounts) => mounts,
            none => none.insert(Mounts::of_thread(self.tid)?),
        };
        match mounts.is_local(id, &mut self.work)? {
            true => Ok(()),
            false => Err(Errno::EREMOTE.into()),
        }
    }

    fn root(&mut self) -> io::Result<&OwnedFd> {
        if self.root.is_none() {
            let link = format!("/proc/{}/root", self.tid);
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            self.root = Some(open(link.as_str(), flags, Mode::empty())?);
        }
        self.root.as_ref().ok_or_else(|| Errno::EBADF.into())
    }
}

/// A thread's mount table, which is read once, and only as far as is needed.
#[derive(Debug)]
struct Mounts {
    unread: Split<BufReader<File>>,
    /// How many lines were read, and the mounts of local file systems among them.
    read: usize,
    local: Vec<u64>,
}

impl Mounts {
    /// The kernel makes no more lines than are read, if the buffer is small; / and /dev come first.
    fn of_thread(tid: u32) -> io::Result<Self> {
        let table = File::open(format!("/proc/{tid}/mountinfo"))?;
        Ok(Self {
            unread: BufReader::with_capacity(512, table).split(b'\n'),
            read: 0,
            local: Vec::new(),
        })
    }

    fn is_local(&mut self, id: u64, work: &mut Work) -> io::Result<bool> {
        const LOCAL: [&str; 13] = [
            "bcachefs", "btrfs", "devtmpfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs",
            "squashfs", "tmpfs", "xfs", "zfs",
        ];
        while !self.local.contains(&id) {
            if self.read % LINES == 0 {
                work.add(0)?;
            }
            let Some(line) = self.unread.next().transpose()? else {
                return Ok(false);
            };
            self.read += 1;
            let line = String::from_utf8_lossy(&line);
            let local = id_and_kind(&line).filter(|(_, kind)| LOCAL.contains(kind));
            self.local.extend(local.map(|(id, _)| id));
        }
        Ok(true)
    }
}

/// A path that is followed, from the top.
#[derive(Debug)]
struct Walk {
    /// What has been walked, as the kernel reads it: `a//./b` is `a/b`. Empty at the root.
    name: Vec<u8>,
    /// How many bytes of the name are known to be directories, none of them a link.
    known: usize,
    /// The path, and where in it what is left of it begins.
    rest: Vec<u8>,
    at: usize,
}

impl Walk {
    /// Goes all the way. The name as a whole is looked up, so one question is enough for most
    /// paths.
    fn walk(mut self, tree: &mut Tree) -> io::Result<Vec<u8>> {
        loop {
            while self.at < self.rest.len() {
                self.step(tree)?;
            }
            if self.is_the_runtimes() {
                return Err(Errno::ENODEV.into());
            }
            match tree.look_up(&self.name, OFlag::empty())? {
                Found::Link => self.follow_link(tree)?,
                Found::Something | Found::Nothing => return Ok(self.name),
            }
        }
    }

    /// Takes the next component.
    fn step(&mut self, tree: &mut Tree) -> io::Result<()> {
        let rest = &self.rest[self.at..];
        let end = rest.iter().position(|byte| *byte == b'/');
        let component = &rest[..end.unwrap_or(rest.len())];
        match component {
            b"" | b"." => {}
            b".." if self.name.len() > self.known => {
                // It may be a link, in which case this step comes again.
                return self.enter(tree);
            }
            b".." => {
                self.name.truncate(parent(&self.name).len());
                self.known = self.name.len();
            }
            component => {
                self.name.push(b'/');
                self.name.extend(component);
            }
        }
        self.at += component.len() + 1;
        Ok(())
    }

    /// Makes sure that the name is a directory's.
    fn enter(&mut self, tree: &mut Tree) -> io::Result<()> {
        match tree.look_up(&self.name, OFlag::O_DIRECTORY)? {
            Found::Something => self.known = self.name.len(),
            Found::Link => self.follow_link(tree)?,
            Found::Nothing => return Err(Errno::ENOENT.into()),
        }
        Ok(())
    }

    /// Puts the target of the first link in the name into its place. Most links are the last
    /// component.
    fn follow_link(&mut self, tree: &mut Tree) -> io::Result<()> {
        let passed = std::str::from_utf8(&self.name).ok();
        tree.passed
            .extend(passed.and_then(|name| name.parse().ok()));
        let mut directory = parent(&self.name).len();
        while directory > self.known
            && tree.look_up(&self.name[..directory], OFlag::O_DIRECTORY)? == Found::Link
        {
            directory = parent(&self.name[..directory]).len();
        }
        let name = &self.name[directory + 1..];
        let slash = name.iter().position(|byte| *byte == b'/');
        let link = slash.map_or(self.name.len(), |slash| directory + 1 + slash);
        let mut path = tree.read_link(&self.name[..link])?;
        path.extend(&self.name[link..]);
        if self.at < self.rest.len() {
            path.push(b'/');
            path.extend(&self.rest[self.at..]);
        }
        self.name.truncate(directory);
        self.go_on_with(path)
    }

    fn go_on_with(&mut self, path: Vec<u8>) -> io::Result<()> {
        if path.starts_with(b"/") {
            self.name.clear();
        } else if !self.name.is_empty() && !self.name.starts_with(b"/") {
            // proc(5): what is no file of a file system has no path, such as `pipe:[1]`.
            return Err(Errno::ENOTDIR.into());
        }
        // A directory is no port.
        let last = path.rsplit(|byte| *byte == b'/').next();
        if matches!(last, None | Some(b"" | b"." | b"..")) {
            return Err(Errno::EISDIR.into());
        }
        if self.name.len() + path.len() > MOST_BYTES {
            return Err(Errno::ENAMETOOLONG.into());
        }
        self.known = self.name.len();
        self.rest = path;
        self.at = 0;
        Ok(())
    }

    /// Whether the name is in /dev and no port may have it. Nobody makes a link to a port of it.
    fn is_the_runtimes(&self) -> bool {
        let name = std::str::from_utf8(&self.name);
        is_in_dev(&self.name) && !name.is_ok_and(|name| name.parse::<NodePath>().is_ok())
    }
}

fn found(opened: Result<OwnedFd, Errno>) -> io::Result<Found> {
    match opened {
        Ok(_) => Ok(Found::Something),
        Err(Errno::ENOENT) => Ok(Found::Nothing),
        Err(Errno::ELOOP) => Ok(Found::Link),
        Err(error) => Err(error.into()),
    }
}

/// Opens a name that has no `..` in it, and is not to lead through a link: it stays where it is.
fn open_path(
    directory: &impl AsFd,
    name: &[u8],
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | flags)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | resolve);
    openat2(directory, name, how)
}

fn is_in_dev(name: &[u8]) -> bool {
    name.starts_with(b"/dev/")
}

fn components(name: &[u8]) -> usize {
    name.iter().filter(|byte| **byte == b'/').count()
}

/// The directory of a name; that of `/a` is empty.
fn parent(name: &[u8]) -> &[u8] {
    let slash = name.iter().rposition(|byte| *byte == b'/');
    &name[..slash.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, create_dir_all, write};
    use std::os::unix::fs::symlink;
    use std::sync::LazyLock;

    /// Follows a path as this process sees it, and says what that took.
    fn follow(path: &str) -> (io::Result<String>, Work) {
        let mut tree = Tree::of_thread(std::process::id());
        let here = std::env::current_dir().unwrap();
        let name = tree.follow(here.as_os_str().as_encoded_bytes(), path.as_bytes());
        (
            name.map(|name| String::from_utf8(name).unwrap()),
            tree.work(),
        )
    }

    #[test]
    fn a_path_is_followed_as_the_kernel_follows_it() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let at = |name: &str| place.join(name).into_os_string().into_string().unwrap();
        create_dir(at("dir")).unwrap();
        symlink("/dev/zwave", at("absolute")).unwrap();
        symlink("dir/../relative-2", at("relative")).unwrap();
        symlink("absolute", at("relative-2")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("dir", at("linked-dir")).unwrap();
        symlink("/dev", at("dev")).unwrap();
        symlink("../linked-dir/", at("dir/up")).unwrap();
        let dir = at("dir");
        for (path, expected) in [
            ("/dev/zwave".to_owned(), "/dev/zwave".to_owned()),
            ("//dev/../dev/./zwave".into(), "/dev/zwave".into()),
            ("/../../dev/zwave".into(), "/dev/zwave".into()),
            ("/dev/no/such/by-id/x".into(), "/dev/no/such/by-id/x".into()),
            ("/dev/no//./such/x".into(), "/dev/no/such/x".into()),
            (at("absolute"), "/dev/zwave".into()),
            (at("relative"), "/dev/zwave".into()),
            (at("dir/../relative"), "/dev/zwave".into()),
            (at("dev/zwave"), "/dev/zwave".into()),
            (at("dev/../dev/zwave"), "/dev/zwave".into()),
            (at("linked-dir/x"), format!("{dir}/x")),
            (at("linked-dir/../absolute"), "/dev/zwave".into()),
            (at("dir/../dir/x"), format!("{dir}/x")),
            ("/x".into(), "/x".into()),
        ] {
            assert_eq!(follow(&path).0.unwrap(), expected, "{path}");
        }
        for path in [
            at("loop"),
            at("loop/x"),
            at("dir/"),
            at("dir/.."),
            at("dir/up"),
            at("no/../x"),
            at("absolute/../zwave"),
            "/etc/passwd/x".into(),
            "/etc/passwd/../../dev/zwave".into(),
            "/proc/self/fd/0/x".into(),
            "/proc/self/root/dev/zwave".into(),
            "/dev/no/../zwave".into(),
            "/dev/ptmx".into(),
            "/".into(),
            String::new(),
        ] {
            assert!(follow(&path).0.is_err(), "{path}");
        }
        let here = std::env::current_dir().unwrap().join("x");
        assert_eq!(follow("./x").0.unwrap(), here.to_str().unwrap());
    }

    #[test]
    fn links_are_followed_on_a_kernel_that_does_not_know_what_is_cached() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        create_dir_all(at("app/dir/below")).unwrap();
        create_dir(at("dev")).unwrap();
        symlink("/dev/zwave", at("app/dir/below/port")).unwrap();
        symlink("dir/below/../below/port", at("app/relative")).unwrap();
        for (path, expected) in [
            ("/dev/zwave", "/dev/zwave"),
            ("/app/dir/below/port", "/dev/zwave"),
            ("/app/dir/../relative", "/dev/zwave"),
            ("/app/dir/x", "/app/dir/x"),
        ] {
            let mut tree = Tree::below(File::open(place.path()).unwrap().into());
            // The answer is that to every flag that a kernel does not know (openat2(2), EINVAL).
            tree.cached = Some(ResolveFlag::from_bits_retain(1 << 40));
            let name = tree.follow(b"/", path.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(name).unwrap(), expected, "{path}");
            assert_eq!(tree.cached, None);
        }
    }

    /// Directories and links of which much can be made in a path.
    fn hostile_place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        create_dir_all(at(&"d/".repeat(120))).unwrap();
        create_dir_all(at("a/b")).unwrap();
        write(at("file"), "").unwrap();
        symlink(".", at("here")).unwrap();
        symlink("..", at("a/up")).unwrap();
        symlink("a/b/../up/", at("a-link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("d/".repeat(120), at("deep")).unwrap();
        symlink("/dev/zwave", at("port")).unwrap();
        symlink("/dev/zwave", at("link-0")).unwrap();
        symlink("/dev/zwave", at("long-0")).unwrap();
        for n in 1..40 {
            symlink(format!("link-{}", n - 1), at(&format!("link-{n}"))).unwrap();
            let long = format!("{}long-{}", "./".repeat(2000), n - 1);
            symlink(long, at(&format!("long-{n}"))).unwrap();
        }
        place
    }

    #[test]
    fn what_a_usual_path_costs() {
        let place = hostile_place();
        let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        for (path, look_ups) in [
            ("/dev/null".to_owned(), 0),
            ("/dev/ptmx".into(), 0),
            ("/dev/pts/7".into(), 0),
            ("/etc/passwd".into(), 1),
            ("/dev/no-port".into(), 2),
            ("/dev/serial/no/port".into(), 2),
            ("/.././dev//no-port".into(), 2),
        ] {
            assert_eq!(follow(&path).1.look_ups, look_ups, "{path}");
        }
        // The whole and its directory, the link, its mount and its target, and what that is.
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let table = table.lines().count().div_ceil(LINES);
        let (path, least) = (at("port"), 2 + 3 + 2);
        let look_ups = follow(&path).1.look_ups;
        assert!((least..=least + table).contains(&look_ups), "{look_ups}");
    }

    #[test]
    fn no_path_costs_more_than_the_most() {
        let place = hostile_place();
        let at = |name: &str| format!("{}/{name}", place.path().display());
        for name in ["link-39", "long-39", "loop"] {
            let (name, work) = follow(&at(name));
            assert!(name.is_err() && work.is_within(Work::MOST), "{work:?}");
        }
        let parts = [
            "a/../",
            "a/b/../../",
            "./",
            "/",
            "m/",
            "m/../",
            "here/",
            "deep/",
            "deep/../",
            "../",
        ];
        for (part, times) in parts
            .map(|part| [1, 10, 100, 400].map(|n| (part, n)))
            .concat()
        {
            for path in [at(""), "/dev/".to_owned(), String::new()] {
                let path = format!("{path}{}x", part.repeat(times));
                let (_, work) = follow(&path);
                assert!(work.is_within(Work::MOST), "{path}: {work:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_path_leads_where_the_kernel_says(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "", ".", "..", "a", "b", "up", "a-link", "here", "d", "deep", "file", "m", "loop",
                    "link-2",
                ]),
                1..12,
            ),
        ) {
            static PLACE: LazyLock<tempfile::TempDir> = LazyLock::new(hostile_place);
            let path = PLACE.path().join(parts.join("/").trim_start_matches('/'));
            let (name, work) = follow(path.to_str().unwrap());
            proptest::prop_assert!(work.is_within(Work::MOST), "{:?}", work);
            if let (Ok(name), Ok(real)) = (name, path.canonicalize()) {
                proptest::prop_assert_eq!(name, real.to_str().unwrap());
            }
        }

        #[test]
        fn no_path_makes_the_resolver_panic(
            base in proptest::collection::vec(1u8.., 0..80), path in proptest::collection::vec(1u8.., 0..80),
        ) {
            let _ = Tree::of_thread(std::process::id()).resolve(&base, &path);
        }
    }
}
