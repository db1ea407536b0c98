//! The files of the configuration, as they are and as they would be with a change. Pure, but for
//! [`Configuration::read`].

use std::path::{Path, PathBuf};

use crate::config::settings::Settings;
use crate::config::{self, ConfigError, parse};
use crate::model::PortName;

/// The files of a valid configuration with their texts, in their order.
pub(super) struct Configuration {
    main: PathBuf,
    files: Vec<(PathBuf, String)>,
    pub(super) settings: Settings,
}

impl Configuration {
    /// # Errors
    /// All files that cannot be read, or all that is wrong in them.
    pub(super) fn read(main: &Path) -> Result<Self, Vec<ConfigError>> {
        let (files, errors) = config::read(main);
        match errors.is_empty() {
            true => Self::new(main, files),
            false => Err(errors),
        }
    }

    pub(super) fn new(
        main: &Path,
        files: Vec<(PathBuf, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        Ok(Self {
            main: main.to_owned(),
            settings: parse(&files)?,
            files,
        })
    }

    /// The file that `add` writes for a port.
    pub(super) fn file_of(&self, port: &PortName) -> PathBuf {
        config::directory(&self.main).join(format!("{port}.toml"))
    }

    /// The file, other than this one, that defines a port.
    pub(super) fn definer(&self, port: &PortName, but: &Path) -> Option<&Path> {
        let defines = |file: &&(PathBuf, String)| {
            let alone = parse(std::slice::from_ref(*file)).unwrap_or_default();
            alone.ports.iter().any(|defined| defined.name == *port)
        };
        let mut others = self.files.iter().filter(|(path, _)| path != but);
        others.find(defines).map(|(path, _)| path.as_path())
    }

    /// The settings with this text in a drop-in, or without the drop-in.
    pub(super) fn with(
        &self,
        drop_in: &Path,
        text: Option<&str>,
    ) -> Result<Settings, Vec<ConfigError>> {
        let is_after = |(path, _): &(PathBuf, String)| *path != self.main && path > drop_in;
        let others = self.files.iter().filter(|(path, _)| path != drop_in);
        let mut files: Vec<_> = others.cloned().collect();
        let at = files.iter().position(is_after).unwrap_or(files.len());
        let new = text.map(|text| (drop_in.to_owned(), text.to_owned()));
        files.splice(at..at, new);
        parse(&files)
    }
}
