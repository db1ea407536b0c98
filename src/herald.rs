//! Whom to tell of which port, and when: after its node has appeared, and before it goes.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::announce::announce;
use crate::assign::Want;
use crate::inventory::ContainerId;
use crate::model::NodePath;
use crate::observe::View;
use crate::plan::Op;
use crate::uevent::{Action, Announcement};
use crate::way::in_its_root;
use crate::world::World;

/// Tells the applications of one container.
#[derive(Debug, Clone, Copy)]
pub struct Herald<'a> {
    pub world: &'a RefCell<World>,
    pub id: &'a ContainerId,
    pub pid: i64,
    pub wants: &'a [Want],
}

type Announced = BTreeMap<NodePath, Announcement>;

impl Herald<'_> {
    /// What was there before this daemon looked is no news.
    pub fn knows(self, view: &View) {
        self.learn(view);
    }

    /// These operations take ports away, or put others in their place.
    pub async fn says_goodbye(self, ops: &[Op]) {
        let gone = {
            let world = &mut self.world.borrow_mut().announced;
            let known = world.entry(self.id.clone()).or_default();
            let paths = ops.iter().filter_map(|op| match op {
                Op::RemoveNode { path, .. } | Op::MakeNode { path, .. } => Some(path),
                _ => None,
            });
            paths.filter_map(|path| known.remove(path)).collect()
        };
        self.tell(Action::Remove, gone).await;
    }

    /// Ports that are there and were not before.
    pub async fn introduces(self, view: &View) {
        let new = self.learn(view);
        self.tell(Action::Add, new.into_values().collect()).await;
    }

    /// Takes note of what is there, and returns what is new of it. A node whose device has just gone
    /// stays what it was until it goes itself.
    fn learn(self, view: &View) -> Announced {
        let mut new = self.there(view);
        let world = &mut self.world.borrow_mut().announced;
        let known = world.entry(self.id.clone()).or_default();
        new.retain(|path, announcement| known.get(path) != Some(announcement));
        known.extend(new.clone());
        new
    }

    fn there(self, view: &View) -> Announced {
        let world = self.world.borrow();
        let is_there = |want: &&Want| view.actual.has(&want.node, want.devnum);
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
            tracing::warn!(container_id = %self.id.0, "{error:#}");
        }
    }
}
