//! The configuration file and the container labels, checked. Pure, but for `load`.
//!
//! Imports: `model`.

#[cfg(test)]
pub(crate) mod fixtures;
mod fragment;
pub mod labels;
mod load;
mod parse;
pub mod settings;
mod syntax;

pub use load::{directory, load, read};
pub use parse::{ConfigError, parse};
