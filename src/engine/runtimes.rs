//! The engine's version, its runtimes, and the containers that use ours.

use std::collections::BTreeMap;
use std::fmt;

use crate::engine::daemon_json::{RUNTIME, is_wrapper};

/// An engine and its runtimes.
#[derive(Debug, Clone, Default)]
pub struct EngineInfo {
    /// E.g. `20.10.24`.
    pub version: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// It is a user's own, whose wrappers cannot reach the daemon.
    pub is_rootless: bool,
    pub runtimes: BTreeMap<String, Registered>,
}

impl EngineInfo {
    /// Whether a runtime of this name is the wrapper, or was while it was registered.
    pub fn is_ours(&self, runtime: &str) -> bool {
        let registered = self.runtimes.get(runtime);
        runtime == RUNTIME
            || is_wrapper(runtime)
            || registered.is_some_and(|its| is_wrapper(&its.path))
    }

    /// The name of a runtime that may be told by its program.
    pub fn name_of<'a>(&'a self, runtime: &'a str) -> &'a str {
        let mut registered = self.runtimes.iter();
        let found = registered.find(|(_, its)| its.path == runtime);
        found.map_or(runtime, |(name, _)| name)
    }
}

/// A runtime as it stands in the engine's daemon.json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// A path, or the name of a program.
    pub path: String,
    pub arguments: Vec<String>,
}

/// An engine, as far as it matters for a runtime in it.
#[derive(Debug)]
pub struct About {
    pub version: String,
    /// Its kind, if it is one that does not read root's daemon.json.
    pub other: Option<&'static str>,
    /// The program of the runtime that was asked about.
    pub runtime: Option<String>,
}

/// A container that has a runtime.
#[derive(Debug)]
pub struct User {
    pub name: String,
    pub state: String,
    pub runtime: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            state,
            runtime,
        } = self;
        write!(f, "{name} ({state}, runtime: {runtime})")
    }
}
