//! Following the engine: connect, subscribe, list, and start over whenever it is lost.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::engine::{ContainerEvent, Engine, EngineError, ImageLabels};
use crate::model::inventory::{Container, ContainerId};
use crate::sys::backoff::backoff;

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
    let image_labels = ImageLabels::default();
    loop {
        let engine = Engine::connect(&socket, image_labels.clone());
        let error = match follow(engine, &resync, &news, &mut failures).await {
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
    engine: impl Future<Output = Result<Engine, EngineError>>,
    resync: &Notify,
    news: &mpsc::Sender<News>,
    failures: &mut u32,
) -> Result<(), EngineError> {
    let since = SystemTime::now();
    let engine = Rc::new(engine.await?);
    let version = engine.version().await?;

    // Listen before list: the request for events goes out when they are first asked for.
    let mut events = Box::pin(engine.events(since));
    let mut early = VecDeque::new();
    let containers = {
        let mut containers = pin!(engine.containers());
        loop {
            tokio::select! {
                biased;
                event = events.next() => early.push_back(event),
                containers = &mut containers => break containers?,
            }
            if let Some(None | Some(Err(_))) = early.back() {
                break containers.await?;
            }
        }
    };
    let found = News::Found {
        containers,
        engine: engine.clone(),
        version,
    };
    if news.send(found).await.is_err() {
        return Ok(());
    }
    *failures = 0;
    loop {
        let next = async {
            match early.pop_front() {
                Some(event) => event,
                None => events.next().await,
            }
        };
        let message = tokio::select! {
            event = next => match event {
                Some(Ok(ContainerEvent::Changed { id, name, state })) => {
                    engine.forget(Some(&id));
                    let mut container = engine.container(&id).await?;
                    if let Some(container) = &mut container {
                        container.name = name.unwrap_or(std::mem::take(&mut container.name));
                        container.state = state.unwrap_or(container.state);
                    }
                    News::Changed(id, container)
                }
                Some(Ok(ContainerEvent::Destroyed(id))) => {
                    engine.forget(Some(&id));
                    News::Changed(id, None)
                }
                Some(Err(error)) => return Err(error),
                None => return Err(EngineError::Other("the engine ended the event stream".into())),
            },
            () = resync.notified() => {
                // Events can be lost: the engine drops them for a reader that is too slow (moby,
                // daemon/events, pubsub with a time limit).
                engine.forget(None);
                News::Listed(engine.containers().await?)
            }
        };
        if news.send(message).await.is_err() {
            return Ok(());
        }
    }
}
