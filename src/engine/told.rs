//! The containers of which only their wrappers have told. Nobody is asked about them: a wrapper
//! describes one when it is created, its keeper knows its first process, and it is gone when its
//! keeper is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::container::{Described, Mapping, Running};
use crate::engine::events::Event;
use crate::hold::description::Description;
use crate::model::device_access::DeviceRules;
use crate::model::inventory::{Container, ContainerId, ContainerState};
use crate::model::start::{FirstProcess, StartId};
use crate::sys::proc_thread::lives;

/// How long a wrapper may take to start the keeper of a container, without which nobody says when the
/// container has ended.
const KEEPER_LIMIT: Duration = Duration::from_secs(30);

/// All of them.
#[derive(Debug, Default)]
pub struct Told {
    containers: RefCell<BTreeMap<ContainerId, Entry>>,
    /// Those to which something has happened that the listener has not been told.
    changed: RefCell<BTreeSet<ContainerId>>,
    /// There are some.
    news: Notify,
}

#[derive(Debug)]
struct Entry {
    description: Description,
    /// The name of its keeper; `None` while its wrapper has not started one.
    keeper: Option<String>,
    process: Option<FirstProcess>,
    since: Instant,
}

impl Told {
    /// What has happened to one of them, for the only listener: how it is now.
    pub(super) async fn next_event(&self) -> Event {
        loop {
            if let Some(event) = self.event() {
                return event;
            }
            self.news.notified().await;
        }
    }

    fn event(&self) -> Option<Event> {
        let id = self.changed.borrow_mut().pop_first()?;
        let containers = self.containers.borrow();
        Some(match containers.get(&id) {
            Some(entry) => Event::Described(id, entry.container()),
            None => Event::Removed(id),
        })
    }

    /// All of them.
    pub fn list(&self) -> BTreeMap<ContainerId, Container> {
        let mut containers = self.containers.borrow_mut();
        // Its wrapper has ended, or has found that it needs no keeper.
        containers.retain(|_, its| its.keeper.is_some() || its.since.elapsed() < KEEPER_LIMIT);
        let all = containers.iter();
        all.map(|(id, its)| (id.clone(), its.container())).collect()
    }

    /// A wrapper is creating a container. One that runs with this id is another one, and the runtime
    /// refuses the new one.
    pub fn create(&self, description: Description) {
        let id = description.id();
        let runs = self.containers.borrow().get(&id).is_some_and(Entry::runs);
        if !runs {
            self.put(id, Entry::new(description, None, None));
        }
    }

    /// Whether the container of this keeper runs.
    pub fn runs(&self, keeper: &str) -> bool {
        let containers = self.containers.borrow();
        let mut its = containers.values().filter(|its| its.is_of(keeper));
        its.any(Entry::runs)
    }

    /// A keeper tells of its container, and of the container's first process as soon as it knows that.
    pub fn keep(&self, keeper: &str, description: &Description, process: Option<FirstProcess>) {
        let id = description.id();
        if process.is_some_and(|process| !is_alive(process)) || !self.may_keep(&id, process) {
            return;
        }
        let entry = Entry::new(description.clone(), Some(keeper.to_owned()), process);
        self.put(id, entry);
    }

    /// The keeper of the start before may still tell of it when the container is created again.
    fn may_keep(&self, id: &ContainerId, process: Option<FirstProcess>) -> bool {
        let containers = self.containers.borrow();
        containers.get(id).is_none_or(|its| match process {
            Some(_) => its.process != process,
            None => its.keeper.is_none(),
        })
    }

    /// A keeper has ended, and its container with it.
    pub fn end(&self, keeper: &str) {
        let mut containers = self.containers.borrow_mut();
        let ended = containers.iter().find(|(_, its)| its.is_of(keeper));
        if let Some(id) = ended.map(|(id, _)| id.clone()) {
            containers.remove(&id);
            self.tell(id);
        }
    }

    /// How a container runs; `None` where nothing is known of it.
    pub(super) fn describe(&self, id: &ContainerId) -> Option<Described> {
        let containers = self.containers.borrow();
        let entry = containers.get(id)?;
        Some(Described {
            runtime: String::new(),
            mappings: entry.mappings(),
            running: entry.running(),
            complete: true,
        })
    }

    fn put(&self, id: ContainerId, entry: Entry) {
        self.containers.borrow_mut().insert(id.clone(), entry);
        self.tell(id);
    }

    fn tell(&self, id: ContainerId) {
        self.changed.borrow_mut().insert(id);
        self.news.notify_one();
    }
}

impl Entry {
    fn new(
        description: Description,
        keeper: Option<String>,
        process: Option<FirstProcess>,
    ) -> Self {
        Self {
            description,
            keeper,
            process,
            since: Instant::now(),
        }
    }

    fn is_of(&self, keeper: &str) -> bool {
        self.keeper.as_deref() == Some(keeper)
    }

    fn runs(&self) -> bool {
        self.process.is_some_and(is_alive)
    }

    fn container(&self) -> Container {
        let is_known = !self.description.has_those_of_image;
        Container {
            name: self.description.name.clone(),
            state: match self.process {
                Some(_) => ContainerState::Running,
                None => ContainerState::Stopped,
            },
            labels: self.description.labels.clone(),
            image_labels: is_known.then(BTreeMap::new),
        }
    }

    fn running(&self) -> Option<Running> {
        let process = self.process.filter(|process| is_alive(*process))?;
        let description = &self.description;
        Some(Running {
            pid: process.pid.into(),
            start: StartId::of(process),
            paused: false,
            foreign: description.foreign.clone(),
            rights: DeviceRules {
                everything: description.everything,
                rules: description.rules.clone(),
                ..DeviceRules::default()
            },
            mappings: self.mappings(),
            drops_mknod: false,
            added_groups: description.groups.clone(),
            environment: BTreeSet::new(),
        })
    }

    /// Which devices of the host they are is not known: they are taken to have the same names there.
    fn mappings(&self) -> Vec<Mapping> {
        let nodes = self.description.nodes.iter();
        let mappings = nodes.map(|node| Mapping {
            host: node.clone(),
            container: node.clone(),
        });
        mappings.collect()
    }
}

/// Whether it is still that process, and not another one with its number.
fn is_alive(process: FirstProcess) -> bool {
    lives(process.pid, process.started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::proc_thread::start_time;

    fn description(id: &str) -> Description {
        Description {
            container: id.to_owned(),
            engine: "containerd/default".to_owned(),
            name: id.to_owned(),
            ..Description::default()
        }
    }

    fn own_process() -> FirstProcess {
        let pid = std::process::id();
        let started = start_time(pid).unwrap();
        FirstProcess { pid, started }
    }

    fn states(told: &Told) -> Vec<(String, ContainerState)> {
        let all = told.list().into_iter();
        all.map(|(id, container)| (id.id, container.state))
            .collect()
    }

    #[test]
    fn a_container_runs_once_its_keeper_knows_its_process_and_is_gone_with_its_keeper() {
        let told = Told::default();
        let zigbee = description("zigbee");
        told.create(zigbee.clone());
        let created = told.event();
        assert!(matches!(created, Some(Event::Described(..))));
        assert_eq!(states(&told), [("zigbee".into(), ContainerState::Stopped)]);
        told.keep("k1", &zigbee, None);
        assert!(told.describe(&zigbee.id()).unwrap().running.is_none());
        told.keep("k1", &zigbee, Some(own_process()));
        assert_eq!(states(&told), [("zigbee".into(), ContainerState::Running)]);
        let running = told.describe(&zigbee.id()).unwrap().running.unwrap();
        assert_eq!(running.pid, i64::from(std::process::id()));
        // Twice in between, and the last state is told.
        let runs = told.event();
        assert!(
            matches!(&runs, Some(Event::Described(_, its)) if its.state == ContainerState::Running)
        );
        assert!(told.event().is_none());

        // Nothing new, and nothing of a keeper that is not its own.
        told.keep("k1", &zigbee, Some(own_process()));
        told.end("k0");
        assert!(told.event().is_none());
        told.end("k1");
        assert_eq!(states(&told), []);
        assert!(matches!(told.event(), Some(Event::Removed(_))));
    }

    #[test]
    fn a_container_that_runs_is_not_replaced_by_one_of_the_same_id_that_cannot_be_created() {
        let told = Told::default();
        let zigbee = description("zigbee");
        told.keep("k1", &zigbee, Some(own_process()));
        told.create(zigbee.clone());
        told.keep("k2", &zigbee, None);
        told.end("k2");
        assert!(told.runs("k1"));
        assert_eq!(states(&told), [("zigbee".into(), ContainerState::Running)]);
    }

    #[test]
    fn the_keeper_of_the_start_before_says_nothing_of_the_next_one() {
        let told = Told::default();
        let zigbee = description("zigbee");
        let ended = FirstProcess {
            started: 0,
            ..own_process()
        };
        told.create(zigbee.clone());
        told.keep("k1", &zigbee, Some(ended));
        told.keep("k2", &zigbee, None);
        told.keep("k1", &zigbee, None);
        told.end("k1");
        assert_eq!(states(&told), [("zigbee".into(), ContainerState::Stopped)]);
        told.keep("k2", &zigbee, Some(own_process()));
        assert_eq!(states(&told), [("zigbee".into(), ContainerState::Running)]);
    }
}
