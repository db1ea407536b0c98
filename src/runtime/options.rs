//! The wrapper's own options, which come before the runtime's arguments. Pure.

use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct Options {
    pub run_dir: PathBuf,
    pub runtime: PathBuf,
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
            runtime: "runc".into(),
            config: "/etc/ttyplugd/config.toml".into(),
            state_dir: "/var/lib/ttyplugd".into(),
            arguments,
        };
        while let [name, value, ..] = options.arguments.as_slice() {
            let option = match name.as_str() {
                "--run-dir" => &mut options.run_dir,
                "--runtime" => &mut options.runtime,
                "--config" => &mut options.config,
                "--state-dir" => &mut options.state_dir,
                _ => break,
            };
            *option = value.into();
            options.arguments.drain(..2);
        }
        options
    }
}
