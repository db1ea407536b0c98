//! ttyplugd makes serial ports work in running Docker containers.
//!
//! ARCHITECTURE.md has the map: what each room is for, and which others it may import.

pub mod cli;
pub mod config;
pub mod container;
pub mod daemon;
pub mod engine;
pub mod hold;
pub mod keeper;
pub mod model;
pub mod monitor;
pub mod plan;
pub mod runtime;
pub mod store;
pub mod sys;
