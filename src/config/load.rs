//! Reads the configuration file and its drop-ins.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::parse::{ConfigError, parse};
use crate::config::settings::Settings;

/// Reads the configuration: `file`, and after it the `*.toml` files of the `conf.d` beside it in
/// lexical order. A later setting and a later port of the same name replace the earlier ones. No
/// file need exist.
///
/// # Errors
/// The errors of all files together.
pub fn load(file: &Path) -> Result<Settings, Vec<ConfigError>> {
    let mut files = vec![file.to_owned()];
    files.extend(drop_ins(&file.with_file_name("conf.d")).map_err(|error| vec![error])?);

    let mut texts = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => texts.push((file, text)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => errors.push(unreadable(&file, &error)),
        }
    }
    match parse(&texts) {
        Ok(settings) if errors.is_empty() => Ok(settings),
        Ok(_) => Err(errors),
        Err(more) => Err(errors.into_iter().chain(more).collect()),
    }
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|e| e == "toml");
    let mut files: Vec<_> = paths.filter(is_toml).collect();
    files.sort();
    Ok(files)
}

fn unreadable(file: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        line: None,
        message: format!("cannot be read: {error}"),
    }
}
