//! Which engines may be on this machine, and where they listen.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::engine::podman;
use crate::model::inventory::EngineName;

/// Where Docker listens unless it is told otherwise (dockerd(8), --host).
const DOCKER: &str = "/var/run/docker.sock";

/// The same place: /var/run is a link to /run (Debian Policy, 9.1.4).
const DOCKER_TOO: &str = "/run/docker.sock";

/// Where root's Podman listens, if its socket unit is enabled (podman-system-service(1)).
const PODMAN: &str = "/run/podman/podman.sock";

/// An engine that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub name: EngineName,
    pub socket: String,
    /// Somebody has said that it is there.
    is_configured: bool,
}

/// The engines of DOCKER_HOST, else those that the configuration names, else Docker and Podman, whichever
/// is there.
///
/// # Errors
/// DOCKER_HOST is no unix socket; only containers of this machine can be served.
pub fn places(configured: Option<&Vec<String>>) -> anyhow::Result<Vec<Place>> {
    Ok(match (docker_host()?, configured) {
        (Some(socket), _) => vec![Place::configured(socket)],
        (None, Some(configured)) => configured.iter().cloned().map(Place::named).collect(),
        (None, None) => [DOCKER, PODMAN].map(Place::usual).into(),
    })
}

/// Whether Podman is installed and nobody hears of its containers, because it listens nowhere: its API
/// is a service of its own (podman-system-service(1)).
pub fn podman_is_silent(configured: Option<&[String]>) -> bool {
    let is_unnamed = configured.is_none() && env::var_os("DOCKER_HOST").is_none();
    is_unnamed && podman::is_installed() && !Path::new(PODMAN).exists()
}

/// The socket of the one engine that a command is about: DOCKER_HOST, or Docker's own default.
///
/// # Errors
/// DOCKER_HOST is another kind of address.
pub fn socket_path() -> anyhow::Result<String> {
    Ok(docker_host()?.unwrap_or_else(|| DOCKER.to_owned()))
}

fn docker_host() -> anyhow::Result<Option<String>> {
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    if host.is_empty() {
        return Ok(None);
    }
    let path = host.strip_prefix("unix://").with_context(|| {
        format!(
            "DOCKER_HOST is {host:?}; only a unix socket of this machine can be used, e.g. \
             unix://{DOCKER}"
        )
    })?;
    Ok(Some(path.to_owned()))
}

impl Place {
    /// One of several that the configuration may name: whichever they are, each keeps its name.
    fn named(socket: String) -> Self {
        let name = match [DOCKER, DOCKER_TOO, PODMAN].contains(&&*socket) {
            true => Self::usual(&socket).name,
            false => EngineName::new(socket.clone()),
        };
        Self {
            name,
            ..Self::configured(socket)
        }
    }

    /// The only one.
    pub fn configured(socket: String) -> Self {
        Self {
            is_configured: true,
            ..Self::usual(&socket)
        }
    }

    fn usual(socket: &str) -> Self {
        let file = socket.rsplit('/').next().unwrap_or_default();
        let name = match file.starts_with("podman") {
            true => EngineName::PODMAN,
            false => EngineName::DOCKER,
        };
        Self {
            name,
            socket: socket.to_owned(),
            is_configured: false,
        }
    }

    /// Whether an engine should answer there. A machine without any waits for Docker.
    pub fn is_expected(&self) -> bool {
        let is_first = || self.socket == DOCKER && !Path::new(PODMAN).exists();
        self.is_configured || self.is_there() || is_first()
    }

    /// Whether it has a socket of its own. The package podman-docker makes Docker's a link to Podman's.
    fn is_there(&self) -> bool {
        let links_to_podman = || {
            let target = fs::read_link(&self.socket);
            target.is_ok_and(|target| target == Path::new(PODMAN))
        };
        Path::new(&self.socket).exists() && !links_to_podman()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_called_after_its_socket_whichever_others_are_named() {
        for (socket, name) in [
            (DOCKER, "docker"),
            (DOCKER_TOO, "docker"),
            (PODMAN, "podman"),
            ("/run/user/1000/docker.sock", "/run/user/1000/docker.sock"),
            (
                "/run/user/1000/podman/podman.sock",
                "/run/user/1000/podman/podman.sock",
            ),
        ] {
            assert_eq!(Place::named(socket.to_owned()).name.as_str(), name);
        }
        // DOCKER_HOST names one alone.
        let only = |socket: &str| Place::configured(socket.to_owned()).name;
        assert_eq!(only("/tmp/x/docker.sock"), EngineName::DOCKER);
        assert_eq!(only("/tmp/x/podman.sock"), EngineName::PODMAN);
    }

    #[test]
    fn an_engine_that_nobody_has_named_is_expected_once_its_socket_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("podman.sock");
        let place = Place::usual(socket.to_str().unwrap());
        assert!(!place.is_expected());
        assert!(Place::configured(place.socket.clone()).is_expected());
        std::os::unix::fs::symlink(PODMAN, &socket).unwrap();
        assert!(!place.is_expected());
        fs::remove_file(&socket).unwrap();
        fs::write(&socket, "").unwrap();
        assert!(place.is_expected());
    }
}
