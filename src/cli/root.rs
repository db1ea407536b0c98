//! What only root can do.

use anyhow::ensure;
use nix::unistd::geteuid;

pub(super) fn require_root() -> anyhow::Result<()> {
    ensure!(geteuid().is_root(), "only root can do that: use sudo");
    Ok(())
}
