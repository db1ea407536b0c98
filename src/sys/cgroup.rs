//! The control groups that a process is in (cgroups(7), /proc/PID/cgroup).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use crate::sys::mountinfo::{Mount, parse_mountinfo};

/// The group of a process in one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership<'a> {
    /// Empty for version 2.
    controllers: &'a str,
    pub path: &'a str,
}

/// Reads such a file; lines that are not understood are passed over.
pub fn memberships(text: &str) -> impl Iterator<Item = Membership<'_>> {
    text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some(Membership { controllers, path })
    })
}

/// Moves this process into the groups that such a file names.
///
/// # Errors
/// It could not be moved in one of the hierarchies.
pub fn join(text: &str) -> io::Result<()> {
    let mounts = parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?);
    let joined = memberships(text).map(|group| {
        let group = group
            .directory(group.path, &mounts)
            .ok_or(io::ErrorKind::NotFound)?;
        fs::write(group.join("cgroup.procs"), process::id().to_string())
    });
    // In as many as possible.
    joined.fold(Ok(()), Result::and)
}

/// Whether the process is in a container, see [`Membership::container`].
pub fn is_in_container(text: &str, parent: &str, id: &str) -> bool {
    memberships(text).any(|its| its.container(parent, id).is_some())
}

/// The ids of the containers that a process is in, from the outermost inwards in each hierarchy.
/// Docker names groups after them, 64 hexadecimal digits, with either cgroup driver (moby,
/// daemon/oci_linux.go, `WithCgroups`).
pub fn containers(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() == 64)
}

impl<'a> Membership<'a> {
    /// Whether the hierarchy is that of version 2.
    pub fn is_v2(self) -> bool {
        self.controllers.is_empty()
    }

    /// Whether a controller of version 1 is in the hierarchy.
    pub fn has_controller(self, name: &str) -> bool {
        self.controllers
            .split(',')
            .any(|controller| controller == name)
    }

    /// Where the group at a path of this hierarchy is mounted.
    pub fn directory(self, path: &str, mounts: &[Mount]) -> Option<PathBuf> {
        let is_its = |mount: &&Mount| match self.is_v2() {
            true => mount.kind == "cgroup2",
            false => mount.kind == "cgroup" && self.has_all_in(mount),
        };
        let mount = mounts.iter().find(is_its)?;
        let path = path.strip_prefix(mount.root.trim_end_matches('/'))?;
        Some(Path::new(&mount.point).join(path.trim_start_matches('/')))
    }

    fn has_all_in(self, mount: &Mount) -> bool {
        let mut controllers = self.controllers.split(',');
        controllers.all(|controller| mount.has_option(controller))
    }

    /// The part of the path that is the container's own group. It is named after the container, and is
    /// the first such group: what is below may be made by the container. The group `parent` has all
    /// containers of an engine, and may have the name of one of them.
    pub fn container(self, parent: &str, id: &str) -> Option<&'a str> {
        let is_below = |rest: &&str| rest.starts_with('/');
        let below = self.path.strip_prefix(parent).filter(is_below);
        let mut end = self.path.len() - below.unwrap_or(self.path).len();
        for name in self.path[end..].split('/') {
            end += name.len();
            if is_named_after(name, id) {
                return Some(&self.path[..end]);
            }
            end += 1;
        }
        None
    }
}

/// Whether a group is named after a container: `ID`, or `PREFIX-ID.scope` (moby, daemon/oci_linux.go,
/// `WithCgroups`; runc, libcontainer/cgroups/systemd, `getUnitName`), or with a prefix but no suffix
/// (podman, libpod/container_internal_linux.go; cri-o, internal/config/cgmgr).
fn is_named_after(name: &str, id: &str) -> bool {
    let scope = name.strip_suffix(".scope");
    let prefix = scope.unwrap_or(name).strip_suffix(id);
    let is_prefix = |prefix: &str| match scope {
        Some(_) => prefix.is_empty() || prefix.ends_with('-'),
        None => ["libpod-", "libpod-payload-", "crio-"].contains(&prefix),
    };
    name == id || prefix.is_some_and(is_prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own<'a>(path: &'a str, id: &str) -> Option<&'a str> {
        let controllers = "";
        Membership { controllers, path }.container("", id)
    }

    #[test]
    fn a_containers_own_group_is_named_after_it_as_a_whole() {
        for path in [
            "/docker/c0ffee",
            "/system.slice/docker-c0ffee.scope",
            "/machine.slice/libpod-c0ffee.scope",
        ] {
            assert_eq!(own(path, "c0ffee"), Some(path));
            let below = format!("{path}/init.scope/c0ffee");
            assert_eq!(own(&below, "c0ffee"), Some(path));
        }
        for path in [
            "/docker/c0ffee1",
            "/docker/1c0ffee",
            "/c0ffee.slice/x",
            "/",
            "",
        ] {
            assert_eq!(own(path, "c0ffee"), None, "{path}");
        }
    }

    /// An id is what its maker chooses, and so are the groups above it.
    #[test]
    fn an_id_of_any_form_is_found_in_the_name_of_a_scope_as_a_whole() {
        let path = "/system.slice/runc-my-own.a.scope";
        assert_eq!(own(path, "my-own.a"), Some(path));
        assert_eq!(own("/x/a.scope", "a.scope"), Some("/x/a.scope"));
        assert_eq!(own("/team-a/b", "a"), None);
        assert_eq!(own("/team-a/a", "a"), Some("/team-a/a"));
        for name in ["libpod-payload-a", "libpod-a", "crio-a", "a.scope"] {
            let path = format!("/x.service/{name}");
            assert_eq!(own(&path, "a"), Some(path.as_str()));
        }
    }

    #[test]
    fn the_groups_of_both_versions_are_read() {
        let text = "9:cpu,cpuacct:/a\n4:misc,devices:/docker/x:y\n0::/z\nnonsense\n";
        let path = |is_it: fn(&Membership) -> bool| memberships(text).find(is_it).unwrap().path;
        assert_eq!(path(|its| its.has_controller("devices")), "/docker/x:y");
        assert_eq!(path(|its| its.is_v2()), "/z");
        assert_eq!(memberships(text).count(), 3);
        assert!(is_in_container(text, "", "x:y"));
        assert!(!is_in_container(text, "", "devices"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text: String, parent: String, id: String) {
            let _ = is_in_container(&text, &parent, &id);
        }
    }
}
