//! The second gate, the device cgroup: gives a container the exact rights for its ports before
//! their nodes appear, and takes them back after they have gone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::assign::Want;
use crate::config::GrantPolicy;
use crate::device_group::DeviceGroup;
use crate::docker::Running;
use crate::inventory::ContainerId;
use crate::logging::kind;
use crate::metrics::Failure;
use crate::model::DevNum;
use crate::report::Trouble;
use crate::rights::{Change, Given, Granted, Rights, changes};
use crate::way::in_its_root;
use crate::world::World;

/// The gate of one container in one of its starts.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    pub world: &'a RefCell<World>,
    pub id: &'a ContainerId,
    pub name: &'a str,
    pub running: &'a Running,
    pub wants: &'a [Want],
}

type Changes = BTreeMap<DevNum, Change>;

impl Gate<'_> {
    /// Gives what is wanted.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(self) -> Result<(), Trouble> {
        if self.running.rights.everything {
            return Ok(());
        }
        let mut granted = self.adopt()?;
        if self.world.borrow().settings.grant == GrantPolicy::Off {
            return Ok(());
        }
        let mut new = self.wanted();
        new.retain(|devnum| !granted.contains_key(devnum));
        if !new.is_empty() {
            let new = self.without_us(new).await?;
            granted.extend(&new);
            // Written down first: what was given is known to be ours, whenever we are killed.
            self.remember(granted)?;
            // Before the change, which then has the last word.
            self.keep(new).await;
        }
        let changes = self.changes(|change| change == Change::Grant);
        self.change(changes).await
    }

    /// Takes back what nobody wants any more, and again what somebody else has put in force since.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn close(self) -> Result<(), Trouble> {
        if self.running.rights.everything {
            return Ok(());
        }
        let changes = self.changes(|change| change != Change::Grant);
        self.change(changes).await
    }

    /// What this start of the container was created with is on its own record from now on. While its
    /// first process lives no other start has been created.
    fn adopt(self) -> Result<Granted, Trouble> {
        let store = &mut self.world.borrow_mut().store;
        let started_at = &self.running.started_at;
        if DeviceGroup::of(self.running.pid, self.id).is_ok() {
            let given = |devnum: &DevNum| Given {
                defined: self.running.rights.of(*devnum),
                created: true,
            };
            let adopted = store.adopt(self.id, started_at, given);
            adopted.map_err(|error| Trouble::disk(&error))?;
        }
        Ok(store.granted(self.id, started_at))
    }

    /// What the container may do with devices before it is given anything: what is in force, where
    /// that can be read, and else what its definition says.
    async fn without_us(self, numbers: BTreeSet<DevNum>) -> Result<Granted, Trouble> {
        let (pid, id) = (self.running.pid, self.id.clone());
        let look = move || DeviceGroup::of(pid, &id)?.in_force();
        let looked = in_its_root(self.world, self.id, look).await?;
        let in_force = looked.map_err(|error| in_the_way(&error, numbers.first()))?;
        let rights = in_force.as_ref().unwrap_or(&self.running.rights);
        let given = |devnum| Given {
            defined: rights.of(devnum),
            created: false,
        };
        Ok(numbers.into_iter().map(|n| (n, given(n))).collect())
    }

    /// Has the service manager know what is about to be given.
    async fn keep(self, new: Granted) {
        let missing = new.into_iter().filter(|(_, given)| !given.ours().is_none());
        let missing: Vec<DevNum> = missing.map(|(devnum, _)| devnum).collect();
        let (pid, id) = (self.running.pid, self.id.clone());
        let work = move || DeviceGroup::of(pid, &id)?.keep(missing.into_iter());
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
        rights.add(&self.granted());
        rights
    }

    fn granted(self) -> Granted {
        let world = self.world.borrow();
        world.store.granted(self.id, &self.running.started_at)
    }

    fn wanted(self) -> BTreeSet<DevNum> {
        self.wants.iter().map(|want| want.devnum).collect()
    }

    fn changes(self, of_kind: impl Fn(Change) -> bool) -> Changes {
        let mut changes = changes(&self.wanted(), &self.granted());
        changes.retain(|_, change| of_kind(*change));
        changes
    }

    fn remember(self, granted: Granted) -> Result<(), Trouble> {
        let store = &mut self.world.borrow_mut().store;
        let kept = store.put_granted(self.id, &self.running.started_at, granted);
        kept.map_err(|error| Trouble::disk(&error))
    }

    async fn change(self, changes: Changes) -> Result<(), Trouble> {
        if changes.is_empty() {
            return Ok(());
        }
        let first = changes.keys().next().copied();
        let (pid, id) = (self.running.pid, self.id.clone());
        let work = move || DeviceGroup::of(pid, &id)?.change(&changes);
        let changed = in_its_root(self.world, self.id, work).await?;
        let changed = changed.map_err(|error| in_the_way(&error, first.as_ref()))?;
        for (devnum, change) in changed {
            self.log(devnum, change);
        }
        Ok(())
    }

    fn log(self, devnum: DevNum, change: Change) {
        let want = self.wants.iter().find(|want| want.devnum == devnum);
        let (port, device) = want.map_or(("", ""), |want| (&*want.port, &*want.device));
        match change {
            Change::Grant => tracing::info!(
                message_id = kind::GRANTED, action = "grant", port, serial_device = device,
                device_number = %devnum, container_name = self.name, container_id = %self.id.0,
                "right to open it given"
            ),
            Change::Revoke(_) => tracing::info!(
                message_id = kind::REVOKED, action = "revoke", device_number = %devnum,
                container_name = self.name, container_id = %self.id.0,
                "right to open it taken back"
            ),
        }
    }
}

fn in_the_way(error: &anyhow::Error, first: Option<&DevNum>) -> Trouble {
    let line = first.map(|devnum| Rights::missing_line(*devnum));
    let line = line.unwrap_or_default();
    let remedy =
        format!("it is tried again; until then its definition may give it the right: {line}");
    Trouble::passing(Failure::Right, format!("{error:#}"), remedy)
}
