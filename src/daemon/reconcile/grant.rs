//! Grants a container the device access that its ports need before their nodes appear, and revokes it
//! as soon as they are unplugged.
//!
//! Nothing here waits for anything in the container. One that hangs cannot keep access to a number
//! that another device has by now.

use std::collections::BTreeSet;

use crate::config::settings::GrantPolicy;
use crate::daemon::blocking::Part;
use crate::daemon::reconcile::handle::{Handle, Stop};
use crate::model::DevNum;
use crate::model::device_access::{
    AccessChange, AccessChanges, DeviceRules, Grant, Grants, Origin, access_changes,
};
use crate::model::problem::{Failure, Problem};
use crate::sys::logging::kind;

impl Handle<'_> {
    /// Grants access to all wanted devices, after everything that is not wanted any more was
    /// revoked.
    ///
    /// # Errors
    /// The start has ended, or a problem.
    pub async fn grant(&self) -> Result<(), Stop> {
        let revoked = self.revoke().await;
        let granted = match self.grant_policy() {
            GrantPolicy::Auto if !self.running.rights.everything => self.grant_wanted().await,
            GrantPolicy::Auto | GrantPolicy::Off => Ok(()),
        };
        revoked.and(granted)
    }

    /// Revokes all grants that are not wanted any more. The engine or systemd may have put an
    /// earlier one in force again.
    ///
    /// # Errors
    /// The start has ended, or a problem.
    pub async fn revoke(&self) -> Result<(), Stop> {
        if self.running.rights.everything {
            return Ok(());
        }
        self.change_access(|change| change != AccessChange::Grant)
            .await
    }

    async fn grant_wanted(&self) -> Result<(), Stop> {
        let mut grants = self.grants();
        let mut new = self.wanted();
        new.retain(|devnum| !grants.contains_key(devnum));
        if !new.is_empty() {
            grants.extend(self.new_grants(new).await?);
            self.put_grants(grants.clone())?;
        }
        // Written first: a daemon that is killed now finds its grants on record.
        self.write().await?;
        // systemd puts its own list in force then, so our change has to come after it.
        self.tell_systemd(grants).await?;
        self.change_access(|_| true).await
    }

    /// The devices of its ports that the container may not open where nothing is granted.
    ///
    /// # Errors
    /// A problem because of which that is not known.
    pub async fn refused(&self) -> Result<BTreeSet<DevNum>, Problem> {
        let mut numbers = self.wanted();
        if self.running.rights.everything || numbers.is_empty() {
            return Ok(BTreeSet::new());
        }
        let in_force = self.run(Part::Group, |entrance| entrance.group()?.in_force());
        let in_force = in_force.await?;
        let in_force = in_force.map_err(|error| not_granted(&error, numbers.first()))?;
        let rules = in_force.unwrap_or_else(|| self.running.rights.at_start());
        numbers.retain(|devnum| !rules.allow(*devnum));
        Ok(numbers)
    }

    /// New grants, each with the access that the container has without it: by the rules in force if
    /// they can be read, otherwise by its definition. A record that was lost may have had some of
    /// those rules.
    async fn new_grants(&self, numbers: BTreeSet<DevNum>) -> Result<Grants, Problem> {
        let looked = self.run(Part::Group, |entrance| -> anyhow::Result<_> {
            let group = entrance.group()?;
            Ok((group.in_force()?, group.unit().is_none()))
        });
        let looked = looked.await?;
        let (in_force, known_to_systemd) =
            looked.map_err(|error| not_granted(&error, numbers.first()))?;
        let in_force = in_force.filter(|_| !self.records_are_lost());
        let rules = in_force.as_ref().unwrap_or(&self.running.rights);
        let grant = |devnum| Grant {
            defined: rules.access(devnum),
            origin: Origin::Daemon,
            known_to_systemd,
        };
        Ok(numbers.into_iter().map(|n| (n, grant(n))).collect())
    }

    /// Tells systemd which devices are about to be granted. After a failure the next attempt tells it
    /// again.
    async fn tell_systemd(&self, mut grants: Grants) -> Result<(), Stop> {
        let wanted = self.wanted();
        let unknown = grants.iter().filter(|(devnum, grant)| {
            wanted.contains(devnum) && !grant.known_to_systemd && !grant.added().is_none()
        });
        let unknown: Vec<DevNum> = unknown.map(|(devnum, _)| *devnum).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let numbers = unknown.clone();
        let told = self.run(Part::Unit, move |entrance| {
            let group = entrance.group()?;
            group.tell_systemd(numbers.into_iter())
        });
        match told.await {
            Ok(Ok(())) => {
                for devnum in unknown {
                    let grant = grants.entry(devnum);
                    grant.and_modify(|grant| grant.known_to_systemd = true);
                }
                self.put_grants(grants)?;
                return self.write().await;
            }
            Ok(Err(error)) => self.warn_not_kept(&format!("{error:#}")),
            Err(problem) => self.warn_not_kept(&problem.cause),
        }
        Ok(())
    }

    fn warn_not_kept(&self, error: &str) {
        tracing::warn!(
            message_id = kind::RIGHT_NOT_KEPT,
            container_name = self.name(),
            container_id = self.id().id,
            engine = self.engine_name(),
            error,
            "device access will be lost at the next daemon-reload"
        );
    }

    /// Makes the changes of one kind, by what is wanted at this moment: the port of this work may
    /// have been unplugged since it began.
    async fn change_access(&self, of_kind: impl Fn(AccessChange) -> bool) -> Result<(), Stop> {
        let _turn = self.start.lock_access().await;
        let mut changes = access_changes(&self.wanted(), &self.grants());
        changes.retain(|_, change| of_kind(*change));
        if changes.is_empty() {
            return Ok(());
        }
        let first = changes.keys().next().copied();
        let work = self.run(Part::Group, move |entrance| match entrance.group() {
            Ok(group) => (group.change(&changes), group.pin()),
            Err(error) => ((AccessChanges::new(), Err(error)), Ok(())),
        });
        let ((made, done), pinned) = work.await?;
        if let Err(error) = pinned {
            self.warn_not_kept(&format!("{error:#}"));
        }
        for (devnum, change) in made {
            self.log_access(devnum, change);
        }
        done.map_err(|error| not_granted(&error, first.as_ref()).into())
    }

    fn log_access(&self, devnum: DevNum, change: AccessChange) {
        let want = self.wants.iter().find(|want| want.devnum == devnum);
        let (port, device) = want.map_or(("", ""), |want| (&*want.port, &*want.device));
        match change {
            AccessChange::Grant => tracing::info!(
                message_id = kind::GRANTED, action = "grant", port, serial_device = device,
                device_number = %devnum, container_name = self.name(),
                container_id = self.id().id, engine = self.engine_name(),
                "device access granted"
            ),
            AccessChange::Revoke(_) => tracing::info!(
                message_id = kind::REVOKED, action = "revoke", device_number = %devnum,
                container_name = self.name(),
                container_id = self.id().id, engine = self.engine_name(),
                "device access revoked"
            ),
        }
    }
}

fn not_granted(error: &anyhow::Error, first: Option<&DevNum>) -> Problem {
    let line = first.map(|devnum| DeviceRules::compose_line(*devnum));
    let line = line.unwrap_or_default();
    let fix = format!(
        "wait; ttyplugd tries again. Or grant access in the container's definition: {line}"
    );
    Problem::passing(Failure::Right, format!("{error:#}"), fix)
}
