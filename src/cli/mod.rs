//! The command line: one file per command, each of which makes a text, and one place that prints.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `sys`, `monitor`, `engine`, `container`, `store`,
//! `runtime`, `keeper`, `daemon`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::sys::logging::{self, LogFormat};

use completions::Shell;
use options::{ConfigFile, Output, RunDirectory, StateDirectory};
use output::complain;

mod check;
pub(crate) mod client;
mod completions;
mod options;
mod output;
mod plan;
mod ports;
mod run;
mod runtime;
mod status;
mod survey;
mod wait;

/// Makes serial ports work in running Docker containers.
///
/// A tty that is plugged in appears in the containers that are meant to have it, with the right
/// owner and mode and under a name that does not change; it goes when it is unplugged.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve containers until told to stop (SIGTERM); SIGHUP reads the configuration again.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        state: StateDirectory,
        #[command(flatten)]
        run: RunDirectory,
        /// Where log lines go.
        #[arg(long, value_enum, default_value_t = LogFormat::Auto)]
        log_format: LogFormat,
    },
    /// Show the serial devices that are plugged in, and how to match each of them.
    Ports {
        #[command(flatten)]
        output: Output,
    },
    /// Show every port in every container as the running daemon sees it, and every open that
    /// waits.
    Status {
        /// Go on to show it whenever it changes, until interrupted; with --json one object a line.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        run: RunDirectory,
        #[command(flatten)]
        output: Output,
    },
    /// Wait until a port is ready, in every container that is to have it or in one.
    Wait(wait::Arguments),
    /// Show everything that would stop a port from working, and what to do about it.
    Check {
        #[command(flatten)]
        run: RunDirectory,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        state: StateDirectory,
        #[command(flatten)]
        output: Output,
    },
    /// Show what the daemon would do now, without doing it.
    Plan {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        state: StateDirectory,
        #[command(flatten)]
        output: Output,
    },
    /// Register ttyplug-runtime in Docker's daemon.json, or take it out again.
    Runtime {
        #[command(subcommand)]
        action: runtime::Action,
    },
    /// Print completions for a shell, as the package installs them.
    Completions { shell: Shell },
}

impl Cli {
    /// Carries out the command.
    pub fn run(self) -> ExitCode {
        if !matches!(self.command, Command::Run { .. }) {
            // Warnings of what the commands use go to standard error. That cannot fail.
            let _ = logging::start(LogFormat::Text);
        }
        let result = match self.command {
            Command::Run {
                config,
                state,
                run,
                log_format,
            } => run::run(&config, state.state_dir, run.run_dir, log_format),
            Command::Ports { output } => ports::run(output.json),
            Command::Status { watch, run, output } => status::run(&run.run_dir, watch, output.json),
            Command::Wait(arguments) => wait::run(&arguments),
            Command::Check {
                run,
                config,
                state,
                output,
            } => check::run(&config, &state.state_dir, &run.run_dir, output.json),
            Command::Plan {
                config,
                state,
                output,
            } => plan::run(&config, &state.state_dir, output.json),
            Command::Runtime { action } => runtime::run(action),
            Command::Completions { shell } => completions::run(shell),
        };
        result.unwrap_or_else(|error| {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        })
    }
}
