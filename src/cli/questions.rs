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
    loop {
        match default {
            Some(default) => show(&format!("{question} [{default}]: "))?,
            None => show(&format!("{question}: "))?,
        }
        let answer = answer()?;
        let answer = match answer.trim() {
            "" => default.unwrap_or_default(),
            answer => answer,
        };
        match parse(answer) {
            Ok(value) => return Ok(value),
            Err(reason) => show(&format!("{reason}\n"))?,
        }
    }
}

/// Asks whether to do something.
pub(super) fn confirm(question: &str, default: bool) -> anyhow::Result<bool> {
    let default = if default { "yes" } else { "no" };
    ask(question, Some(default), |answer| match answer {
        "y" | "Y" => Ok(true),
        "n" | "N" => Ok(false),
        answer => boolean(answer).ok_or_else(|| "answer yes or no".to_owned()),
    })
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
