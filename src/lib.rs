//! ttyplugd makes serial ports work in running Docker containers.
pub mod assign;
pub mod config;
#[cfg(test)]
mod fixtures;
pub mod inventory;
pub mod labels;
pub mod model;
pub mod plan;
pub mod port;
pub mod selector;
