//! `ttyplugd completions`: what a shell needs to complete our commands and options.
//!
//! The scripts are made when the command line changes (tests/it/completions.rs), because the
//! code that makes them would be three times their size in the program.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::cli::output::print;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    print(match shell {
        Shell::Bash => include_str!("../../completions/ttyplugd.bash"),
        Shell::Zsh => include_str!("../../completions/ttyplugd.zsh"),
        Shell::Fish => include_str!("../../completions/ttyplugd.fish"),
    })?;
    Ok(ExitCode::SUCCESS)
}
