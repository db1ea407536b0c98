//! The container engines: what the daemon needs of one, and those that there are.
//!
//! [`Engine`] is the shape that all of them have: list, events, describe, and commands where there are
//! any. Nothing after this room knows which one it has. [`api`] is Docker's API, which Podman has too,
//! and the only user of `bollard`; [`told`] has the containers of all others, as far as their wrappers
//! tell. Answers are plain data, and every call has a time limit.
//!
//! Imports: `model`, `hold`, `sys`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::SystemTime;

use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use tokio::sync::Notify;

use crate::engine::api::Api;
use crate::engine::container::{Described, Running};
use crate::engine::error::EngineError;
use crate::engine::events::Event;
use crate::engine::exec::Executed;
use crate::engine::runtimes::EngineInfo;
use crate::engine::told::Told;
use crate::model::inventory::{Container, ContainerId};

pub mod api;
pub mod container;
pub mod containers_conf;
pub mod daemon_json;
pub mod dockerd;
pub mod error;
pub mod events;
pub mod exec;
pub mod labels;
pub mod places;
pub mod podman;
mod process;
pub mod runtimes;
pub mod told;
pub mod watch;

type Result<T> = std::result::Result<T, EngineError>;

/// A connection to an engine.
#[derive(Debug)]
pub enum Engine {
    /// By Docker's API.
    Api(Box<Api>),
    /// Nobody is asked.
    Told(Rc<Told>),
}

impl Engine {
    /// All its containers, running or not.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn list(&self) -> Result<BTreeMap<ContainerId, Container>> {
        match self {
            Self::Api(api) => api.list().await,
            Self::Told(told) => Ok(told.list()),
        }
    }

    /// What happens to its containers from `since` on, without a gap to a list that is asked for later.
    pub fn events(&self, since: SystemTime) -> impl Stream<Item = Result<Event>> + '_ {
        match self {
            Self::Api(api) => api.events(since).left_stream(),
            Self::Told(told) => {
                unfold((), async |()| Some((Ok(told.next_event().await), ()))).right_stream()
            }
        }
    }

    /// How a container runs, as it was last described: no plug waits for the engine unless something
    /// has happened to the container. `None` where it does not run.
    ///
    /// # Errors
    /// The engine has to be asked and does not answer.
    pub async fn last_known(&self, id: &ContainerId) -> Result<Option<Running>> {
        match self {
            Self::Api(api) => api.last_known(id).await,
            Self::Told(told) => Ok(told.describe(id).and_then(|described| described.running)),
        }
    }

    /// The runtime of a container, and how it runs now; `None` where there is no such container.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn describe(&self, id: &ContainerId) -> Result<Option<Described>> {
        match self {
            Self::Api(api) => api.describe(id).await,
            Self::Told(told) => Ok(told.describe(id)),
        }
    }

    /// Its version, e.g. `20.10.24`, as far as it was asked for it.
    pub fn known_version(&self) -> Option<&str> {
        match self {
            Self::Api(api) => api.known_version(),
            Self::Told(_) => None,
        }
    }

    /// Its version and its runtimes; `None` where nobody is asked.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn info(&self) -> Result<Option<EngineInfo>> {
        match self {
            Self::Api(api) => api.info().await.map(Some),
            Self::Told(_) => Ok(None),
        }
    }

    /// Whether it executes commands in its containers, and restarts them.
    pub fn takes_commands(&self) -> bool {
        matches!(self, Self::Api(_))
    }

    /// Runs a command in a container as its user 0 and waits for its end; see [`Api::exec`].
    ///
    /// # Errors
    /// It refuses, the container is gone, or it is paused.
    pub async fn exec(
        &self,
        id: &ContainerId,
        environment: &BTreeSet<String>,
        argv: Vec<String>,
        said: &Notify,
        paused: impl Future<Output = ()>,
    ) -> Result<Executed> {
        match self {
            Self::Api(api) => api.exec(id, environment, argv, said, paused).await,
            Self::Told(_) => Err(EngineError::Unknown),
        }
    }

    /// Restarts a container. It gets its stop signal, and the time that its definition gives it.
    ///
    /// # Errors
    /// It refuses, or does not answer in time. It goes on with it then (moby, daemon/restart.go).
    pub async fn restart(&self, id: &ContainerId) -> Result<()> {
        match self {
            Self::Api(api) => api.restart(id).await,
            Self::Told(_) => Err(EngineError::Unknown),
        }
    }
}
