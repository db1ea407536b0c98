//! The completion scripts in completions/ are those of the command line as it is.
//!
//! `UPDATE=1 cargo test completion` writes them anew.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use ttyplugd::cli::Cli;

use crate::testbed::{PROGRAM, output};

const SHELLS: [(&str, Shell); 3] = [
    ("bash", Shell::Bash),
    ("zsh", Shell::Zsh),
    ("fish", Shell::Fish),
];

#[test]
fn completion_scripts_know_every_command_and_option() {
    for (name, shell) in SHELLS {
        // `help` would have every command again below it, which is half of a script.
        let mut command = Cli::command().disable_help_subcommand(true);
        let mut script = Vec::new();
        generate(shell, &mut command, "ttyplugd", &mut script);
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("completions/ttyplugd.{name}"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &script).unwrap();
            continue;
        }
        assert!(
            fs::read(&file).unwrap() == script,
            "{} is out of date: UPDATE=1 cargo test completion",
            file.display()
        );
        let printed = output(PROGRAM, &["completions", name]);
        assert!(printed.status.success(), "{printed:?}");
        assert!(printed.stdout == script, "{name}");
    }
}
