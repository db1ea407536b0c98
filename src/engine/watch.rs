//! Following the engines: connect, subscribe, list, and start over whenever one is lost.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use crate::engine::api::Api;
use crate::engine::error::EngineError;
use crate::engine::events::Event;
use crate::engine::labels::Labels;
use crate::engine::places::Place;
use crate::engine::told::Told;
use crate::engine::{Engine, Result};
use crate::model::inventory::{Container, ContainerId, EngineName};
use crate::sys::backoff::backoff;

/// What has happened to an engine and its containers.
#[derive(Debug)]
pub enum News {
    /// It answers, and these are all its containers.
    Found {
        engine: Rc<Engine>,
        containers: BTreeMap<ContainerId, Container>,
    },
    /// All its containers, as asked for by a resync.
    Listed(BTreeMap<ContainerId, Container>),
    Event(Event),
    /// It does not answer any more, or not yet.
    Lost(EngineError),
    /// Nobody says that it is there.
    Absent,
}

/// Where the news of all engines go.
pub type NewsOf = mpsc::Sender<(EngineName, News)>;

/// A unix socket costs little to try, and an engine that comes back should not be kept waiting.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How far back the events of an engine are asked for that has not answered. Each costs a call, and the
/// list has everything but what a container that is just being created is told to be.
const LONGEST_AWAY: Duration = Duration::from_secs(60);

/// Follows an engine as long as the program runs. `resync` asks for a fresh list.
pub async fn watch(place: Place, labels: Rc<Labels>, resync: Rc<Notify>, news: NewsOf) {
    let mut failures = 0;
    // At boot Podman creates containers before it answers in time: what it told then is asked for again.
    let mut heard = SystemTime::now();
    loop {
        if !until_expected(&place, &news).await {
            return;
        }
        let now = SystemTime::now();
        let since = heard.max(now - LONGEST_AWAY).min(now);
        let engine = Api::connect(&place, labels.clone());
        let lost = until_lost(engine, since, &place.name, &resync, &news, &mut failures);
        let error = match lost.await {
            Ok(()) => return,
            Err(error) => error,
        };
        if failures == 0 {
            heard = SystemTime::now();
        }
        let lost = (place.name.clone(), News::Lost(error));
        if news.send(lost).await.is_err() {
            return;
        }
        sleep(backoff(failures).min(LONGEST_WAIT)).await;
        failures += 1;
    }
}

/// Returns `false` when the receiver of the news is gone.
async fn until_expected(place: &Place, news: &NewsOf) -> bool {
    if place.is_expected() {
        return true;
    }
    let is_heard = news.send((place.name.clone(), News::Absent)).await.is_ok();
    while is_heard && !place.is_expected() {
        sleep(LONGEST_WAIT).await;
    }
    is_heard
}

/// Follows the containers of which wrappers tell.
pub async fn listen(told: Rc<Told>, resync: Rc<Notify>, news: NewsOf) {
    let engine = Rc::new(Engine::Told(told));
    let since = SystemTime::now();
    let _ = follow(engine, since, &EngineName::TOLD, &resync, &news, &mut 0).await;
}

/// Returns `Ok` when the receiver of the news is gone.
async fn until_lost(
    engine: impl Future<Output = Result<Api>>,
    since: SystemTime,
    name: &EngineName,
    resync: &Notify,
    news: &NewsOf,
    failures: &mut u32,
) -> Result<()> {
    let engine = Rc::new(Engine::Api(Box::new(engine.await?)));
    follow(engine, since, name, resync, news, failures).await
}

/// Returns `Ok` when the receiver of the news is gone.
async fn follow(
    engine: Rc<Engine>,
    since: SystemTime,
    name: &EngineName,
    resync: &Notify,
    news: &NewsOf,
    failures: &mut u32,
) -> Result<()> {
    // Listen before list: the request for events goes out when they are first asked for.
    let mut events = Box::pin(engine.events(since));
    let tell = async |told: News| news.send((name.clone(), told)).await.is_ok();
    let (containers, mut early) = meanwhile(engine.list(), &mut events, &tell).await?;
    let found = News::Found {
        containers,
        engine: engine.clone(),
    };
    if !tell(found).await {
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
            event = next => News::Event(event.ok_or(EngineError::EventsEnded)??),
            // Events can be lost: the engine drops them for a reader that is too slow (moby,
            // daemon/events, pubsub with a time limit).
            () = resync.notified() => {
                let (containers, later) = meanwhile(engine.list(), &mut events, &tell).await?;
                early.extend(later);
                News::Listed(containers)
            }
        };
        if !tell(message).await {
            return Ok(());
        }
    }
}

/// The answer to something that was asked, and the last events that have come meanwhile. They may be newer
/// than a list, so they count after it. That a container is being created is told at once as well: its
/// wrapper waits for that, and Podman's list for the wrapper.
async fn meanwhile<T>(
    asked: impl Future<Output = Result<T>>,
    events: &mut (impl Stream<Item = Result<Event>> + Unpin),
    tell: &impl AsyncFn(News) -> bool,
) -> Result<(T, VecDeque<Option<Result<Event>>>)> {
    let mut early = VecDeque::new();
    let mut asked = pin!(asked);
    loop {
        tokio::select! {
            biased;
            event = events.next() => {
                if let Some(Ok(event @ Event::Described(..))) = &event {
                    tell(News::Event(event.clone())).await;
                }
                add(&mut early, event);
            }
            answer = &mut asked => return Ok((answer?, early)),
        }
        if let Some(None | Some(Err(_))) = early.back() {
            return Ok((asked.await?, early));
        }
    }
}

/// Adds an event to those that are told after a list. One before it of the same container becomes part of
/// it: by itself it would end a start that the list has.
fn add(early: &mut VecDeque<Option<Result<Event>>>, event: Option<Result<Event>>) {
    let event = event.map(|event| {
        event.map(|event| match before(early, &event) {
            Some(before) => before.followed_by(event),
            None => event,
        })
    });
    early.push_back(event);
}

/// Takes out an event that tells of the same container.
fn before(early: &mut VecDeque<Option<Result<Event>>>, event: &Event) -> Option<Event> {
    let id = event.tells_of()?;
    let is_of_it = |other: &Option<Result<Event>>| match other {
        Some(Ok(other)) => other.tells_of() == Some(id),
        _ => false,
    };
    let at = early.iter().position(is_of_it)?;
    early.remove(at)??.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::engine::events::Change;
    use crate::model::inventory::ContainerState;

    fn event(name: Option<&str>, state: Option<ContainerState>) -> Result<Event> {
        let id = ContainerId::of_docker("1".repeat(64));
        let name = name.map(str::to_owned);
        Ok(Event::Changed(id, Change { name, state }))
    }

    #[tokio::test]
    async fn what_happens_to_a_container_during_a_list_counts_after_it_all_at_once() {
        let happened = [
            event(None, Some(ContainerState::Stopped)),
            event(Some("zwave"), None),
            event(None, Some(ContainerState::Running)),
        ];
        let events = stream::iter(happened);
        // The list is there when nothing happens any more.
        let mut events = pin!(events.chain(stream::pending()));
        let engine = Engine::Told(Rc::default());
        let told = std::cell::RefCell::new(Vec::new());
        let tell = async |news: News| {
            told.borrow_mut().push(news);
            true
        };
        let (_, early) = meanwhile(engine.list(), &mut events, &tell).await.unwrap();
        let changes = early.into_iter().map(|event| match event {
            Some(Ok(Event::Changed(_, change))) => change,
            other => panic!("{other:?}"),
        });
        let change = Change {
            name: Some("zwave".into()),
            state: Some(ContainerState::Running),
        };
        assert_eq!(changes.collect::<Vec<_>>(), [change]);
        assert!(told.borrow().is_empty());
    }
}
