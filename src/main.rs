//! The command line's entry: arguments in, an exit code out.

use std::process::ExitCode;

use clap::Parser;
use ttyplugd::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
