//! Which nodes may be added to a bundle: those that will be in a tmpfs of the container's own, and
//! in nobody's way. Pure.
//!
//! The runtime makes the mounts in their order, each where its destination leads at that moment,
//! and then the nodes, with the directories above them (runc, libcontainer/rootfs_linux.go,
//! `prepareRootfs`). A node that it cannot make ends the container's creation.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::NodePath;
use crate::runtime::oci_config::BundleNode;

/// Why a node is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    #[error("it would not be in a tmpfs of the container's own")]
    Foreign,
    #[error("a mount or another device of the container is there, above it or below it")]
    Taken,
    #[error("a mount of the container leads through another one, so it could be anywhere")]
    Anywhere,
}

/// A path of which nobody can say where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// Reads the link at a path in the image; `None` if there is no link.
pub type ReadLink<'a> = &'a dyn Fn(&str) -> Result<Option<String>, Unknown>;

/// The nodes that may be added, and those that may not.
pub fn place(
    config: &Value,
    read_link: ReadLink,
    nodes: Vec<BundleNode>,
) -> (Vec<BundleNode>, Vec<(NodePath, LeftOut)>) {
    let mut layout = Layout::of(config, read_link);
    let (mut placed, mut left_out) = (Vec::new(), Vec::new());
    for node in nodes {
        let taken = match &mut layout {
            Ok(layout) => layout.take(node.path.as_str()),
            Err(Unknown) => Err(LeftOut::Anywhere),
        };
        match taken {
            Ok(()) => placed.push(node),
            Err(why) => left_out.push((node.path, why)),
        }
    }
    (placed, left_out)
}

/// The container's file systems as the runtime will have put them together, before it makes nodes.
struct Layout<'a> {
    read_link: ReadLink<'a>,
    /// The mounts that are not covered by a later one. The container's root is the empty path.
    mounts: BTreeMap<String, Content>,
    /// Where it makes or expects something that is neither a directory nor a mount.
    taken: Vec<String>,
}

/// What is in a directory, as far as it is known before the container exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The image's files, which nobody else changes any more.
    Image,
    /// A new tmpfs in which a node can be made and opened.
    Nodes,
    /// Nothing that leads out of it.
    Plain,
    /// Files of others, who can change them at any time. Looking at them may hang.
    Foreign,
}

impl Content {
    fn of(mount: &Value) -> Self {
        let options: Vec<&str> = texts(mount, "/options").collect();
        match mount.get("type").and_then(Value::as_str) {
            Some("tmpfs") if !options.iter().all(|option| is_usual(option)) => Self::Foreign,
            Some("tmpfs") if options.iter().any(|option| hinders_nodes(option)) => Self::Plain,
            Some("tmpfs") => Self::Nodes,
            Some("sysfs") => Self::Plain,
            _ => Self::Foreign,
        }
    }
}

/// Whether a tmpfs with this option begins empty and belongs to its container alone. Options such
/// as `bind`, `tmpcopyup` and `shared` make something else of it (OCI runtime-spec, config.md,
/// "Linux mount options").
fn is_usual(option: &str) -> bool {
    const FLAGS: [&str; 19] = [
        "atime",
        "defaults",
        "dev",
        "diratime",
        "exec",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "norelatime",
        "nosuid",
        "private",
        "relatime",
        "ro",
        "rprivate",
        "rw",
        "strictatime",
        "suid",
        "nostrictatime",
    ];
    const VALUES: [&str; 6] = ["gid", "mode", "nr_blocks", "nr_inodes", "size", "uid"];
    match option.split_once('=') {
        Some((key, _)) => VALUES.contains(&key),
        None => FLAGS.contains(&option),
    }
}

/// A node on a file system with `nodev` cannot be opened (mount(2)), and one more may be too many
/// inodes (tmpfs(5)).
fn hinders_nodes(option: &str) -> bool {
    option == "ro" || option == "nodev" || option.starts_with("nr_inodes=")
}

impl<'a> Layout<'a> {
    fn of(config: &Value, read_link: ReadLink<'a>) -> Result<Self, Unknown> {
        let mut layout = Self {
            read_link,
            mounts: BTreeMap::new(),
            taken: Vec::new(),
        };
        for mount in values(config, "/mounts") {
            layout.mount(mount)?;
        }
        let devices = values(config, "/linux/devices");
        let devices = devices.filter_map(|device| device.get("path")?.as_str());
        // The runtime mounts over these (config-linux.md, "Masked Paths" and "Readonly Paths").
        let covered = texts(config, "/linux/maskedPaths");
        let covered = covered.chain(texts(config, "/linux/readonlyPaths"));
        // One that leads through files of others is the operator's risk, with a node or without.
        let taken = devices.chain(covered);
        let taken: Vec<_> = taken.filter_map(|path| layout.resolve(path).ok()).collect();
        layout.taken.extend(taken);
        Ok(layout)
    }

    fn mount(&mut self, mount: &Value) -> Result<(), Unknown> {
        let destination = mount.get("destination").and_then(Value::as_str);
        let point = self.resolve(destination.ok_or(Unknown)?)?;
        if point.is_empty() {
            // Runtimes differ in what they then take for the container's root.
            return Err(Unknown);
        }
        // What it covers is not seen any more, and nothing is put in its place.
        let covered = |other: &&String| is_at_or_below(other, &point) && **other != point;
        self.taken
            .extend(self.mounts.keys().filter(covered).cloned());
        self.mounts
            .retain(|other, _| !is_at_or_below(other, &point));
        self.mounts.insert(point, Content::of(mount));
        Ok(())
    }

    /// Takes a place for a node.
    fn take(&mut self, node: &str) -> Result<(), LeftOut> {
        let is_there = self.resolve(node).is_ok_and(|path| path == node);
        if !is_there || self.content(parent(node)) != Content::Nodes {
            return Err(LeftOut::Foreign);
        }
        let is_in_the_way = |other: &String| is_at_or_below(other, node);
        let is_above = |other: &String| is_at_or_below(node, other);
        if self.mounts.keys().any(is_in_the_way)
            || self
                .taken
                .iter()
                .any(|other| is_in_the_way(other) || is_above(other))
        {
            return Err(LeftOut::Taken);
        }
        self.taken.push(node.to_owned());
        Ok(())
    }

    /// Where a path leads, as the runtime finds it: name by name below the container's root, with
    /// all links followed (filepath-securejoin, `SecureJoin`).
    fn resolve(&self, path: &str) -> Result<String, Unknown> {
        let mut names: Vec<String> = path.rsplit('/').map(String::from).collect();
        let (mut real, mut links) = (String::new(), 0);
        while let Some(name) = names.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    real.truncate(parent(&real).len());
                    continue;
                }
                _ => {}
            }
            let next = format!("{real}/{name}");
            if next.len() > LONGEST_PATH || links > MOST_LINKS {
                return Err(Unknown);
            }
            let Some(target) = self.link(&real, &next)? else {
                real = next;
                continue;
            };
            links += 1;
            if target.starts_with('/') {
                real.clear();
            }
            names.extend(target.rsplit('/').map(String::from));
        }
        Ok(real)
    }

    /// The target of the link at `path` in `directory`, if there is one.
    fn link(&self, directory: &str, path: &str) -> Result<Option<String>, Unknown> {
        if self.mounts.contains_key(path) {
            return Ok(None);
        }
        match self.content(directory) {
            Content::Image => (self.read_link)(path),
            Content::Nodes | Content::Plain => Ok(None),
            Content::Foreign => Err(Unknown),
        }
    }

    /// The content of a directory, by the mount that it is on.
    fn content(&self, directory: &str) -> Content {
        match self.mounts.get(directory) {
            Some(content) => *content,
            None if directory.is_empty() => Content::Image,
            None => self.content(parent(directory)),
        }
    }
}

/// The kernel's own limits (path_resolution(7)).
const MOST_LINKS: usize = 40;
const LONGEST_PATH: usize = 4096;

/// The directory of a path; that of a name in the container's root, and of the root, is empty.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_at_or_below(path: &str, other: &str) -> bool {
    let rest = path.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn values<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn texts<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    values(value, pointer).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{DevNum, Mode};

    fn mount(destination: &str, kind: &str, options: &str) -> Value {
        let options: Vec<&str> = options.split_terminator(',').collect();
        json!({ "destination": destination, "type": kind, "source": "x", "options": options })
    }

    /// What Docker mounts in every container (moby, oci/defaults.go), and one more.
    fn docker(more: impl IntoIterator<Item = Value>) -> Value {
        let mounts = [
            mount("/proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "nosuid,noexec,newinstance"),
            mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
            mount("/sys/fs/cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
            mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
            mount("/etc/hosts", "bind", "rbind,rprivate"),
        ];
        let mounts: Vec<Value> = mounts.into_iter().chain(more).collect();
        json!({
            "mounts": mounts,
            "linux": {
                "devices": [],
                "maskedPaths": ["/proc/kcore", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys"],
            },
        })
    }

    /// The links of the image, and what nobody can look up in it.
    fn read_link(path: &str) -> Result<Option<String>, Unknown> {
        match path {
            "/link" => Ok(Some("/dev".into())),
            "/var/run" => Ok(Some("../run".into())),
            "/circle" => Ok(Some("circle".into())),
            "/strange" => Err(Unknown),
            _ => Ok(None),
        }
    }

    fn nodes(paths: &[&str]) -> Vec<BundleNode> {
        let node = |path: &&str| BundleNode {
            path: path.parse().unwrap(),
            devnum: DevNum {
                major: 4,
                minor: 63,
            },
            mode: Mode::DEFAULT,
            uid: 0,
            gid: 20,
        };
        paths.iter().map(node).collect()
    }

    const NODE: &str = "/dev/ports/zwave";

    #[track_caller]
    fn is(config: &Value, expected: Result<(), LeftOut>) {
        let (placed, left_out) = place(config, &read_link, nodes(&[NODE]));
        let found = left_out.first().map_or(Ok(()), |(_, why)| Err(*why));
        assert_eq!(found, expected, "{config:#}");
        assert_eq!(placed.len(), usize::from(expected.is_ok()));
    }

    #[test]
    fn the_last_mount_at_or_above_a_node_decides() {
        let dev = |kind, options| mount("/dev", kind, options);
        let ports = |kind, options| mount("/dev/ports", kind, options);
        is(&docker([]), Ok(()));
        for mounts in [
            vec![dev("tmpfs", "")],
            vec![ports(
                "tmpfs",
                "nosuid,noexec,mode=0700,size=4k,uid=1,gid=1",
            )],
            vec![mount("/link/ports", "bind", ""), ports("tmpfs", "")],
            vec![
                mount("/dev/ports2", "bind", "rbind"),
                mount("/data", "bind", "rbind"),
            ],
            vec![mount("/dev/port", "bind", "rbind")],
            vec![
                mount("/run", "tmpfs", "nodev"),
                mount("/var/run/x", "bind", "bind"),
            ],
        ] {
            is(&docker(mounts), Ok(()));
        }
        let covered = [ports("bind", "rbind"), dev("tmpfs", "rw,dev")];
        is(&docker(covered), Err(LeftOut::Taken));
        for mounts in [
            vec![ports("bind", "rbind")],
            vec![ports("bind", "rbind,ro")],
            vec![ports("none", "bind")],
            vec![ports("tmpfs", "bind")],
            vec![ports("tmpfs", "tmpcopyup")],
            vec![ports("tmpfs", "shared")],
            vec![ports("tmpfs", "X-mount.mkdir")],
            vec![ports("tmpfs", "nosuid,noexec,nodev")],
            vec![ports("tmpfs", "ro")],
            vec![ports("tmpfs", "nr_inodes=13")],
            vec![ports("overlay", "")],
            vec![ports("ext4", "")],
            vec![json!({ "destination": "/dev/ports", "options": ["bind"] })],
            vec![mount("dev/ports", "bind", "rbind")],
            vec![mount("//dev/.//ports/", "bind", "rbind")],
            vec![mount("/x/../dev/ports", "bind", "rbind")],
            vec![mount("/../dev/ports", "bind", "rbind")],
            vec![mount("/link/ports", "bind", "rbind")],
            vec![mount("/link", "bind", "rbind")],
            vec![dev("bind", "rbind")],
            vec![dev("devtmpfs", "")],
            vec![dev("tmpfs", "nosuid,ro")],
            vec![ports("tmpfs", ""), dev("bind", "rbind")],
        ] {
            is(&docker(mounts), Err(LeftOut::Foreign));
        }
        for config in [
            json!({}),
            json!({ "mounts": null }),
            json!({ "mounts": [mount("/link", "tmpfs", "ro")] }),
            json!({ "mounts": [mount("/dev/ports", "bind", "")] }),
        ] {
            is(&config, Err(LeftOut::Foreign));
        }
    }

    #[test]
    fn a_mount_that_could_be_anywhere_leaves_every_node_out() {
        for mounts in [
            vec![
                mount("/data", "bind", "rbind"),
                mount("/data/x", "bind", "rbind"),
            ],
            vec![
                mount("/run", "tmpfs", "tmpcopyup"),
                mount("/run/x", "bind", ""),
            ],
            vec![mount("/proc/self/root/dev/ports", "bind", "rbind")],
            vec![mount("/circle/x", "bind", "rbind")],
            vec![mount("/strange/x", "tmpfs", "")],
            vec![mount(&"/x".repeat(4000), "bind", "rbind")],
            vec![mount("/link/..", "tmpfs", "")],
            vec![json!({ "type": "bind" })],
            vec![json!(7)],
        ] {
            is(&docker(mounts), Err(LeftOut::Anywhere));
        }
    }

    #[test]
    fn a_node_is_in_nobodys_way() {
        let device = |path: &str| json!({ "devices": [{ "path": path }] });
        let masked = |path: &str| json!({ "maskedPaths": [path] });
        let readonly = |path: &str| json!({ "readonlyPaths": [path] });
        for part in [device, masked, readonly] {
            for path in [
                NODE,
                "/dev/ports",
                "/dev/ports/zwave/x",
                "dev//ports/./x/../zwave",
                "/link/ports",
                "/dev",
            ] {
                let mut config = docker([]);
                config["linux"] = part(path);
                is(&config, Err(LeftOut::Taken));
            }
            for path in ["/dev/port", "/dev/ports/zwave2", "/circle", "/proc/x"] {
                let mut config = docker([]);
                config["linux"] = part(path);
                is(&config, Ok(()));
            }
        }
        for point in [NODE, "/dev/ports/zwave/x"] {
            let kind = if point == NODE { "tmpfs" } else { "bind" };
            is(&docker([mount(point, kind, "")]), Err(LeftOut::Taken));
        }
    }

    #[test]
    fn of_two_nodes_that_exclude_each_other_the_second_is_left_out() {
        let paths = [
            "/dev/a/b",
            "/dev/a",
            "/dev/a/b/c",
            "/dev/a/b",
            "/dev/ab",
            "/dev/a/c",
        ];
        let (placed, left_out) = place(&docker([]), &read_link, nodes(&paths));
        let placed: Vec<_> = placed.iter().map(|node| node.path.as_str()).collect();
        assert_eq!(placed, ["/dev/a/b", "/dev/ab", "/dev/a/c"]);
        assert!(left_out.iter().all(|(_, why)| *why == LeftOut::Taken));
    }
}
