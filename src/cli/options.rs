//! Options that several commands have.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::settings::Settings;
use crate::config::{self, ConfigError};

pub(super) const DEFAULT_CONFIG: &str = "/etc/ttyplugd/config.toml";

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration file; drop-ins are read from conf.d beside it. [default:
    /// /etc/ttyplugd/config.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct StateDirectory {
    /// What outlives the daemon.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ttyplugd")]
    pub(super) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RunDirectory {
    /// Where the lock and the sockets are.
    #[arg(long, value_name = "DIR", default_value = "/run/ttyplugd")]
    pub(super) run_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Output {
    /// Print one JSON object, for programs.
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

    /// No file is needed, but one that was named is probably meant to be there.
    pub(super) fn is_missing(&self) -> bool {
        self.config.as_ref().is_some_and(|file| !file.exists())
    }
}
