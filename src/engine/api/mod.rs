//! Docker's API, over a unix socket: the only user of `bollard`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error as ApiError;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{ListContainersOptions, RestartContainerOptions};
use tokio::time::timeout;

use crate::engine::api::container::Cache;
use crate::engine::api::error::of_call;
use crate::engine::error::EngineError;
use crate::engine::labels::Labels;
use crate::engine::places::Place;
use crate::model::inventory::{Container, ContainerId, ContainerState, EngineName};
use crate::sys::turns::Turns;

mod container;
mod error;
mod events;
mod exec;
mod inspect;
mod runtimes;

type Result<T> = std::result::Result<T, EngineError>;

/// How long one call may take. `inspect` of a container waits for the container's lock, which the
/// engine holds while a runtime is creating it.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How long a restart may take. The engine waits for 10 s by default until it kills a container that
/// does not end, and for longer if the definition says so (docker-run(1), --stop-timeout).
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// How many containers the engine is asked about at once. Each question has a connection, with buffers at
/// both ends.
const QUESTIONS: usize = 8;

/// How long one of them may keep the others waiting. An answer takes a small part of it, unless the engine
/// waits for the container's lock, or does not answer at all.
const QUESTION_TURN: Duration = Duration::from_millis(100);

/// A connection to an engine that has this API.
#[derive(Debug)]
pub struct Api {
    docker: bollard::Docker,
    name: EngineName,
    socket: String,
    labels: Rc<Labels>,
    described: RefCell<Cache>,
    questions: Turns,
    /// `None` where it was not asked for at the connection.
    version: Option<String>,
    is_podman: bool,
}

impl Api {
    /// Connects. No API version is agreed on: bollard asks for none, so each engine answers by its own.
    /// Podman is not asked for its version: to tell it, it executes the programs of its networks, which can
    /// take a minute while a slow machine boots (podman, libpod/info.go).
    ///
    /// # Errors
    /// No engine listens there, or it does not answer.
    pub async fn connect(place: &Place, labels: Rc<Labels>) -> Result<Self> {
        let socket = &place.socket;
        let limit = CALL_LIMIT.as_secs();
        let docker = bollard::Docker::connect_with_unix(socket, limit, API_DEFAULT_VERSION);
        let docker = docker.map_err(|error| of_call(error, socket))?;
        let mut api = Self {
            docker,
            name: place.name.clone(),
            socket: socket.clone(),
            labels,
            described: RefCell::default(),
            questions: Turns::new(QUESTIONS, QUESTION_TURN),
            is_podman: place.name == EngineName::PODMAN,
            version: None,
        };
        if !api.is_podman {
            let version = api.call(api.docker.version()).await?;
            let mut parts = version.components.iter().flatten();
            api.is_podman = parts.any(|part| part.name == "Podman Engine");
            api.version = Some(version.version.unwrap_or_default());
        }
        Ok(api)
    }

    /// A call with the time limit that bollard's own does not give: for a connection, or for the rest
    /// of an answer. It has some kilobytes of its own, which most work on a container does not need.
    async fn call<T>(
        &self,
        call: impl Future<Output = std::result::Result<T, ApiError>>,
    ) -> Result<T> {
        limited(&self.socket, CALL_LIMIT, Box::pin(call)).await
    }

    /// All containers, running or not.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(super) async fn list(&self) -> Result<BTreeMap<ContainerId, Container>> {
        let containers = self.summaries(None).await?;
        let images: BTreeSet<_> = containers
            .iter()
            .filter_map(|c| c.image_id.clone())
            .collect();
        self.labels.retain(&images);
        let mut known = BTreeMap::new();
        for summary in containers {
            known.extend(self.container_from(summary).await);
        }
        self.forget_outdated(&known).await;
        Ok(known)
    }

    /// One container, from the list: unlike `inspect`, that does not wait for the lock that the
    /// engine holds while the container is being created.
    async fn container(&self, id: &ContainerId) -> Result<Option<Container>> {
        for summary in self.summaries(Some(id)).await? {
            if let Some((found, container)) = self.container_from(summary).await {
                if found == *id {
                    return Ok(Some(container));
                }
            }
        }
        Ok(None)
    }

    async fn summaries(&self, id: Option<&ContainerId>) -> Result<Vec<ContainerSummary>> {
        let options = ListContainersOptions {
            all: true,
            filters: id.map(|id| HashMap::from([("id".to_owned(), vec![id.id.clone()])])),
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
        Some((self.id(id), container))
    }

    /// Restarts a container. It gets its stop signal, and the time that its definition gives it.
    ///
    /// # Errors
    /// The engine refuses, or does not answer in time. It goes on with it then (moby, daemon/restart.go).
    pub(super) async fn restart(&self, id: &ContainerId) -> Result<()> {
        let docker = self.docker.clone().with_timeout(RESTART_LIMIT);
        let restart = docker.restart_container(&id.id, None::<RestartContainerOptions>);
        limited(&self.socket, RESTART_LIMIT, restart).await
    }

    /// One of its containers.
    fn id(&self, id: String) -> ContainerId {
        ContainerId::new(self.name.clone(), id)
    }

    /// The labels that an image carries; `None` where the image is gone or the engine does not
    /// tell. That concerns the containers of that image alone.
    async fn image_labels(&self, image: &str) -> Option<BTreeMap<String, String>> {
        if let Some(known) = self.labels.of_image(image) {
            return Some(known);
        }
        let labels = self.ask_image_labels(image).await?;
        self.labels.remember(image, &labels);
        Some(labels)
    }

    /// The same for an image by its name, which may be another one's tomorrow.
    async fn ask_image_labels(&self, image: &str) -> Option<BTreeMap<String, String>> {
        let inspected = self.call(self.docker.inspect_image(image)).await.ok()?;
        let labels = inspected.config.and_then(|config| config.labels);
        Some(self.labels.kept(labels))
    }
}

async fn limited<T>(
    socket: &str,
    limit: Duration,
    call: impl Future<Output = std::result::Result<T, ApiError>>,
) -> Result<T> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(|error| of_call(error, socket)),
        Err(_) => Err(EngineError::Silent),
    }
}
