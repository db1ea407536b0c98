//! What commands print, and how they end.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::config::ConfigError;

/// Wrong usage or a wrong configuration; trying again does not help.
pub(super) const EXIT_USAGE: u8 = 2;

/// Says on standard error what is wrong.
pub(super) fn complain(what: &str) {
    // There is nobody left to tell if that fails.
    let _ = writeln!(std::io::stderr(), "ttyplugd: {what}");
}

/// Says what is wrong with the configuration.
pub(super) fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        complain(&error.to_string());
    }
    ExitCode::from(EXIT_USAGE)
}

/// Text for a terminal: a USB device or a label may hold escape sequences.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Prints a text. Colours are taken out where nobody looks at a terminal (NO_COLOR).
///
/// # Errors
/// Standard output is full or closed; a reader that has read enough is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
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
pub(super) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}
