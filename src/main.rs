//! The command line: arguments in, an exit code out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use ttyplugd::config::{self, Settings};
use ttyplugd::daemon::{self, Directories};
use ttyplugd::logging::{self, LogFormat};

/// Makes serial ports work in running Docker containers.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve containers until told to stop.
    Run {
        #[command(flatten)]
        place: Place,
        /// Where log lines go.
        #[arg(long, value_enum, default_value_t = LogFormat::Auto)]
        log_format: LogFormat,
    },
}

#[derive(Args)]
struct Place {
    /// The configuration file; drop-ins are read from conf.d beside it [default:
    /// /etc/ttyplugd/config.toml, which need not exist].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the lock and sockets are.
    #[arg(long, value_name = "DIR", default_value = "/run/ttyplugd")]
    run_dir: PathBuf,
    /// What outlives the daemon.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ttyplugd")]
    state_dir: PathBuf,
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    match command { Command::Run { place, log_format } => {
        logging::start(log_format).unwrap();
        let config = place.config.unwrap_or("/etc/ttyplugd/config.toml".into());
        let settings: Settings = match config::load(&config) { Ok(s) => s, Err(e) => { daemon::reject(&e); return ExitCode::from(2) } };
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let d = Directories { config, run: place.run_dir, state: place.state_dir };
        match local.block_on(&rt, daemon::run(d, settings)) { Ok(()) => ExitCode::SUCCESS, Err(e) => { tracing::error!("{e:#}"); ExitCode::FAILURE } }
    } }
}
