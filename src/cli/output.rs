//! What commands print, and their exit codes.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::config::ConfigError;

/// Wrong usage or an invalid configuration: trying again does not help.
pub(super) const EXIT_USAGE: u8 = 2;

/// Prints a message to standard error.
pub(super) fn print_error(message: &str) {
    // If standard error is closed, nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "ttyplugd: {message}");
}

/// Prints the errors of a configuration, and returns the exit code for them.
pub(super) fn print_config_errors(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        print_error(&error.to_string());
    }
    ExitCode::from(EXIT_USAGE)
}

/// Replaces control characters. USB devices and labels may contain escape sequences, which a
/// terminal would carry out.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Prints a text to standard output, without its colours unless that is a terminal (NO_COLOR).
///
/// # Errors
/// Standard output is full or closed. A reader that has read enough (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = anstream::stdout().lock();
    let printed = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    match printed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot write to standard output"),
    }
}

/// Prints a JSON document.
pub(super) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}
