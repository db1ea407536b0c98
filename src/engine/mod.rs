//! The engine: the only module that knows `bollard`.
//!
//! What the engine says becomes plain data here, and every call has a time limit.
//!
//! Imports: `model`, `sys`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error as ApiError;
use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, EventMessage,
    ExecConfig, Runtime,
};
use bollard::query_parameters::{EventsOptions, ListContainersOptions};
use futures_util::{Stream, StreamExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::engine::container::{Described, Running};
use crate::engine::daemon_json::{RUNTIME, is_wrapper};
use crate::model::inventory::{Container, ContainerId, ContainerState};
use crate::sys::logging::kind;
use crate::sys::pidfd::kill_member;

pub mod container;
pub mod daemon_json;
pub mod dockerd;
pub mod events;
pub mod runtimes;

/// Where the engine listens when DOCKER_HOST says nothing.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// How long one call to the engine may take. `inspect` of a container waits for the container's
/// lock, which the engine holds while a runtime is creating it.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// How long a command in a container may take.
const EXEC_LIMIT: Duration = Duration::from_secs(10);

/// How much of what a command says is kept.
const OUTPUT_LIMIT: usize = 4096;

/// The events that change what a container should have or can be given. Without this filter the
/// engine would also report the start and end of our own exec.
const EVENTS: [&str; 8] = [
    "create", "start", "die", "destroy", "rename", "pause", "unpause", "update",
];

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the container is gone")]
    Gone,
    #[error("the engine did not answer within {} s", CALL_LIMIT.as_secs())]
    Silent,
    #[error("the engine cannot be asked: {0}")]
    Away(String),
    #[error("{0}")]
    Other(String),
}

impl From<ApiError> for EngineError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::DockerResponseServerError {
                status_code: 404, ..
            } => Self::Gone,
            ApiError::DockerResponseServerError {
                status_code,
                message,
            } => Self::Other(format!("the engine answered {status_code}: {message}")),
            ApiError::RequestTimeoutError => Self::Silent,
            error => Self::Away(error.to_string()),
        }
    }
}

type Result<T> = std::result::Result<T, EngineError>;

/// What an engine says of itself.
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
    /// Whether containers that were created for a runtime of this name have the wrapper, or had it
    /// while it was registered.
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

/// How a command in a container ended.
#[derive(Debug)]
pub enum Executed {
    /// It ran to its end; what it said on both streams.
    Ended(String),
    /// It was killed at the time limit.
    Hung,
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// Its name and state after the event, as far as the event tells them. They are newer than
    /// what a list says: the engine announces an unpause before it updates the copy of its state
    /// that lists are made from (moby 20.10, daemon/unpause.go).
    Changed {
        id: ContainerId,
        name: Option<String>,
        state: Option<ContainerState>,
    },
    Destroyed(ContainerId),
}

/// Labels by image id; an image never changes.
pub type ImageLabels = Rc<RefCell<HashMap<String, BTreeMap<String, String>>>>;

/// A connection to the engine.
#[derive(Debug)]
pub struct Engine {
    docker: bollard::Docker,
    image_labels: ImageLabels,
    said: RefCell<Said>,
}

/// What the engine said of containers, as long as it has not told that something has happened to
/// them since.
#[derive(Debug, Default)]
struct Said {
    containers: BTreeMap<ContainerId, ContainerInspectResponse>,
    /// How often something has happened. An answer that was on its way meanwhile may be of before.
    happened: u64,
}

/// The socket of the engine: DOCKER_HOST, which must be a unix socket, or Docker's own default.
///
/// # Errors
/// Another kind of address; nodes can be made on this machine only.
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
    pub async fn connect(socket: &str, image_labels: ImageLabels) -> Result<Self> {
        let limit = CALL_LIMIT.as_secs();
        let docker = bollard::Docker::connect_with_unix(socket, limit, API_DEFAULT_VERSION)?;
        let docker = limited(docker.negotiate_version()).await?;
        Ok(Self {
            docker,
            image_labels,
            said: RefCell::default(),
        })
    }

    /// The engine's own version, e.g. `20.10.24`.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn version(&self) -> Result<String> {
        let version = limited(self.docker.version()).await?;
        Ok(version.version.unwrap_or_default())
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn info(&self) -> Result<EngineInfo> {
        let info = limited(self.docker.info()).await?;
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

    /// What happens to containers from `since` on. The engine repeats what happened between then
    /// and the subscription (moby, daemon/events: the last 256 events), so that a list that is
    /// asked for after `since` and this stream have no gap between them.
    pub fn events(&self, since: SystemTime) -> impl Stream<Item = Result<ContainerEvent>> + use<> {
        let since = since
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        let options = EventsOptions {
            since: Some(format!("{}.{:09}", since.as_secs(), since.subsec_nanos())),
            until: None,
            filters: Some(HashMap::from([
                ("type".to_owned(), words(&["container"])),
                ("event".to_owned(), words(&EVENTS)),
            ])),
        };
        self.docker
            .events(Some(options))
            .filter_map(async |message| match message {
                Ok(message) => container_event(message).map(Ok),
                Err(error) => Some(Err(error.into())),
            })
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
        self.image_labels
            .borrow_mut()
            .retain(|image, _| images.contains(image));
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
        limited(self.docker.list_containers(Some(options))).await
    }

    async fn container_from(&self, summary: ContainerSummary) -> Option<(ContainerId, Container)> {
        let id = summary.id?;
        let labels: BTreeMap<_, _> = summary.labels.unwrap_or_default().into_iter().collect();
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

    /// The labels that an image carries; `None` where the image is gone or the engine does not
    /// tell. That concerns the containers of that image alone.
    async fn image_labels(&self, image: &str) -> Option<BTreeMap<String, String>> {
        if let Some(known) = self.image_labels.borrow().get(image) {
            return Some(known.clone());
        }
        let inspected = limited(self.docker.inspect_image(image)).await.ok()?;
        let labels = inspected.config.and_then(|config| config.labels);
        let labels: BTreeMap<_, _> = labels.unwrap_or_default().into_iter().collect();
        let mut known = self.image_labels.borrow_mut();
        known.insert(image.to_owned(), labels.clone());
        Some(labels)
    }

    /// How a container runs, as far as is known: at a plug nobody is to wait for an engine that has
    /// nothing new to tell.
    ///
    /// # Errors
    /// The engine has to be asked and does not answer.
    pub async fn last_known(&self, id: &ContainerId) -> Result<Option<Running>> {
        let known = self.said.borrow().containers.get(id).cloned();
        match known {
            Some(response) => Ok(container::described(response).running),
            None => self.inspect(id).await,
        }
    }

    /// Something has happened to a container, or may have happened to any.
    pub fn forget(&self, id: Option<&ContainerId>) {
        let mut said = self.said.borrow_mut();
        said.happened += 1;
        said.containers
            .retain(|known, _| id.is_some_and(|id| id != known));
    }

    /// How a container runs now; `None` where it does not.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn inspect(&self, id: &ContainerId) -> Result<Option<Running>> {
        let described = self.describe(id).await?;
        Ok(described.and_then(|described| described.running))
    }

    /// What a container was created for, and how it runs now; `None` where there is none.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn describe(&self, id: &ContainerId) -> Result<Option<Described>> {
        let happened = self.said.borrow().happened;
        match limited(self.docker.inspect_container(&id.0, None)).await {
            Ok(response) => {
                let mut said = self.said.borrow_mut();
                if said.happened == happened {
                    said.containers.insert(id.clone(), response.clone());
                }
                Ok(Some(container::described(response)))
            }
            Err(EngineError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a command in a container as its user 0 and waits for its end. `output` is notified of
    /// everything that the command says, which is known some milliseconds before its end.
    ///
    /// # Errors
    /// The engine refuses, the container is gone, or it is paused.
    pub async fn exec(
        &self,
        id: &ContainerId,
        argv: Vec<String>,
        output: &Notify,
    ) -> Result<Executed> {
        let config = ExecConfig {
            cmd: Some(argv),
            user: Some("0".to_owned()),
            // The image's own working directory may be missing, and then nothing could run.
            working_dir: Some("/".to_owned()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let exec = limited(self.docker.create_exec(&id.0, config)).await?.id;
        let run = async {
            let mut said = String::new();
            if let StartExecResults::Attached {
                output: mut chunks, ..
            } = self.docker.start_exec(&exec, None).await?
            {
                while let Some(chunk) = chunks.next().await {
                    output.notify_one();
                    let text = String::from_utf8_lossy(&chunk?.into_bytes()).into_owned();
                    if said.len() < OUTPUT_LIMIT {
                        said.push_str(&text);
                    }
                }
            }
            Ok(said)
        };
        match timeout(EXEC_LIMIT, run).await {
            Ok(said) => said.map(Executed::Ended),
            Err(_) => {
                self.kill_exec(id, &exec).await;
                Ok(Executed::Hung)
            }
        }
    }

    /// The engine has no call that ends an exec. Left alone, a hung one would be joined by
    /// another at every retry.
    async fn kill_exec(&self, id: &ContainerId, exec: &str) {
        let pid = limited(self.docker.inspect_exec(exec)).await.ok();
        let pid = pid
            .and_then(|exec| exec.pid)
            .and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.filter(|pid| *pid > 1) {
            if let Err(error) = kill_member(pid, &id.0) {
                tracing::warn!(
                    message_id = kind::UNFINISHED,
                    container_id = %id.0,
                    pid,
                    %error,
                    "a hung command could not be killed"
                );
            }
        }
    }
}

/// Adds the time limit that bollard's own does not give: a call that waits for a connection or
/// for the rest of an answer.
async fn limited<T>(call: impl Future<Output = std::result::Result<T, ApiError>>) -> Result<T> {
    match timeout(CALL_LIMIT, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(EngineError::Silent),
    }
}

fn container_event(message: EventMessage) -> Option<ContainerEvent> {
    let actor = message.actor?;
    let id = ContainerId(actor.id?);
    let state = match message.action?.as_str() {
        "destroy" => return Some(ContainerEvent::Destroyed(id)),
        "start" | "unpause" => Some(ContainerState::Running),
        "pause" => Some(ContainerState::Paused),
        "create" | "die" => Some(ContainerState::Stopped),
        _ => None,
    };
    let name = actor
        .attributes
        .and_then(|mut attributes| attributes.remove("name"));
    Some(ContainerEvent::Changed { id, name, state })
}
