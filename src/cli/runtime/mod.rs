//! `ttyplugd runtime`: registers `ttyplug-runtime` in Docker's daemon.json, and unregisters it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::block_on::block_on;
use crate::cli::options::Output;
use crate::cli::output::print;

mod disable;
mod docker_setup;
mod enable;
mod status;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Register the runtime, so containers can use `runtime: ttyplug`.
    Enable {
        #[command(flatten)]
        file: FileOption,
    },
    /// Unregister the runtime, unless containers use it.
    Disable {
        #[command(flatten)]
        file: FileOption,
        /// Unregister it even if containers use it. They will never start again.
        #[arg(long)]
        force: bool,
    },
    /// Show whether the runtime is registered, whether it works, and which containers use it.
    Status {
        #[command(flatten)]
        file: FileOption,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(super) struct FileOption {
    /// Docker's configuration file. [default: the file that the running dockerd reads, or
    /// /etc/docker/daemon.json]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(action: Action) -> anyhow::Result<ExitCode> {
    block_on(async {
        let message = match action {
            Action::Enable { file } => enable::enable(file.file).await?,
            Action::Disable { file, force } => disable::disable(file.file, force).await?,
            Action::Status { file, output } => return status::run(file.file, output.json).await,
        };
        print(&format!("{message}\n"))?;
        Ok(ExitCode::SUCCESS)
    })?
}
