//! The engine's version, its runtimes, and the containers that use ours.

use std::collections::BTreeMap;
use std::fmt;

use bollard::models::Runtime;

use crate::engine::daemon_json::{RUNTIME, is_wrapper};
use crate::engine::error::EngineError;
use crate::engine::{Engine, Result};

/// An engine and its runtimes.
#[derive(Debug, Clone, Default)]
pub struct EngineInfo {
    /// E.g. `20.10.24`.
    pub version: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    pub runtimes: BTreeMap<String, Registered>,
}

impl EngineInfo {
    /// Whether a runtime of this name is the wrapper, or was while it was registered.
    pub fn is_ours(&self, runtime: &str) -> bool {
        let registered = self.runtimes.get(runtime);
        runtime == RUNTIME || registered.is_some_and(|its| is_wrapper(&its.path))
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

impl Engine {
    /// The engine's own version, e.g. `20.10.24`.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn version(&self) -> Result<String> {
        let version = self.call(self.docker.version()).await?;
        Ok(version.version.unwrap_or_default())
    }

    /// The engine and its runtimes.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn info(&self) -> Result<EngineInfo> {
        let info = self.call(self.docker.info()).await?;
        let runtimes = info.runtimes.unwrap_or_default();
        let registered = |(name, runtime): (String, Runtime)| {
            let registered = Registered {
                path: runtime.path.unwrap_or_default(),
                arguments: runtime.runtime_args.unwrap_or_default(),
            };
            (name, registered)
        };
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(EngineInfo {
            version: text(info.server_version),
            cgroup_driver: text(info.cgroup_driver.map(|driver| driver.to_string())),
            cgroup_version: text(info.cgroup_version.map(|version| version.to_string())),
            runtimes: runtimes.into_iter().map(registered).collect(),
        })
    }

    /// # Errors
    /// The engine does not answer.
    pub async fn about(&self, runtime: &str) -> Result<About> {
        let version = self.call(self.docker.version()).await?;
        let info = self.call(self.docker.info()).await?;
        let mut parts = version.components.iter().flatten();
        let mut options = info.security_options.iter().flatten();
        let other = if parts.any(|part| part.name == "Podman Engine") {
            Some("Podman")
        } else if options.any(|option| option == "name=rootless") {
            Some("a rootless Docker")
        } else {
            None
        };
        let mut runtimes = info.runtimes.unwrap_or_default();
        Ok(About {
            version: version.version.unwrap_or_default(),
            other,
            runtime: runtimes.remove(runtime).map(|r| r.path.unwrap_or_default()),
        })
    }

    /// The containers, running or not, whose runtime is the wrapper under any name, which lists do
    /// not tell.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn users(&self) -> Result<Vec<User>> {
        let info = self.info().await?;
        let mut users = Vec::new();
        for id in self.list(None).await?.into_iter().filter_map(|c| c.id) {
            let container = match self.call(self.docker.inspect_container(&id, None)).await {
                Err(EngineError::Gone) => continue,
                container => container?,
            };
            let its = container.host_config.and_then(|config| config.runtime);
            if let Some(runtime) = its.filter(|runtime| info.is_ours(runtime)) {
                let name = container.name.unwrap_or(id);
                let state = container.state.and_then(|state| state.status);
                users.push(User {
                    name: name.trim_start_matches('/').to_owned(),
                    state: state.map(|state| state.to_string()).unwrap_or_default(),
                    runtime,
                });
            }
        }
        Ok(users)
    }
}
