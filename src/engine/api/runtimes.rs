//! The engine's version, its runtimes, and the containers that use ours.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use bollard::models::Runtime;
use tokio::task::spawn_blocking;

use crate::engine::api::{Api, Result};
use crate::engine::daemon_json::RUNTIME;
use crate::engine::error::EngineError;
use crate::engine::podman;
use crate::engine::runtimes::{About, EngineInfo, Registered, User};

/// Podman reads its files at each call, and a service that has run since before does not know our
/// runtime.
async fn add_podmans(runtimes: &mut BTreeMap<String, Registered>) {
    if runtimes.contains_key(RUNTIME) {
        return;
    }
    if let Ok(Ok(path)) = spawn_blocking(|| podman::program(RUNTIME)).await {
        let registered = Registered {
            path,
            arguments: Vec::new(),
        };
        runtimes.insert(RUNTIME.to_owned(), registered);
    }
}

fn is_rootless(options: Option<&[String]>) -> bool {
    let mut options = options.into_iter().flatten();
    options.any(|option| option == "name=rootless")
}

/// Whether the engine is that of a user, who owns its socket. Podman 4.3 does not say so otherwise.
fn is_of_user(socket: &str) -> bool {
    let socket = fs::metadata(socket.trim_start_matches("unix://"));
    socket.is_ok_and(|socket| socket.uid() != 0)
}

impl Api {
    /// The engine's version, if it was asked for it when it was connected.
    pub(in crate::engine) fn known_version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The engine's own version, e.g. `20.10.24`.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn version(&self) -> Result<String> {
        if let Some(version) = &self.version {
            return Ok(version.clone());
        }
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
        let mut runtimes = runtimes.into_iter().map(registered).collect();
        if self.is_podman {
            add_podmans(&mut runtimes).await;
        }
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(EngineInfo {
            is_rootless: is_rootless(info.security_options.as_deref())
                || self.is_podman && is_of_user(&self.socket),
            version: text(info.server_version),
            cgroup_driver: text(info.cgroup_driver.map(|driver| driver.to_string())),
            cgroup_version: text(info.cgroup_version.map(|version| version.to_string())),
            runtimes,
        })
    }

    /// # Errors
    /// The engine does not answer.
    pub async fn about(&self, runtime: &str) -> Result<About> {
        let info = self.call(self.docker.info()).await?;
        let other = if self.is_podman {
            Some("Podman")
        } else if is_rootless(info.security_options.as_deref()) {
            Some("a rootless Docker")
        } else {
            None
        };
        let mut runtimes = info.runtimes.unwrap_or_default();
        Ok(About {
            version: self.version().await?,
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
        for id in self.summaries(None).await?.into_iter().filter_map(|c| c.id) {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_engine_of_a_user_is_known_by_the_owner_of_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("podman.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        let named = format!("unix://{}", socket.display());
        assert_eq!(is_of_user(&named), !is_root);
        if is_root {
            chown(&socket, Some(1000), None).unwrap();
            assert!(is_of_user(&named));
        }
        assert!(!is_of_user("unix:///missing"));
    }
}
