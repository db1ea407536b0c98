//! `ttyplugd runtime`: registers `ttyplug-runtime` with Docker and Podman, and unregisters it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::engines::Engines;
use crate::cli::block_on::block_on;
use crate::cli::options::Output;
use crate::cli::output::print;
use crate::cli::root::require_root;

mod disable;
mod docker_setup;
mod enable;
mod engines;
mod podman;
mod status;
mod users;
mod wrapper;

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
    /// Docker's configuration file; with it the command is about Docker alone. [default: the file
    /// that the running dockerd reads, or /etc/docker/daemon.json]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(action: Action) -> anyhow::Result<ExitCode> {
    block_on(async {
        match action {
            Action::Enable { file } => enable(file).await?,
            Action::Disable { file, force } => disable(file, force).await?,
            Action::Status { file, output } => {
                return status::run(file.file, output.json).await;
            }
        }
        Ok(ExitCode::SUCCESS)
    })?
}

async fn enable(file: FileOption) -> anyhow::Result<()> {
    require_root()?;
    let engines = Engines::of(file.file.as_deref());
    if engines.docker {
        let message = enable::enable(file.file).await?;
        print(&format!("{message}\n"))?;
    }
    if engines.podman {
        print(&format!("{}\n", podman::enable()?))?;
    }
    Ok(())
}

async fn disable(file: FileOption, force: bool) -> anyhow::Result<()> {
    require_root()?;
    let engines = Engines::of(file.file.as_deref());
    // If one of them refuses, it stays registered with both.
    let removal = engines.podman.then(|| podman::Removal::prepare(force));
    let removal = removal.transpose()?;
    if engines.docker {
        let message = disable::disable(file.file, force).await?;
        print(&format!("{message}\n"))?;
    }
    if let Some(removal) = removal {
        print(&format!("{}\n", removal.carry_out()?))?;
    }
    Ok(())
}
