//! Following the engine: connect, subscribe, list, and start over whenever it is lost.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::docker::{ContainerEvent, Engine, EngineError};
use crate::inventory::{Container, ContainerId};
use crate::work::backoff;

/// What the engine had to tell.
#[derive(Debug)]
pub enum News {
    /// It answers, and these are all its containers.
    Found {
        engine: Rc<Engine>,
        version: String,
        containers: BTreeMap<ContainerId, Container>,
    },
    /// All its containers, as asked for by a resync.
    Listed(BTreeMap<ContainerId, Container>),
    /// Something happened to a container; `None` if it is gone.
    Changed(ContainerId, Option<Container>),
    /// It does not answer any more, or not yet.
    Lost(EngineError),
}

/// A unix socket costs little to try, and an engine that comes back should not be kept waiting.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Follows the engine for ever. `resync` asks for a fresh list.
pub async fn watch(socket: String, resync: Rc<Notify>, news: mpsc::Sender<News>) {
    let mut failures = 0;
    loop {
        let error = match follow(&socket, &resync, &news, &mut failures).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if news.send(News::Lost(error)).await.is_err() {
            return;
        }
        sleep(backoff(failures).min(LONGEST_WAIT)).await;
        failures += 1;
    }
}

/// Returns `Ok` when nobody listens to the news any more.
async fn follow(
    socket: &str,
    resync: &Notify,
    news: &mpsc::Sender<News>,
    failures: &mut u32,
) -> Result<(), EngineError> {
    let since = SystemTime::now();
    let engine = Rc::new(Engine::connect(socket).await?);
    let version = engine.version().await?;
    let mut events = Box::pin(engine.events(since));
    let found = News::Found {
        containers: engine.containers().await?,
        engine: engine.clone(),
        version,
    };
    if news.send(found).await.is_err() {
        return Ok(());
    }
    *failures = 0;
    loop {
        let message = tokio::select! {
            event = events.next() => match event {
                Some(Ok(ContainerEvent::Changed { id, name, state })) => {
                    let mut container = engine.container(&id).await?;
                    if let Some(container) = &mut container {
                        container.name = name.unwrap_or(std::mem::take(&mut container.name));
                        container.state = state.unwrap_or(container.state);
                    }
                    News::Changed(id, container)
                }
                Some(Ok(ContainerEvent::Destroyed(id))) => News::Changed(id, None),
                Some(Err(error)) => return Err(error),
                None => return Err(EngineError::Other("the engine ended the event stream".into())),
            },
            () = resync.notified() => News::Listed(engine.containers().await?),
        };
        if news.send(message).await.is_err() {
            return Ok(());
        }
    }
}
