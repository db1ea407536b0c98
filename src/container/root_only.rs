//! Whether a command that is executed as root in a container could serve somebody else there.
//!
//! It runs programs that it finds in the container, and works on names in its directories. A user
//! who can replace one of the programs becomes root by it, and one who can rename the entries of
//! such a directory leads it to other files. So all of them have to be writable by root alone.

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::container::rootfs::{Entered, PATH_ONLY, kind};
use crate::container::script::{PROGRAM_DIRECTORIES, PROGRAMS};

/// Single files: the shell; the loaders of programs, at the paths that their ABIs have fixed; what
/// those read in /etc (ld.so(8); musl, ldso/dynlink.c); and what chown looks a number up in, which
/// it takes for a name first (POSIX, chown).
const FILES: [&str; 18] = [
    "/bin/sh",
    "/etc/group",
    "/etc/ld-musl-aarch64.path",
    "/etc/ld-musl-armhf.path",
    "/etc/ld-musl-i386.path",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux-armhf.so.3",
    "/lib/ld-linux.so.2",
    "/lib/ld-musl-aarch64.so.1",
    "/lib/ld-musl-armhf.so.1",
    "/lib/ld-musl-i386.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib64/ld-linux-x86-64.so.2",
];

/// Where they find libraries (ld.so(8); musl, ldso/dynlink.c, `load_library`).
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/local/lib"];

/// The directories in those that Debian has its libraries in (debian-policy, 9.1.1).
const ARCHITECTURES: [&str; 4] = [
    "aarch64-linux-gnu",
    "arm-linux-gnueabihf",
    "i386-linux-gnu",
    "x86_64-linux-gnu",
];

/// The libraries of the shell and of coreutils, and the one that glibc before 2.34 reads
/// /etc/passwd with.
const LIBRARY_FILES: [&str; 6] = [
    "libacl.so.1",
    "libattr.so.1",
    "libc.so.6",
    "libnss_files.so.2",
    "libpcre2-8.so.0",
    "libselinux.so.1",
];

/// More links than this on one path are an error (the kernel's own limit; path_resolution(7)).
const MOST_LINKS: usize = 40;

impl Entered<'_> {
    /// Finds something that users other than root could replace, among all that a command needs
    /// that works in `directories`.
    ///
    /// # Errors
    /// The container has ended, or something in it cannot be read.
    pub fn replaceable<'a>(
        &self,
        directories: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Option<String>> {
        let mut ways = Ways::new(self);
        let directories = directories.into_iter().map(str::to_owned);
        for path in programs_and_files().into_iter().chain(directories) {
            let found = ways.replaceable_on(&path).context(path)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What is at a path without links above its end.
    fn at(&self, path: &str) -> anyhow::Result<At> {
        let entry = match self.tree.resolve(path, PATH_ONLY | OFlag::O_NOFOLLOW) {
            Ok(entry) => entry,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(At::Nothing),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&entry)?;
        if kind(&stat) == SFlag::S_IFLNK {
            // An empty path reads the link of the descriptor itself (readlinkat(2)).
            let target = readlinkat(&entry, "")?;
            let target = target.to_str().context("a link is no text")?;
            return Ok(At::Link(target.to_owned()));
        }
        Ok(match self.belongs_to_root(&stat) {
            true => At::Roots,
            false => At::Replaceable,
        })
    }

    /// Whether root alone can write to it. Where it has an access control list, the bits of its
    /// group are the most that the list grants (acl(5)).
    fn belongs_to_root(&self, stat: &FileStat) -> bool {
        let root = self.rootfs.users.on_host(0, 0);
        let owner = stat.st_uid;
        (owner == 0 || root.is_some_and(|(uid, _)| uid == owner)) && stat.st_mode & 0o022 == 0
    }
}

/// What is at a path.
enum At {
    /// Only root can make it.
    Nothing,
    Link(String),
    /// Root alone can write to it.
    Roots,
    Replaceable,
}

/// The ways to many paths. Most begin alike, and each part of them is looked at once.
struct Ways<'a> {
    entered: &'a Entered<'a>,
    known: BTreeMap<String, At>,
}

impl<'a> Ways<'a> {
    fn new(entered: &'a Entered<'a>) -> Self {
        Self {
            entered,
            known: BTreeMap::new(),
        }
    }

    /// Finds something that users other than root could replace on the way to `path`, through links
    /// too.
    fn replaceable_on(&mut self, path: &str) -> anyhow::Result<Option<String>> {
        let mut links = 0;
        // A path without links, and the components that are left, the next one last.
        let (mut at, mut left) = (String::new(), components(path));
        while let Some(component) = left.pop() {
            let next = step(at.clone(), &component);
            match self.at(&next)? {
                At::Nothing => return Ok(None),
                At::Replaceable => return Ok(Some(next)),
                At::Roots => at = next,
                At::Link(target) => {
                    links += 1;
                    anyhow::ensure!(links <= MOST_LINKS, "too many links");
                    left.extend(components(target));
                }
            }
        }
        Ok(None)
    }

    fn at(&mut self, path: &str) -> anyhow::Result<&At> {
        if !self.known.contains_key(path) {
            let at = self.entered.at(path)?;
            self.known.insert(path.to_owned(), at);
        }
        Ok(&self.known[path])
    }
}

/// All that a command may run, load or read, wherever it works.
fn programs_and_files() -> Vec<String> {
    let mut directories = in_each(&LIBRARIES, &ARCHITECTURES);
    directories.extend(LIBRARIES.map(str::to_owned));
    [
        FILES.map(str::to_owned).into(),
        in_each(&PROGRAM_DIRECTORIES, &PROGRAMS),
        in_each(&directories, &LIBRARY_FILES),
    ]
    .concat()
}

/// Each of the names in each of the directories.
fn in_each(directories: &[impl Display], names: &[&str]) -> Vec<String> {
    let paths = |directory| names.iter().map(move |name| format!("{directory}/{name}"));
    directories.iter().flat_map(paths).collect()
}

/// The components of a path in reverse, with the root directory if it is absolute.
fn components(path: &str) -> Vec<String> {
    let named = path.split('/').filter(|name| !matches!(*name, "" | "."));
    let root = path.starts_with('/').then_some("/");
    let all = root.into_iter().chain(named).map(str::to_owned);
    all.rev().collect()
}

/// The path that a component leads to from another path.
fn step(path: String, component: &str) -> String {
    match component {
        "/" => "/".to_owned(),
        ".." => match path.rsplit_once('/') {
            None | Some(("", _)) => "/".to_owned(),
            Some((above, _)) => above.to_owned(),
        },
        name => format!("{}/{name}", path.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{PROGRAMS, Ways, programs_and_files};
    use crate::container::rootfs::Rootfs;

    /// The loader lists what it would load (ld.so(8), LD_TRACE_LOADED_OBJECTS).
    #[test]
    fn every_file_that_the_programs_of_this_system_load_is_looked_at() {
        let looked_at = programs_and_files();
        for program in ["sh"].into_iter().chain(PROGRAMS) {
            let mut command = Command::new(program);
            let output = command.env("LD_TRACE_LOADED_OBJECTS", "1").output();
            let loaded = String::from_utf8(output.unwrap().stdout).unwrap();
            for path in loaded.split_whitespace().filter(|w| w.starts_with('/')) {
                assert!(looked_at.contains(&path.to_owned()), "{program}: {path}");
            }
            assert!(loaded.contains("libc.so.6"), "{program}: {loaded}");
        }
    }

    #[test]
    fn what_chown_looks_numbers_up_in_is_looked_at() {
        let looked_at = programs_and_files();
        for file in ["passwd", "group", "nsswitch.conf"] {
            assert!(looked_at.contains(&format!("/etc/{file}")), "{file}");
        }
    }

    /// These are the same on every Debian, also where unit tests run as anyone.
    #[test]
    fn what_others_could_replace_is_found_on_every_way_to_it() {
        let rootfs = Rootfs::own();
        let entered = rootfs.enter().unwrap();
        for (path, expected) in [
            ("/etc/passwd", None),
            ("/etc/missing/passwd", None),
            ("/etc/passwd/below", None),
            ("/tmp", Some("/tmp")),
            ("/tmp/missing", Some("/tmp")),
            ("/etc/../../tmp/./x", Some("/tmp")),
            // A link to /run, which makes it another file than /var/tmp.
            ("/var/run/../tmp/x", Some("/tmp")),
            ("/dev/null", Some("/dev/null")),
        ] {
            let found = Ways::new(&entered).replaceable_on(path).unwrap();
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
