//! Following the engine: connect, subscribe, list, and start over whenever it is lost.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt};
use nix::sys::signal::Signal;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::engine::error::EngineError;
use crate::engine::labels::Labels;
use crate::engine::{Engine, Result};
use crate::model::inventory::{Container, ContainerId, ContainerState};
use crate::sys::backoff::backoff;

/// What has happened to the engine and its containers.
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
    /// Somebody is stopping a container, which may take a while.
    Stopping(ContainerId),
    /// It does not answer any more, or not yet.
    Lost(EngineError),
}

/// The events that change what a container should have or can be given. Without this filter the
/// engine would also report the start and end of our own exec.
const EVENTS: [&str; 9] = [
    "create", "start", "kill", "die", "destroy", "rename", "pause", "unpause", "update",
];

/// The signals with which nobody stops a container: HUP, USR1, USR2, CONT and WINCH (signal(7)). All
/// others may be its stop signal.
const NO_STOP: [i32; 5] = [
    Signal::SIGHUP as i32,
    Signal::SIGUSR1 as i32,
    Signal::SIGUSR2 as i32,
    Signal::SIGCONT as i32,
    Signal::SIGWINCH as i32,
];

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ContainerEvent {
    /// Its name and state after the event, as far as the event tells them. They are newer than
    /// what a list says: the engine announces an unpause before it updates the copy of its state
    /// that lists are made from (moby 20.10, daemon/unpause.go).
    Changed {
        id: ContainerId,
        name: Option<String>,
        state: Option<ContainerState>,
    },
    /// Somebody is stopping it: `docker stop`, `kill` or `restart`.
    Stopping(ContainerId),
    Destroyed(ContainerId),
}

/// A unix socket costs little to try, and an engine that comes back should not be kept waiting.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Follows the engine as long as the program runs. `resync` asks for a fresh list.
pub async fn watch(
    socket: String,
    labels: Rc<Labels>,
    resync: Rc<Notify>,
    news: mpsc::Sender<News>,
) {
    let mut failures = 0;
    loop {
        let engine = Engine::connect(&socket, labels.clone());
        let error = match until_lost(engine, &resync, &news, &mut failures).await {
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

/// Returns `Ok` when the receiver of the news is gone.
async fn until_lost(
    engine: impl Future<Output = Result<Engine>>,
    resync: &Notify,
    news: &mpsc::Sender<News>,
    failures: &mut u32,
) -> Result<()> {
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
                Some(Ok(ContainerEvent::Stopping(id))) => News::Stopping(id),
                Some(Ok(ContainerEvent::Destroyed(id))) => {
                    engine.forget(Some(&id));
                    News::Changed(id, None)
                }
                Some(Err(error)) => return Err(error),
                None => return Err(EngineError::EventsEnded),
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

impl Engine {
    /// The events of containers from `since` on. The engine repeats those between then and the
    /// subscription (moby, daemon/events: the last 256 events), so there is no gap between a list
    /// that is asked for after `since` and this stream.
    fn events(&self, since: SystemTime) -> impl Stream<Item = Result<ContainerEvent>> + use<> {
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
        let socket = self.socket.clone();
        let events = self.docker.events(Some(options));
        events.filter_map(move |message| {
            std::future::ready(match message {
                Ok(message) => container_event(message).map(Ok),
                Err(error) => Some(Err(EngineError::new(error, &socket))),
            })
        })
    }
}

fn container_event(message: EventMessage) -> Option<ContainerEvent> {
    let actor = message.actor?;
    let id = ContainerId(actor.id?);
    let state = match message.action?.as_str() {
        "destroy" => return Some(ContainerEvent::Destroyed(id)),
        "kill" => {
            let signal = actor.attributes?.get("signal")?.parse().ok()?;
            return (!NO_STOP.contains(&signal)).then_some(ContainerEvent::Stopping(id));
        }
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
