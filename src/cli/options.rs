//! Options that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::settings::Settings;
use crate::config::{self, ConfigError};

const DEFAULT_CONFIG: &str = "/etc/ttyplugd/config.toml";

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// Configuration file; drop-ins are read from conf.d beside it. [default:
    /// /etc/ttyplugd/config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct StateDirectory {
    /// Directory of what the daemon keeps for the next boot.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ttyplugd")]
    pub(super) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RunDirectory {
    /// Directory of the lock, the sockets and the record of what was made.
    #[arg(long, value_name = "DIR", default_value = "/run/ttyplugd")]
    pub(super) run_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Output {
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

impl ConfigFile {
    pub(super) fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
    }

    pub(super) fn load(&self) -> Result<Settings, Vec<ConfigError>> {
        config::load(self.path())
    }

    /// Whether `--config` names a file that does not exist. The default file is optional.
    pub(super) fn is_missing(&self) -> bool {
        self.config.as_ref().is_some_and(|file| !file.exists())
    }
}
