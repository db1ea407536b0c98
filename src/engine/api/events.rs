//! The events of an engine's containers.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt};
use nix::sys::signal::Signal;

use crate::engine::api::error::of_call;
use crate::engine::api::{Api, Result};
use crate::engine::events::{Change, Event};
use crate::model::inventory::{Container, ContainerId, ContainerState};

/// The events that change what a container should have or can be given. Without this filter the
/// engine would also report the start and end of our own exec. Podman has `died` for `die` and `remove`
/// for `destroy` (podman-events(1)); newer ones ask for `died` and say `die` (podman,
/// pkg/api/handlers/compat/events.go).
const EVENTS: [&str; 11] = [
    "create", "start", "kill", "die", "died", "destroy", "remove", "rename", "pause", "unpause",
    "update",
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

/// What an event tells of a container.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    id: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// It is being created: its name, image and labels.
    Created(HashMap<String, String>),
    Changed(Change),
    /// Somebody is stopping it: `docker stop`, `kill` or `restart`.
    Stopping,
    Destroyed,
}

impl Api {
    /// The events of containers from `since` on. The engine repeats those between then and the
    /// subscription (moby, daemon/events: the last 256 events), so there is no gap between a list
    /// that is asked for after `since` and this stream.
    pub(in crate::engine) fn events(
        &self,
        since: SystemTime,
    ) -> impl Stream<Item = Result<Event>> + '_ {
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
        let events = self.docker.events(Some(options));
        events.filter_map(move |message| async move {
            match message {
                Ok(message) => Some(self.event(told(message)?).await),
                Err(error) => Some(Err(of_call(error, &self.socket))),
            }
        })
    }

    /// Only a new container with labels of ours is asked about: the next event may be that of one that is
    /// being created, whose wrapper waits for us.
    async fn event(&self, Told { id, what }: Told) -> Result<Event> {
        let id = self.id(id);
        if !matches!(what, What::Stopping) {
            self.forget(&id);
        }
        Ok(match what {
            What::Created(told) => match self.created(&id, told).await? {
                Some(container) => Event::Described(id, container),
                None => Event::Removed(id),
            },
            What::Changed(change) => Event::Changed(id, change),
            What::Stopping => Event::Stopping(id),
            What::Destroyed => Event::Removed(id),
        })
    }

    /// A container that is being created, as its event tells it; `None` if it is gone.
    async fn created(
        &self,
        id: &ContainerId,
        mut told: HashMap<String, String>,
    ) -> Result<Option<Container>> {
        let name = told.remove("name").unwrap_or_default();
        let image = told.remove("image").unwrap_or_default();
        let labels = self.labels.kept(Some(told));
        let image_labels = match (labels.is_empty(), self.is_podman) {
            (true, _) => Some(BTreeMap::new()),
            // Podman's list waits for the lock of each container in it (podman, libpod/container.go,
            // `State`), which it holds until the runtime has returned; and the wrapper waits for us.
            (false, true) => self.ask_image_labels(&image).await,
            // The image may have another name by now, and the list has its id.
            (false, false) => {
                let listed = self.container(id).await?;
                let Some(listed) = listed else {
                    return Ok(None);
                };
                listed.image_labels
            }
        };
        Ok(Some(Container {
            name,
            state: ContainerState::Stopped,
            labels,
            image_labels,
        }))
    }
}

fn told(message: EventMessage) -> Option<Told> {
    let actor = message.actor?;
    let id = actor.id?;
    let state = match message.action?.as_str() {
        "create" => {
            let what = What::Created(actor.attributes.unwrap_or_default());
            return Some(Told { id, what });
        }
        "destroy" | "remove" => {
            let what = What::Destroyed;
            return Some(Told { id, what });
        }
        "kill" => {
            let signal = actor.attributes?.get("signal")?.parse().ok()?;
            let what = What::Stopping;
            return (!NO_STOP.contains(&signal)).then_some(Told { id, what });
        }
        "start" | "unpause" => Some(ContainerState::Running),
        "pause" => Some(ContainerState::Paused),
        "die" | "died" => Some(ContainerState::Stopped),
        _ => None,
    };
    // Who waits for the end of one of Podman's containers announces it, by the name that it knows (podman,
    // libpod/container_api.go, `WaitForExit`).
    let attributes = actor
        .attributes
        .filter(|_| state != Some(ContainerState::Stopped));
    let name = attributes.and_then(|mut attributes| attributes.remove("name"));
    let what = What::Changed(Change { name, state });
    Some(Told { id, what })
}
