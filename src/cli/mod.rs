//! The command line: one file per command.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `sys`, `monitor`, `engine`, `container`, `store`,
//! `runtime`, `keeper`, `daemon`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::sys::logging::{self, LogFormat};

use completions::Shell;
use options::{ConfigFile, Output, RunDirectory, StateDirectory};
use output::print_error;

mod add;
mod block_on;
mod check;
mod client;
mod completions;
mod configuration;
mod definition;
mod options;
mod output;
mod plan;
mod ports;
mod progress;
mod questions;
mod reload;
mod remove;
mod root;
mod run;
mod runtime;
mod serial_devices;
mod snapshot;
mod snippet;
mod status;
mod wait;

/// Makes serial ports work in running Docker containers.
///
/// When a serial device is plugged in, its containers get a device node with the right owner, mode
/// and a fixed name, and access to the device. When it is unplugged, both are removed.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon. SIGTERM stops it, SIGHUP reloads the configuration.
    Run {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        state: StateDirectory,
        #[command(flatten)]
        run: RunDirectory,
        /// Log to the journal or to standard error.
        #[arg(long, value_enum, default_value_t = LogFormat::Auto)]
        log_format: LogFormat,
    },
    /// List the serial devices of this machine, and how to match each of them.
    Ports {
        #[command(flatten)]
        output: Output,
    },
    /// Show the state of every port in every container, and every held open.
    Status {
        /// Keep running and show every change; with --json one object per line.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        run: RunDirectory,
        #[command(flatten)]
        output: Output,
    },
    /// Wait until a port is ready in all of its containers, or in one.
    Wait(wait::Arguments),
    /// Make a plugged-in device a port of a container. Without arguments it asks, on a terminal.
    Add(add::arguments::Arguments),
    /// Remove a port that `add` has added.
    Remove(remove::Arguments),
    /// Find everything that keeps ports from working, and how to fix it.
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
    /// Show what the daemon would do now, without changing anything.
    Plan {
        #[command(flatten)]
        run: RunDirectory,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        state: StateDirectory,
        #[command(flatten)]
        output: Output,
    },
    /// Register ttyplug-runtime in Docker's daemon.json, or unregister it.
    Runtime {
        #[command(subcommand)]
        action: runtime::Action,
    },
    /// Print a completion script for a shell.
    Completions { shell: Shell },
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        if !matches!(self.command, Command::Run { .. }) {
            // Log messages of the code that commands share with the daemon. Text cannot fail.
            let _ = logging::start(LogFormat::Text);
        }
        self.command.run().unwrap_or_else(|error| {
            print_error(&format!("{error:#}"));
            ExitCode::FAILURE
        })
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run {
                config,
                state,
                run,
                log_format,
            } => run::run(&config, state.state_dir, run.run_dir, log_format),
            Self::Ports { output } => ports::run(output.json),
            Self::Status { watch, run, output } => status::run(&run.run_dir, watch, output.json),
            Self::Wait(arguments) => wait::run(&arguments),
            Self::Add(arguments) => add::run(&arguments),
            Self::Remove(arguments) => remove::run(&arguments),
            Self::Check {
                run,
                config,
                state,
                output,
            } => check::run(&config, &state.state_dir, &run.run_dir, output.json),
            Self::Plan {
                run,
                config,
                state,
                output,
            } => plan::run(&config, &run.run_dir, &state.state_dir, output.json),
            Self::Runtime { action } => runtime::run(action),
            Self::Completions { shell } => completions::run(shell),
        }
    }
}
