//! What the engine says of itself and its runtimes.

use std::fmt;

use super::{Engine, EngineError, Result, limited};

/// An engine, as far as it matters for a runtime in it.
#[derive(Debug)]
pub struct About {
    pub version: String,
    /// What it is, if it is none that has our runtime from a daemon.json of root's.
    pub other: Option<&'static str>,
    /// What it executes for the runtime that was asked about.
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
    /// # Errors
    /// The engine does not answer.
    pub async fn about(&self, runtime: &str) -> Result<About> {
        let version = limited(self.docker.version()).await?;
        let info = limited(self.docker.info()).await?;
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

    /// The containers, running or not, whose runtime is ours, whatever it is called. Lists do not
    /// tell.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn users(&self) -> Result<Vec<User>> {
        let info = self.info().await?;
        let mut users = Vec::new();
        for id in self.list(None).await?.into_iter().filter_map(|c| c.id) {
            let container = match limited(self.docker.inspect_container(&id, None)).await {
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
