//! The second gate, the device cgroup: gives a container the exact rights for its ports before
//! their nodes appear, and takes them back after they have gone.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::config::settings::GrantPolicy;
use crate::container::device_cgroup::DeviceGroup;
use crate::daemon::reconcile::apply::in_its_group;
use crate::daemon::state::{World, on_record};
use crate::engine::container::Running;
use crate::model::DevNum;
use crate::model::device_access::{
    AccessChange, AccessChanges, DeviceRules, Grant, Grants, Origin, access_changes,
};
use crate::model::inventory::ContainerId;
use crate::model::problem::Failure;
use crate::model::problem::Problem;
use crate::plan::assign::WantedPort;
use crate::sys::logging::kind;

/// The gate of one container in one of its starts.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    pub world: &'a RefCell<World>,
    pub id: &'a ContainerId,
    pub name: &'a str,
    pub running: &'a Running,
    pub wants: &'a [WantedPort],
}

impl Gate<'_> {
    /// Gives what is wanted.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn open(self) -> Result<(), Problem> {
        if self.running.rights.everything {
            return Ok(());
        }
        let mut granted = self.record_wrapper_grants()?;
        if self.world.borrow().settings.grant == GrantPolicy::Off {
            return Ok(());
        }
        let mut new = self.wanted();
        new.retain(|devnum| !granted.contains_key(devnum));
        if !new.is_empty() {
            granted.extend(self.without_us(new).await?);
            self.remember(granted.clone());
        }
        // First: what was given is known to be ours, whenever we are killed.
        on_record(self.world, self.id).await?;
        // Before the change, which then has the last word.
        self.tell_systemd(granted).await?;
        let changes = self.changes(|change| change == AccessChange::Grant);
        self.change(changes).await
    }

    /// Takes back what nobody wants any more, and again what somebody else has put in force since.
    ///
    /// # Errors
    /// What is in the way.
    pub async fn close(self) -> Result<(), Problem> {
        if self.running.rights.everything {
            return Ok(());
        }
        let changes = self.changes(|change| change != AccessChange::Grant);
        self.change(changes).await
    }

    /// What this start of the container was created with is on its own record from now on. While its
    /// first process lives no other start has been created.
    fn record_wrapper_grants(self) -> Result<Grants, Problem> {
        let store = &mut self.world.borrow_mut().store;
        let started_at = &self.running.started_at;
        if store.has_wrapper_grants(self.id) && DeviceGroup::of(self.running.pid, self.id).is_ok() {
            let grant = |devnum: &DevNum| Grant {
                defined: self.running.rights.access_at_start(*devnum),
                origin: Origin::Wrapper,
                // The engine has told it when it made the group.
                known_to_systemd: true,
            };
            let recorded = store.record_wrapper_grants(self.id, started_at, grant);
            recorded.map_err(|error| Problem::disk(&error))?;
        }
        Ok(store.grants(self.id, started_at))
    }

    /// What the container may do with devices before it is given anything: what is in force, where
    /// that can be read, and else what its definition says.
    async fn without_us(self, numbers: BTreeSet<DevNum>) -> Result<Grants, Problem> {
        let (pid, id) = (self.running.pid, self.id.clone());
        let look = move || -> anyhow::Result<_> {
            let group = DeviceGroup::of(pid, &id)?;
            Ok((group.in_force()?, group.unit().is_none()))
        };
        let looked = in_its_group(self.world, self.id, look).await?;
        let (in_force, known_to_systemd) =
            looked.map_err(|error| in_the_way(&error, numbers.first()))?;
        let rights = in_force.as_ref().unwrap_or(&self.running.rights);
        let grant = |devnum| Grant {
            defined: rights.access(devnum),
            origin: Origin::Daemon,
            known_to_systemd,
        };
        Ok(numbers.into_iter().map(|n| (n, grant(n))).collect())
    }

    /// Has the service manager know what is about to be given. Where it cannot be told now, it is
    /// told the next time.
    async fn tell_systemd(self, mut granted: Grants) -> Result<(), Problem> {
        let wanted = self.wanted();
        let unknown = granted.iter().filter(|(devnum, grant)| {
            wanted.contains(devnum) && !grant.known_to_systemd && !grant.added().is_none()
        });
        let unknown: Vec<DevNum> = unknown.map(|(devnum, _)| *devnum).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let (pid, id) = (self.running.pid, self.id.clone());
        let numbers = unknown.clone();
        let work = move || DeviceGroup::of(pid, &id)?.tell_systemd(numbers.into_iter());
        let told = in_its_group(self.world, self.id, work).await;
        let error = match told {
            Ok(Ok(())) => {
                for devnum in unknown {
                    let grant = granted.entry(devnum);
                    grant.and_modify(|grant| grant.known_to_systemd = true);
                }
                self.remember(granted);
                return on_record(self.world, self.id).await;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(problem) => problem.cause,
        };
        tracing::warn!(
            message_id = kind::RIGHT_NOT_KEPT,
            container_name = self.name, container_id = %self.id.0, error,
            "a right that is given ends when systemd reads its units again"
        );
        Ok(())
    }

    /// What the container may open, by its definition and by us.
    pub fn rights(self) -> DeviceRules {
        let mut rights = self.running.rights.clone();
        if self.world.borrow().settings.grant == GrantPolicy::Auto {
            rights.add(&self.granted());
        }
        rights
    }

    fn granted(self) -> Grants {
        let world = self.world.borrow();
        world.store.grants(self.id, &self.running.started_at)
    }

    fn wanted(self) -> BTreeSet<DevNum> {
        self.wants.iter().map(|want| want.devnum).collect()
    }

    fn changes(self, of_kind: impl Fn(AccessChange) -> bool) -> AccessChanges {
        let mut changes = access_changes(&self.wanted(), &self.granted());
        changes.retain(|_, change| of_kind(*change));
        changes
    }

    fn remember(self, granted: Grants) {
        let store = &mut self.world.borrow_mut().store;
        store.put_grants(self.id, &self.running.started_at, granted);
    }

    async fn change(self, changes: AccessChanges) -> Result<(), Problem> {
        if changes.is_empty() {
            return Ok(());
        }
        let first = changes.keys().next().copied();
        let (pid, id) = (self.running.pid, self.id.clone());
        let work = move || match DeviceGroup::of(pid, &id) {
            Ok(group) => group.change(&changes),
            Err(error) => (AccessChanges::new(), Err(error)),
        };
        let (made, done) = in_its_group(self.world, self.id, work).await?;
        for (devnum, change) in made {
            self.log(devnum, change);
        }
        done.map_err(|error| in_the_way(&error, first.as_ref()))
    }

    fn log(self, devnum: DevNum, change: AccessChange) {
        let want = self.wants.iter().find(|want| want.devnum == devnum);
        let (port, device) = want.map_or(("", ""), |want| (&*want.port, &*want.device));
        match change {
            AccessChange::Grant => tracing::info!(
                message_id = kind::GRANTED, action = "grant", port, serial_device = device,
                device_number = %devnum, container_name = self.name, container_id = %self.id.0,
                "right to open it given"
            ),
            AccessChange::Revoke(_) => tracing::info!(
                message_id = kind::REVOKED, action = "revoke", device_number = %devnum,
                container_name = self.name, container_id = %self.id.0,
                "right to open it taken back"
            ),
        }
    }
}

fn in_the_way(error: &anyhow::Error, first: Option<&DevNum>) -> Problem {
    let line = first.map(|devnum| DeviceRules::compose_line(*devnum));
    let line = line.unwrap_or_default();
    let fix = format!("it is tried again; until then its definition may give it the right: {line}");
    Problem::passing(Failure::Right, format!("{error:#}"), fix)
}
