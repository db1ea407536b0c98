//! How containers run, asked of the engine once per change.

use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;
use tokio::task::spawn_blocking;

use crate::engine::api::container::{HostEntry, described};
use crate::engine::api::{Api, Result};
use crate::engine::container::{Described, Running};
use crate::engine::error::EngineError;
use crate::engine::process;
use crate::model::inventory::{Container, ContainerId};
use crate::sys::proc_thread::lives;

impl Api {
    /// How a container ran when the engine was last asked.
    pub(in crate::engine) async fn last_known(&self, id: &ContainerId) -> Result<Option<Running>> {
        let known = self.described.borrow().get(id);
        match known {
            Some(described) => Ok(described.running),
            None => Ok(self
                .describe(id)
                .await?
                .and_then(|described| described.running)),
        }
    }

    /// Something has happened to a container.
    pub(super) fn forget(&self, id: &ContainerId) {
        self.described.borrow_mut().forget(id);
    }

    /// Something may have happened to any container: forgets those that are not as they were described.
    pub(super) async fn forget_outdated(&self, listed: &BTreeMap<ContainerId, Container>) {
        let processes = self.described.borrow().processes();
        let alive = off_the_loop(move || {
            let alive = processes.into_iter();
            alive.filter(|its| lives(its.pid, its.started)).collect()
        });
        let alive = alive.await;
        let mut described = self.described.borrow_mut();
        described.forget_outdated(listed, &alive);
    }

    /// `None` where there is no such container.
    pub(in crate::engine) async fn describe(&self, id: &ContainerId) -> Result<Option<Described>> {
        let described = self.questions.take(|| self.ask(id)).await;
        described.expect("its turns are never closed")
    }

    async fn ask(&self, id: &ContainerId) -> Result<Option<Described>> {
        let before = self.described.borrow().changes();
        let response = match self.call(self.docker.inspect_container(&id.id, None)).await {
            Ok(response) => response,
            Err(EngineError::Gone) => return Ok(None),
            Err(error) => return Err(error),
        };
        let described = convert(response, self.is_podman).await;
        self.described.borrow_mut().put(id, &described, before);
        Ok(Some(described))
    }
}

async fn convert(response: ContainerInspectResponse, is_podman: bool) -> Described {
    off_the_loop(move || {
        let mut described = described(response, HostEntry::at);
        if let Some(running) = &mut described.running {
            running.drops_mknod = process::lacks_mknod(running.pid);
            running.start.process = process::first(running.pid);
        }
        if is_podman {
            let running = described.running.as_ref();
            let runtime = running.and_then(|running| process::runtime_of_podman(running.pid));
            described.runtime = runtime.unwrap_or_default();
        }
        described
    })
    .await
}

/// The host's /dev and /proc are looked at in another thread.
async fn off_the_loop<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(look).await {
        Ok(seen) => seen,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
