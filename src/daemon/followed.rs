//! The tasks that follow the engines.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};

use crate::config::settings::Settings;
use crate::engine::labels::Labels;
use crate::engine::places::Place;
use crate::engine::told::Told;
use crate::engine::watch::{NewsOf, listen, watch};
use crate::model::inventory::EngineName;

/// One task for each engine that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    news: NewsOf,
    tasks: BTreeMap<EngineName, Task>,
}

#[derive(Debug)]
struct Task {
    /// `None` for those of which wrappers tell.
    place: Option<Place>,
    /// Those that it keeps.
    labels: Rc<Labels>,
    /// Makes it list the engine's containers again.
    list_again: Rc<Notify>,
    task: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    /// All of them send their news there.
    pub(super) fn new(news: NewsOf) -> Self {
        let tasks = BTreeMap::new();
        Self { news, tasks }
    }

    /// Follows the engines at these places, and no others any more; returns the names of those. The
    /// labels are those that these settings need.
    pub(super) fn set(&mut self, places: Vec<Place>, settings: &Settings) -> Vec<EngineName> {
        let is_left = |task: &Task| task.place.as_ref().is_some_and(|its| !places.contains(its));
        let ended = self.tasks.iter().filter(|(_, task)| is_left(task));
        let ended: Vec<EngineName> = ended.map(|(name, _)| name.clone()).collect();
        self.tasks.retain(|name, _| !ended.contains(name));
        for task in self.tasks.values() {
            task.labels.need(settings.needed_labels());
        }
        for place in places {
            let name = place.name.clone();
            let begin = || Task::begin(place, settings, self.news.clone());
            self.tasks.entry(name).or_insert_with(begin);
        }
        ended
    }

    /// Follows the containers of which wrappers tell.
    pub(super) fn listen(&mut self, told: Rc<Told>) {
        let list_again = Rc::new(Notify::new());
        let listening = listen(told, list_again.clone(), self.news.clone());
        let task = Task {
            place: None,
            labels: Rc::default(),
            list_again,
            task: spawn_local(listening).abort_handle(),
        };
        self.tasks.insert(EngineName::TOLD, task);
    }

    pub(super) fn has(&self, name: &EngineName) -> bool {
        self.tasks.contains_key(name)
    }

    /// Makes the task of an engine list its containers again.
    pub(super) fn list_again(&self, name: &EngineName) -> Option<Rc<Notify>> {
        Some(self.tasks.get(name)?.list_again.clone())
    }

    pub(super) fn list_all_again(&self) {
        for task in self.tasks.values() {
            task.list_again.notify_one();
        }
    }
}

impl Task {
    fn begin(place: Place, settings: &Settings, news: NewsOf) -> Self {
        let labels = Rc::new(Labels::new(settings.needed_labels()));
        let list_again = Rc::new(Notify::new());
        let watching = watch(place.clone(), labels.clone(), list_again.clone(), news);
        Self {
            place: Some(place),
            labels,
            list_again,
            task: spawn_local(watching).abort_handle(),
        }
    }
}
