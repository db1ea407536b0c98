//! The engine: the only room that uses `bollard`.
//!
//! Its answers become plain data here, and every call has a time limit.
//!
//! Imports: `model`, `sys`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error as ApiError;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{ListContainersOptions, RestartContainerOptions};
use tokio::time::timeout;

use crate::engine::container::Cache;
use crate::engine::error::{CALL_LIMIT, EngineError};
use crate::engine::labels::Labels;
use crate::model::inventory::{Container, ContainerId, ContainerState};

pub mod container;
pub mod daemon_json;
pub mod dockerd;
pub mod error;
pub mod events;
pub mod exec;
mod inspect;
pub mod labels;
pub mod runtimes;

/// The engine's socket where DOCKER_HOST is not set.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

type Result<T> = std::result::Result<T, EngineError>;

/// How long a restart may take. The engine waits for 10 s by default until it kills a container that
/// does not end, and for longer if the definition says so (docker-run(1), --stop-timeout).
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// A connection to the engine.
#[derive(Debug)]
pub struct Engine {
    docker: bollard::Docker,
    socket: String,
    labels: Rc<Labels>,
    described: RefCell<Cache>,
}

/// The socket of the engine: DOCKER_HOST, which must be a unix socket, or Docker's own default.
///
/// # Errors
/// It is another kind of address; only containers of this machine can be served.
pub fn socket_path() -> anyhow::Result<String> {
    match std::env::var("DOCKER_HOST") {
        Err(_) => Ok(DEFAULT_SOCKET.to_owned()),
        Ok(host) if host.is_empty() => Ok(DEFAULT_SOCKET.to_owned()),
        Ok(host) => match host.strip_prefix("unix://") {
            Some(path) => Ok(path.to_owned()),
            None => anyhow::bail!(
                "DOCKER_HOST is {host:?}; only a unix socket of this machine can be used, \
                 e.g. unix://{DEFAULT_SOCKET}"
            ),
        },
    }
}

impl Engine {
    /// Connects and agrees on an API version, which engines of different age need.
    ///
    /// # Errors
    /// No engine listens there, or it does not answer.
    pub async fn connect(socket: &str, labels: Rc<Labels>) -> Result<Self> {
        let limit = CALL_LIMIT.as_secs();
        let docker = bollard::Docker::connect_with_unix(socket, limit, API_DEFAULT_VERSION);
        let docker = docker.map_err(|error| EngineError::new(error, socket))?;
        let docker = limited(socket, CALL_LIMIT, docker.negotiate_version()).await?;
        Ok(Self {
            docker,
            socket: socket.to_owned(),
            labels,
            described: RefCell::default(),
        })
    }

    /// A call with the time limit that bollard's own does not give: for a connection, or for the rest
    /// of an answer.
    async fn call<T>(
        &self,
        call: impl Future<Output = std::result::Result<T, ApiError>>,
    ) -> Result<T> {
        limited(&self.socket, CALL_LIMIT, call).await
    }

    /// All containers, running or not.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn containers(&self) -> Result<BTreeMap<ContainerId, Container>> {
        let containers = self.list(None).await?;
        let images: BTreeSet<_> = containers
            .iter()
            .filter_map(|c| c.image_id.clone())
            .collect();
        self.labels.retain(&images);
        let mut known = BTreeMap::new();
        for summary in containers {
            known.extend(self.container_from(summary).await);
        }
        Ok(known)
    }

    /// One container, from the list: unlike `inspect`, that does not wait for the lock that the
    /// engine holds while the container is being created.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn container(&self, id: &ContainerId) -> Result<Option<Container>> {
        for summary in self.list(Some(id)).await? {
            if let Some((found, container)) = self.container_from(summary).await {
                if found == *id {
                    return Ok(Some(container));
                }
            }
        }
        Ok(None)
    }

    async fn list(&self, id: Option<&ContainerId>) -> Result<Vec<ContainerSummary>> {
        let options = ListContainersOptions {
            all: true,
            filters: id.map(|id| HashMap::from([("id".to_owned(), vec![id.0.clone()])])),
            ..ListContainersOptions::default()
        };
        self.call(self.docker.list_containers(Some(options))).await
    }

    async fn container_from(&self, summary: ContainerSummary) -> Option<(ContainerId, Container)> {
        let id = summary.id?;
        let labels = self.labels.kept(summary.labels);
        let image_labels = match &summary.image_id {
            Some(image) if !labels.is_empty() => self.image_labels(image).await,
            _ => Some(BTreeMap::new()),
        };
        let names = summary.names.unwrap_or_default();
        // A container that others are linked to has further names, of the form /other/alias.
        let mut own = names.iter().filter_map(|name| name.strip_prefix('/'));
        let name = own.find(|name| !name.contains('/'));
        let container = Container {
            name: name.unwrap_or(&id).to_owned(),
            state: match summary.state {
                Some(ContainerSummaryStateEnum::RUNNING) => ContainerState::Running,
                Some(ContainerSummaryStateEnum::PAUSED) => ContainerState::Paused,
                _ => ContainerState::Stopped,
            },
            labels,
            image_labels,
        };
        Some((ContainerId(id), container))
    }

    /// Restarts a container. It gets its stop signal, and the time that its definition gives it.
    ///
    /// # Errors
    /// The engine refuses, or does not answer in time. It goes on with it then (moby, daemon/restart.go).
    pub async fn restart(&self, id: &ContainerId) -> Result<()> {
        let docker = self.docker.clone().with_timeout(RESTART_LIMIT);
        let restart = docker.restart_container(&id.0, None::<RestartContainerOptions>);
        limited(&self.socket, RESTART_LIMIT, restart).await
    }

    /// The labels that an image carries; `None` where the image is gone or the engine does not
    /// tell. That concerns the containers of that image alone.
    async fn image_labels(&self, image: &str) -> Option<BTreeMap<String, String>> {
        if let Some(known) = self.labels.of_image(image) {
            return Some(known);
        }
        let inspected = self.call(self.docker.inspect_image(image)).await.ok()?;
        let labels = inspected.config.and_then(|config| config.labels);
        let labels = self.labels.kept(labels);
        self.labels.remember(image, &labels);
        Some(labels)
    }
}

async fn limited<T>(
    socket: &str,
    limit: Duration,
    call: impl Future<Output = std::result::Result<T, ApiError>>,
) -> Result<T> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(|error| EngineError::new(error, socket)),
        Err(_) => Err(EngineError::Silent),
    }
}
