//! The real runtime: the one that was named, or else the one that is installed.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::sys::child;

/// Docker and containerd come with runc, and Podman with either: on Debian 13 it has crun alone.
const KNOWN: [&str; 2] = ["runc", "crun"];

/// # Errors
/// None was named, and neither runc nor crun is installed.
pub fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return Ok(child::find(named).unwrap_or_else(|| named.to_owned()));
    }
    let mut installed = KNOWN.iter().filter_map(|name| child::find(Path::new(name)));
    let found = installed.next();
    found.context("neither runc nor crun is installed; name the real runtime with --runtime")
}
