//! `ttyplugd completions`: completion scripts for a shell.
//!
//! The scripts are files, generated when the command line changes (tests/it/completions.rs): the
//! generator would add three times their size to the program.

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
