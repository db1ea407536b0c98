//! How containers run, asked of the engine once per change.

use bollard::models::ContainerInspectResponse;
use tokio::task::spawn_blocking;

use crate::engine::container::{Described, HostEntry, Running, described};
use crate::engine::error::EngineError;
use crate::engine::{Engine, Result};
use crate::model::inventory::ContainerId;

impl Engine {
    /// How a container ran when the engine was last asked: no plug waits for the engine unless
    /// something has happened to the container.
    ///
    /// # Errors
    /// The engine has to be asked and does not answer.
    pub async fn last_known(&self, id: &ContainerId) -> Result<Option<Running>> {
        let known = self.described.borrow().get(id);
        match known {
            Some(described) => Ok(described.running),
            None => self.inspect(id).await,
        }
    }

    /// Something has happened to a container, or may have happened to any.
    pub fn forget(&self, id: Option<&ContainerId>) {
        self.described.borrow_mut().forget(id);
    }

    /// How a container runs now; `None` where it does not.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn inspect(&self, id: &ContainerId) -> Result<Option<Running>> {
        let described = self.describe(id).await?;
        Ok(described.and_then(|described| described.running))
    }

    /// The runtime of a container, and how it runs now; `None` where there is no such container.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn describe(&self, id: &ContainerId) -> Result<Option<Described>> {
        let before = self.described.borrow().changes();
        let response = match self.call(self.docker.inspect_container(&id.0, None)).await {
            Ok(response) => response,
            Err(EngineError::Gone) => return Ok(None),
            Err(error) => return Err(error),
        };
        let described = convert(response).await;
        self.described.borrow_mut().put(id, &described, before);
        Ok(Some(described))
    }
}

/// The host's /dev is looked at off the loop.
async fn convert(response: ContainerInspectResponse) -> Described {
    let work = spawn_blocking(move || described(response, HostEntry::at));
    match work.await {
        Ok(described) => described,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
