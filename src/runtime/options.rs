//! The wrapper's own options, which come before the runtime's arguments. Pure.

use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct Options {
    pub run_dir: PathBuf,
    /// The real runtime, if it was named.
    pub runtime: Option<PathBuf>,
    pub config: PathBuf,
    pub state_dir: PathBuf,
    /// What follows them.
    pub arguments: Vec<String>,
}

impl Options {
    /// Reads them from the command line, without the program's name.
    pub fn parse(arguments: Vec<String>) -> Self {
        let mut options = Self {
            run_dir: "/run/ttyplugd".into(),
            runtime: None,
            config: "/etc/ttyplugd/config.toml".into(),
            state_dir: "/var/lib/ttyplugd".into(),
            arguments,
        };
        while let [name, value, ..] = options.arguments.as_slice() {
            match name.as_str() {
                "--run-dir" => options.run_dir = value.into(),
                "--runtime" => options.runtime = Some(value.into()),
                "--config" => options.config = value.into(),
                "--state-dir" => options.state_dir = value.into(),
                _ => break,
            }
            options.arguments.drain(..2);
        }
        options
    }
}
