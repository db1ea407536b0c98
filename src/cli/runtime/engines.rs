//! The engines that a command is about.

use std::path::Path;

use crate::engine::{dockerd, podman};

#[derive(Debug, Clone, Copy)]
pub(super) struct Engines {
    pub(super) docker: bool,
    pub(super) podman: bool,
}

impl Engines {
    /// Those of this machine; Docker alone if its file is named.
    pub(super) fn of(file: Option<&Path>) -> Self {
        let podman = file.is_none() && podman::is_installed();
        let docker = || dockerd::is_installed() || !dockerd::running().is_empty();
        Self {
            docker: !podman || docker(),
            podman,
        }
    }
}
