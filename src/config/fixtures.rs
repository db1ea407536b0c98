//! Settings for tests.

use crate::config;
use crate::config::settings::Settings;

pub(crate) fn settings(text: &str) -> Settings {
    config::parse(&[("config.toml".into(), text.to_owned())]).expect("the fixture is valid")
}
