//! The command line: one file per command, each of which makes a text, and one place that prints.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::assign::assign;
use crate::config::{self, ConfigError, Settings};
use crate::docker::{Engine, ImageLabels, socket_path};
use crate::inventory::Inventory;
use crate::logging::{self, LogFormat};
use crate::monitor::enumerate;
use crate::state::Store;
use crate::world::World;

use completions::Shell;

mod check;
mod completions;
mod plan;
mod ports;
mod run;
mod runtime;
mod status;
mod wait;

/// Wrong usage or a wrong configuration; trying again does not help.
const EXIT_USAGE: u8 = 2;

const DEFAULT_CONFIG: &str = "/etc/ttyplugd/config.toml";

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

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file; drop-ins are read from conf.d beside it. [default:
    /// /etc/ttyplugd/config.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StateDirectory {
    /// What outlives the daemon.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ttyplugd")]
    state_dir: PathBuf,
}

#[derive(Debug, Args)]
struct RunDirectory {
    /// Where the lock and the sockets are.
    #[arg(long, value_name = "DIR", default_value = "/run/ttyplugd")]
    run_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Output {
    /// Print one JSON object, for programs.
    #[arg(long)]
    json: bool,
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

impl ConfigFile {
    fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
    }

    fn load(&self) -> Result<Settings, Vec<ConfigError>> {
        config::load(self.path())
    }

    /// No file is needed, but one that was named is probably meant to be there.
    fn is_missing(&self) -> bool {
        self.config.as_ref().is_some_and(|file| !file.exists())
    }
}

/// Says on standard error what is wrong.
fn complain(what: &str) {
    // There is nobody left to tell if that fails.
    let _ = writeln!(std::io::stderr(), "ttyplugd: {what}");
}

/// Says what is wrong with the configuration.
fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        complain(&error.to_string());
    }
    ExitCode::from(EXIT_USAGE)
}

/// One thread is enough for all of it, and keeps udev's types where they are.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Looking into a container may hang on its file systems; a daemon that serves dozens of
        // containers must not wait for a thread then.
        .max_blocking_threads(32)
        .build()?;
    let local = tokio::task::LocalSet::new();
    // Whatever the work is, this is compiled once for what it results in: a runtime is large.
    let work: Pin<&mut dyn Future<Output = T>> = pin!(work);
    let result = local.block_on(&runtime, work);
    // A look into a container that hangs is not waited for.
    runtime.shutdown_background();
    Ok(result)
}

/// Looks at everything once, as the daemon does when it starts.
async fn survey(settings: Settings, state: &Path) -> anyhow::Result<(Engine, RefCell<World>)> {
    let mut inventory = Inventory::default();
    inventory.replace_devices(enumerate()?);
    let socket = socket_path()?;
    let engine = Engine::connect(&socket, ImageLabels::default())
        .await
        .map_err(|error| anyhow::anyhow!("no engine at {socket}: {error}"))?;
    inventory.containers = engine.containers().await?;
    let store = Store::read(state);
    let mut world = World::new(settings, inventory, store);
    world.assigned = assign(&world.settings, &world.inventory, world.store.choices());
    Ok((engine, RefCell::new(world)))
}

/// Text for a terminal: a USB device or a label may hold escape sequences.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Prints a text. Colours are taken out where nobody looks at a terminal (NO_COLOR).
///
/// # Errors
/// Standard output is full or closed; a reader that has read enough is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut output = anstream::stdout().lock();
    let printed = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    match printed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("standard output cannot be written to"),
    }
}

/// Prints one JSON document.
fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}
