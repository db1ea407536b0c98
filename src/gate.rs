//! The second gate, the device cgroup: gives a container the exact rights for its ports before
//! their nodes appear, and takes them back after they have gone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::assign::Want;
use crate::config::GrantPolicy;
use crate::device_group::DeviceGroup;
use crate::docker::Running;
use crate::inventory::ContainerId;
use crate::metrics::Failure;
use crate::model::DevNum;
use crate::report::Trouble;
use crate::rights::{Change, Rights, changes};
use crate::way::in_its_root;
use crate::world::World;

/// The gate of one container in one of its starts.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    pub world: &'a RefCell<World>,
    pub id: &'a ContainerId,
    pub running: &'a Running,
    pub wants: &'a [Want],
}

type Changes = BTreeMap<DevNum, Change>;

impl Gate<'_> {
    /// Gives what is wanted. Returns what is in the way.
    pub async fn open(self) -> Option<Trouble> {
        if self.world.borrow().settings.grant == GrantPolicy::Off {
            return None;
        }
        let changes = self.changes(|change| change == Change::Grant);
        let mut ours = self.granted().running;
        let is_new = |n: &DevNum| !ours.contains(n) && !self.running.rights.allow(*n);
        let new: BTreeSet<DevNum> = changes.keys().copied().filter(is_new).collect();
        if !new.is_empty() {
            // Written down first: what was given is known to be ours, whenever we are killed.
            ours.extend(&new);
            if let Err(trouble) = self.remember(ours) {
                return Some(trouble);
            }
            // Before the change, which then has the last word.
            self.keep(new).await;
        }
        self.change(changes).await
    }

    /// Takes back what nobody wants any more.
    pub async fn close(self) -> Option<Trouble> {
        let changes = self.changes(|change| change != Change::Grant);
        if changes.is_empty() {
            return None;
        }
        let mut left = self.granted();
        left.running.retain(|devnum| !changes.contains_key(devnum));
        left.created.retain(|devnum| !changes.contains_key(devnum));
        if let Some(trouble) = self.change(changes).await {
            return Some(trouble);
        }
        let kept = self.world.borrow_mut().store.grant(self.id, left.created);
        let kept = kept.map_err(|error| Trouble::disk(&error));
        kept.and_then(|()| self.remember(left.running)).err()
    }

    /// Has the service manager know what is about to be given.
    async fn keep(self, new: BTreeSet<DevNum>) {
        let (pid, id) = (self.running.pid, self.id.clone());
        let work = move || DeviceGroup::of(pid, &id)?.keep(new.into_iter());
        if let Ok(Err(error)) = in_its_root(self.world, self.id, work).await {
            tracing::warn!(
                container_id = %self.id.0, error = format!("{error:#}"),
                "a right that is given ends when systemd reads its units again"
            );
        }
    }

    /// What the container may open, by its definition and by us.
    pub fn rights(self) -> Rights {
        let mut rights = self.running.rights.clone();
        rights.add(self.granted());
        rights
    }

    fn granted(self) -> crate::rights::Granted {
        let world = self.world.borrow();
        world.store.granted(self.id, &self.running.started_at)
    }

    fn changes(self, of_kind: impl Fn(Change) -> bool) -> Changes {
        let wanted = self.wants.iter().map(|want| want.devnum).collect();
        let mut changes = changes(&wanted, &self.granted(), &self.running.rights);
        changes.retain(|_, change| of_kind(*change));
        changes
    }

    fn remember(self, ours: BTreeSet<DevNum>) -> Result<(), Trouble> {
        let store = &mut self.world.borrow_mut().store;
        let kept = store.put_rights(self.id, &self.running.started_at, ours);
        kept.map_err(|error| Trouble::disk(&error))
    }

    async fn change(self, changes: Changes) -> Option<Trouble> {
        if changes.is_empty() {
            return None;
        }
        let remedy = changes.keys().next().map(|n| Rights::missing_line(*n));
        let (pid, id) = (self.running.pid, self.id.clone());
        let work = move || DeviceGroup::of(pid, &id)?.change(&changes);
        let error = match in_its_root(self.world, self.id, work).await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error,
            Err(trouble) => return Some(trouble),
        };
        let remedy = remedy.unwrap_or_default();
        let remedy =
            format!("give it the right in its definition: {remedy}; or set grant = \"off\"");
        Some(Trouble::passing(
            Failure::Right,
            format!("{error:#}"),
            remedy,
        ))
    }
}
