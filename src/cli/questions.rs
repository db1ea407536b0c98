//! Questions to the operator, on the terminal.

use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::Context;

use crate::model::written::boolean;

/// Whether there is somebody to ask.
pub(super) fn possible() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks until `parse` accepts the answer. An empty one is the default.
pub(super) fn ask<T>(
    question: &str,
    default: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<T> {
    let question = match default {
        Some(default) => format!("{question} [{default}]: "),
        None => format!("{question}: "),
    };
    until_valid(&question, |answer| match answer {
        "" => parse(default.unwrap_or_default()),
        answer => parse(answer),
    })
}

/// Asks whether to do something.
pub(super) fn confirm(question: &str, default: bool) -> anyhow::Result<bool> {
    let choice = if default { "Y/n" } else { "y/N" };
    until_valid(&format!("{question}? [{choice}] "), |answer| match answer {
        "" => Ok(default),
        "y" | "Y" => Ok(true),
        "n" | "N" => Ok(false),
        answer => boolean(answer).ok_or_else(|| "answer yes or no".to_owned()),
    })
}

fn until_valid<T>(question: &str, parse: impl Fn(&str) -> Result<T, String>) -> anyhow::Result<T> {
    loop {
        show(question)?;
        match parse(answer()?.trim()) {
            Ok(value) => return Ok(value),
            Err(reason) => show(&format!("{reason}\n"))?,
        }
    }
}

/// Shows a text between the questions.
pub(super) fn show(text: &str) -> anyhow::Result<()> {
    let mut terminal = stderr();
    let shown = terminal.write_all(text.as_bytes());
    shown.context("cannot write to the terminal")
}

fn answer() -> anyhow::Result<String> {
    let line = stdin().lines().next();
    let line = line.context("no answer, so nothing was written")?;
    line.context("cannot read from the terminal")
}
