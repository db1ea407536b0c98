//! Whom to tell of which port, and when: after its node has appeared, and after it has gone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::container::announce::announce;
use crate::container::observe::View;
use crate::container::uevent::{Action, Announcement};
use crate::daemon::reconcile::apply::in_its_root;
use crate::daemon::state::World;
use crate::model::inventory::ContainerId;
use crate::model::{DevNum, NodePath};
use crate::plan::assign::WantedPort;
use crate::sys::logging::kind;

/// Tells the applications of one container.
#[derive(Debug, Clone, Copy)]
pub struct Herald<'a> {
    pub world: &'a RefCell<World>,
    pub id: &'a ContainerId,
    pub pid: i64,
    pub wants: &'a [WantedPort],
    /// Devices that the container may not open yet.
    pub shut: &'a BTreeSet<DevNum>,
}

type Announced = BTreeMap<NodePath, Announcement>;

impl Herald<'_> {
    /// What was there before this daemon looked is no news.
    pub fn knows(self, view: &View) {
        let there = self.there(view);
        let announced = &mut self.world.borrow_mut().announced;
        announced.insert(self.id.clone(), there);
    }

    /// What is seen now that was not when it was last told.
    pub async fn tells(self, view: &View) {
        for (action, announcements) in self.learn(view) {
            self.tell(action, announcements).await;
        }
    }

    /// Takes note of what is there. A node whose device has just gone stays what it was until it goes
    /// itself.
    fn learn(self, view: &View) -> [(Action, Vec<Announcement>); 3] {
        let mut new = self.there(view);
        let announced = &mut self.world.borrow_mut().announced;
        let known = announced.entry(self.id.clone()).or_default();
        let (stays, gone): (Announced, Announced) = std::mem::take(known)
            .into_iter()
            .partition(|(path, known)| view.actual.has(path, known.devnum));
        new.retain(|path, announcement| stays.get(path) != Some(announcement));
        *known = stays.clone();
        known.extend(new.clone());
        let (changed, come): (Announced, Announced) = new
            .into_iter()
            .partition(|(path, _)| stays.contains_key(path));
        [
            (Action::Remove, gone),
            (Action::Change, changed),
            (Action::Add, come),
        ]
        .map(|(action, ports)| (action, ports.into_values().collect()))
    }

    fn there(self, view: &View) -> Announced {
        let world = self.world.borrow();
        // What is not wanted any more as it was when this work began is for the work that follows.
        let is_there = |want: &&WantedPort| {
            view.actual.has(&want.node, want.devnum)
                && !self.shut.contains(&want.devnum)
                && world.assigned.wants(self.id).contains(want)
        };
        let there = self.wants.iter().filter(is_there).filter_map(|want| {
            let device = world.inventory.devices.get(&want.device)?;
            let announcement = Announcement::new(device, &want.node, &want.links);
            Some((want.node.clone(), announcement))
        });
        there.collect()
    }

    /// Nobody depends on it: what cannot be told is for the log alone.
    async fn tell(self, action: Action, announcements: Vec<Announcement>) {
        if announcements.is_empty() || !self.world.borrow().settings.announce {
            return;
        }
        let (pid, id) = (self.pid, self.id.clone());
        let work = move || announce(pid, &id, action, &announcements);
        if let Ok(Err(error)) = in_its_root(self.world, self.id, work).await {
            tracing::warn!(
                message_id = kind::NOT_ANNOUNCED,
                container_id = %self.id.0,
                "{error:#}"
            );
        }
    }
}
