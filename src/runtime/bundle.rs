//! The directory that a container is created from, and the config.json in it (OCI runtime-spec,
//! bundle.md).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::container::rootfs::Tree;
use crate::hold::protocol::NodeToMake;
use crate::plan::passwd;
use crate::runtime::oci_config::{self, BundleNode};
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

    /// The nodes that the runtime can make, with the container's own numbers for names.
    pub(super) fn nodes(&self, wanted: &[NodeToMake]) -> Vec<BundleNode> {
        if oci_config::has_user_namespace(&self.config) {
            return Vec::new();
        }
        let root = oci_config::root_path(&self.config).map(|root| self.directory.join(root));
        let files = root.and_then(|root| Tree::open(&root).ok());
        let read = |path| {
            let files = files.as_ref();
            files
                .map(|files| files.read_small_file(path))
                .unwrap_or_default()
        };
        let (users, groups) = (read("etc/passwd"), read("etc/group"));
        let node = |node: &NodeToMake| {
            Some(BundleNode {
                path: node.path.clone(),
                devnum: node.number,
                mode: node.mode,
                uid: passwd::user(&node.owner, &users).ok()?,
                gid: passwd::group(&node.group, &groups).ok()?,
            })
        };
        wanted.iter().filter_map(node).collect()
    }
}
