//! Whether a command that is executed as root in a container could serve somebody else there.
//!
//! It runs programs that it finds in the container, and works on names in its directories. A user
//! who can replace one of the programs becomes root by it, and one who can rename the entries of
//! such a directory leads it to other files. So all of them have to be writable by root alone.

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::container::rootfs::{Entered, PATH_ONLY, kind};
use crate::container::script::{PROGRAM_DIRECTORIES, PROGRAMS};

/// What the loader of programs reads in /etc (ld.so(8)).
const LOADER_FILES: [&str; 2] = ["/etc/ld.so.cache", "/etc/ld.so.preload"];

/// Where it finds libraries (ld.so(8); musl, ldso/dynlink.c, `load_library`).
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/local/lib"];

/// The directories in those that Debian has its libraries in (debian-policy, 9.1.1).
const ARCHITECTURES: [&str; 4] = [
    "aarch64-linux-gnu",
    "arm-linux-gnueabihf",
    "i386-linux-gnu",
    "x86_64-linux-gnu",
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
        let single = ["/bin/sh"]
            .into_iter()
            .chain(LOADER_FILES)
            .chain(directories);
        let programs = in_each(&PROGRAM_DIRECTORIES, &PROGRAMS);
        let libraries = in_each(&LIBRARIES, &ARCHITECTURES);
        for path in single.map(str::to_owned).chain(programs).chain(libraries) {
            let found = self.replaceable_on(&path).context(path)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The same for all that is on the way to `path`, through links too. Only root can make what is
    /// missing.
    fn replaceable_on(&self, path: &str) -> anyhow::Result<Option<String>> {
        let mut links = 0;
        // A path without links, and the components that are left, the next one last.
        let (mut at, mut left) = (String::new(), components(path));
        while let Some(component) = left.pop() {
            let before = at.clone();
            at = step(at, &component);
            let entry = match self.tree.resolve(&at, PATH_ONLY | OFlag::O_NOFOLLOW) {
                Ok(entry) => entry,
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let stat = fstat(&entry)?;
            if kind(&stat) == SFlag::S_IFLNK {
                links += 1;
                anyhow::ensure!(links <= MOST_LINKS, "too many links");
                // An empty path reads the link of the descriptor itself (readlinkat(2)).
                let target = readlinkat(&entry, "")?;
                left.extend(components(target.to_str().context("a link is no text")?));
                at = before;
            } else if !self.belongs_to_root(&stat) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Whether root alone can write to it. Where it has an access control list, the bits of its
    /// group are the most that the list grants (acl(5)).
    fn belongs_to_root(&self, stat: &FileStat) -> bool {
        let root = self.rootfs.users.on_host(0, 0);
        let owner = stat.st_uid;
        (owner == 0 || root.is_some_and(|(uid, _)| uid == owner)) && stat.st_mode & 0o022 == 0
    }
}

/// Each of the names in each of the directories.
fn in_each(directories: &[&str], names: &[&str]) -> impl Iterator<Item = String> {
    let paths = |directory| names.iter().map(move |name| format!("{directory}/{name}"));
    directories.iter().flat_map(paths)
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
    use crate::container::rootfs::Rootfs;

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
            let found = entered.replaceable_on(path).unwrap();
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
