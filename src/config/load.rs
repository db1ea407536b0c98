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
    let (texts, errors) = read(file);
    match parse(&texts) {
        Ok(settings) if errors.is_empty() => Ok(settings),
        Ok(_) => Err(errors),
        Err(more) => Err(errors.into_iter().chain(more).collect()),
    }
}

/// The texts of these files in their order, and the errors of those that cannot be read.
pub fn read(file: &Path) -> (Vec<(PathBuf, String)>, Vec<ConfigError>) {
    let mut files = vec![file.to_owned()];
    let (mut texts, mut errors) = (Vec::new(), Vec::new());
    match drop_ins(&directory(file)) {
        Ok(drop_ins) => files.extend(drop_ins),
        Err(error) => errors.push(error),
    }
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => texts.push((file, text)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => errors.push(unreadable(&file, &error)),
        }
    }
    (texts, errors)
}

/// The directory of the drop-ins of a configuration file.
pub fn directory(file: &Path) -> PathBuf {
    file.with_file_name("conf.d")
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
