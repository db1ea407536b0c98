//! Following the engines: connect, subscribe, list, and start over whenever one is lost.

use std::collections::BTreeMap;
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

/// How far back the events of an engine are asked for that has not answered. The list has everything but
/// what a container that is just being created is told to be.
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
    let found = News::Found {
        containers: list(&engine, &mut events, &tell).await?,
        engine: engine.clone(),
    };
    if !tell(found).await {
        return Ok(());
    }
    *failures = 0;
    loop {
        let message = tokio::select! {
            event = events.next() => News::Event(event.ok_or(EngineError::EventsEnded)??),
            // Events can be lost: the engine drops them for a reader that is too slow (moby,
            // daemon/events, pubsub with a time limit).
            () = resync.notified() => News::Listed(list(&engine, &mut events, &tell).await?),
        };
        if !tell(message).await {
            return Ok(());
        }
    }
}

/// All containers of an engine. What happens meanwhile is told at once, since a wrapper may wait for it, and
/// Podman's list for the wrapper.
async fn list(
    engine: &Engine,
    events: &mut (impl Stream<Item = Result<Event>> + Unpin),
    tell: &impl AsyncFn(News) -> bool,
) -> Result<BTreeMap<ContainerId, Container>> {
    let mut meanwhile = Vec::new();
    let mut answer = pin!(engine.list());
    let mut containers = loop {
        tokio::select! {
            biased;
            event = events.next() => {
                let event = event.ok_or(EngineError::EventsEnded)??;
                meanwhile.push(event.clone());
                tell(News::Event(event)).await;
            }
            answer = &mut answer => break answer?,
        }
    };
    for event in meanwhile {
        event.add_to(&mut containers);
    }
    Ok(containers)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::engine::events::Change;
    use crate::model::inventory::ContainerState;

    fn id(digit: &str) -> ContainerId {
        ContainerId::of_docker(digit.repeat(64))
    }

    fn changed(digit: &str, name: Option<&str>, state: Option<ContainerState>) -> Result<Event> {
        let name = name.map(str::to_owned);
        Ok(Event::Changed(id(digit), Change { name, state }))
    }

    /// The list after these events came during it, and how many were told.
    async fn listed(
        events: Vec<Result<Event>>,
    ) -> (Result<BTreeMap<ContainerId, Container>>, usize) {
        // The list is there when nothing happens any more.
        let mut events = pin!(stream::iter(events).chain(stream::pending()));
        let told = std::cell::RefCell::new(0);
        let tell = async |_: News| {
            *told.borrow_mut() += 1;
            true
        };
        let engine = Engine::Told(Rc::default());
        let listed = list(&engine, &mut events, &tell).await;
        (listed, told.take())
    }

    #[tokio::test]
    async fn what_happens_during_a_list_is_told_at_once_and_is_in_the_list() {
        let container = |name| crate::model::fixtures::container(name, &[]);
        let described = |digit, name| Ok(Event::Described(id(digit), container(name)));
        let (listed, told) = listed(vec![
            described("1", "new"),
            changed("1", Some("zwave"), None),
            changed("1", None, Some(ContainerState::Running)),
            described("2", "gone"),
            Ok(Event::Removed(id("2"))),
            // Of one that was not listed nothing else is known.
            changed("3", Some("other"), None),
        ])
        .await;
        let expected = Container {
            state: ContainerState::Running,
            ..container("zwave")
        };
        assert_eq!(listed.unwrap(), BTreeMap::from([(id("1"), expected)]));
        assert_eq!(told, 6);
    }

    #[tokio::test]
    async fn a_list_without_the_events_of_its_time_is_none() {
        let (listed, _) = listed(vec![Err(EngineError::EventsEnded)]).await;
        assert!(listed.is_err());
    }
}
