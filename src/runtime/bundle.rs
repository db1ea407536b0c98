//! The directory that a container is created from, and the config.json in it (OCI runtime-spec,
//! bundle.md).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::sys::stat::{Mode as StatMode, SFlag, makedev, mknod};
use nix::unistd::unlink;
use serde_json::Value;

use crate::container::rootfs::Tree;
use crate::hold::protocol::NodeToMake;
use crate::model::{DevNum, NodePath, TEMPORARY_PREFIX};
use crate::plan::passwd;
use crate::runtime::oci_config::{self, BundleNode};
use crate::runtime::placement::{LeftOut, Unknown, place};
use crate::sys::replacement::replace;

pub(super) struct Bundle {
    directory: PathBuf,
    file: PathBuf,
    pub(super) config: Value,
}

impl Bundle {
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join("config.json");
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let config = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not valid JSON", file.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            file,
            config,
        })
    }

    pub(super) fn write(&self) -> anyhow::Result<()> {
        replace(&self.file, &serde_json::to_vec(&self.config)?)
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// The nodes that are wanted, with the container's own numbers for names, as far as the runtime
    /// can make them; and which of them it may not make.
    pub(super) fn place(
        &self,
        wanted: &[NodeToMake],
    ) -> (Vec<BundleNode>, Vec<(NodePath, LeftOut)>) {
        let root = oci_config::root_path(&self.config).map(|root| self.directory.join(root));
        let Some(Ok(files)) = root.map(|root| Tree::open(&root)) else {
            return (Vec::new(), Vec::new());
        };
        let nodes = self.nodes(wanted, &files);
        let read_link = |path: &str| files.read_link(path).map_err(|_| Unknown);
        place(&self.config, &read_link, nodes)
    }

    fn nodes(&self, wanted: &[NodeToMake], files: &Tree) -> Vec<BundleNode> {
        if oci_config::has_user_namespace(&self.config) {
            return Vec::new();
        }
        let users = files.read_small_file("etc/passwd");
        let groups = files.read_small_file("etc/group");
        let node = |node: &NodeToMake| {
            Some(BundleNode {
                path: node.path.clone(),
                devnum: node.number,
                mode: node.mode,
                uid: passwd::user(&node.owner, &users).ok()?,
                gid: passwd::group(&node.group, &groups).ok()?,
            })
        };
        let wanted = wanted.iter().filter(|node| self.can_make(node.number));
        wanted.filter_map(node).collect()
    }

    /// Whether this process, which becomes the runtime, can make a device node. Where it cannot, in
    /// a user namespace or under a device cgroup, the runtime mounts the host's node of that path
    /// (runc, libcontainer/rootfs_linux.go, `createDeviceNode`), and fails if there is none.
    fn can_make(&self, devnum: DevNum) -> bool {
        let path = self.directory.join(format!("{TEMPORARY_PREFIX}{devnum}"));
        let number = makedev(devnum.major.into(), devnum.minor.into());
        let made = mknod(&path, SFlag::S_IFCHR, StatMode::empty(), number);
        made.and_then(|()| unlink(&path)).is_ok()
    }
}
