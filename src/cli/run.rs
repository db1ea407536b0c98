//! `ttyplugd run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::block_on::block_on;
use crate::cli::options::ConfigFile;
use crate::cli::output::EXIT_USAGE;
use crate::daemon::problems;
use crate::daemon::{self, Directories};
use crate::engine::places::places;
use crate::sys::logging::{self, LogFormat, kind};

pub(super) fn run(
    config: &ConfigFile,
    state: PathBuf,
    run: PathBuf,
    log_format: LogFormat,
) -> anyhow::Result<ExitCode> {
    logging::start(log_format).context("cannot connect to the journal; use --log-format text")?;
    if config.is_missing() {
        let file = config.path().display();
        tracing::warn!(
            message_id = kind::CONFIG_MISSING,
            %file,
            "configuration file not found; only container labels define ports"
        );
    }
    let settings = match config.load() {
        Ok(settings) => settings,
        Err(errors) => {
            problems::rejected(&errors);
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let engines = match places(settings.engines.as_ref()) {
        Ok(engines) => engines,
        Err(error) => {
            log_failure(&error);
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let directories = Directories {
        config: config.path().to_owned(),
        run,
        state,
    };
    match block_on(daemon::run(directories, settings, engines))? {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            log_failure(&error);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn log_failure(error: &anyhow::Error) {
    tracing::error!(message_id = kind::DAEMON_FAILED, "{error:#}");
}
