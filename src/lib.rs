//! ttyplugd makes serial ports work in running Docker containers.
pub mod accounts;
pub mod assign;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod device;
pub mod docker;
#[cfg(test)]
mod fixtures;
mod fragment;
pub mod inventory;
pub mod labels;
pub mod logging;
pub mod model;
pub mod monitor;
pub mod mounts;
pub mod observe;
pub mod pidfd;
pub mod plan;
pub mod port;
pub mod reconcile;
pub mod report;
pub mod rights;
pub mod script;
pub mod selector;
pub mod state;
pub mod watch;
pub mod work;
