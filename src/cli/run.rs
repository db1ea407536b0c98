//! `ttyplugd run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::options::ConfigFile;
use crate::cli::output::EXIT_USAGE;
use crate::cli::survey::block_on;
use crate::daemon::problems;
use crate::daemon::{self, Directories};
use crate::engine::socket_path;
use crate::sys::logging::{self, LogFormat, kind};

pub(super) fn run(
    config: &ConfigFile,
    state: PathBuf,
    run: PathBuf,
    log_format: LogFormat,
) -> anyhow::Result<ExitCode> {
    logging::start(log_format).context("the journal cannot be reached; use --log-format text")?;
    if config.is_missing() {
        let file = config.path().display();
        tracing::warn!(
            message_id = kind::CONFIG_MISSING,
            %file,
            "there is no such configuration file; ports are given by labels alone"
        );
    }
    let settings = match config.load() {
        Ok(settings) => settings,
        Err(errors) => {
            problems::rejected(&errors);
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let socket = match socket_path() {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(message_id = kind::DAEMON_FAILED, "{error:#}");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let directories = Directories {
        config: config.path().to_owned(),
        run,
        state,
    };
    match block_on(daemon::run(directories, settings, socket))? {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            tracing::error!(message_id = kind::DAEMON_FAILED, "{error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}
