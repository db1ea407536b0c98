//! What outlives the daemon, in /var/lib/ttyplugd: what we made in which container, who the
//! containers are and what they are assigned, and the device that each port had last.
//!
//! The record of what we made is written before every change of a container, once for all
//! containers that are about to be changed: each write costs time on the disk (ext4(5),
//! auto_da_alloc). Nothing is synced, which would cost a plug tens of milliseconds on an SD card.
//! When the power fails, the /dev of every container is gone as well, and who the containers are is
//! written again from what the engine says. Only the ports' devices are forgotten.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `sys`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::hold::{ContainerPort, ContainerPorts};
use crate::model::DevNum;
use crate::model::device_access::{Grant, Grants, Origin};
use crate::model::inventory::{Container, ContainerId, ContainerState, Inventory};
use crate::plan::Record;
use crate::plan::assign::{Assignments, LastDevices};

mod document;

use document::{
    CONTAINERS, Containers, KnownContainer, KnownPort, OWNED, Owned, OwnedContainer, PORTS, Ports,
    read, write,
};

/// The state directory and what is in it. One process at a time writes it.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    owned: Owned,
    /// Containers whose record is not written yet.
    unwritten: BTreeSet<ContainerId>,
    containers: Containers,
    ports: Ports,
}

impl Store {
    /// Reads the state, and makes the directory where it is missing.
    ///
    /// # Errors
    /// The directory cannot be made. A file that cannot be read is logged and replaced.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| {
                format!(
                    "cannot create the state directory {}: run as root, or choose another with \
                     --state-dir",
                    directory.display()
                )
            })?;
        Ok(Self::read(directory))
    }

    /// Reads the state and makes nothing. Without the directory the state is empty.
    pub fn read(directory: &Path) -> Self {
        Self {
            owned: read(directory, OWNED),
            unwritten: BTreeSet::new(),
            containers: read(directory, CONTAINERS),
            ports: read(directory, PORTS),
            directory: directory.to_owned(),
        }
    }

    /// What we made in a container in its start at `started_at`.
    pub fn record(&self, id: &ContainerId, started_at: &str) -> Record {
        match self.owned.containers.get(id) {
            Some(owned) if owned.started_at == started_at => owned.entries.clone(),
            _ => Record::new(),
        }
    }

    /// Whether we made something in the container, or granted it something.
    pub fn has_record(&self, id: &ContainerId) -> bool {
        self.owned.containers.contains_key(id) || self.has_wrapper_grants(id)
    }

    /// How many nodes and links we made in all containers.
    pub fn entries(&self) -> usize {
        self.owned
            .containers
            .values()
            .map(|owned| owned.entries.len())
            .sum()
    }

    /// Puts on record what is made in a container; see [`Self::write_record`].
    pub fn put_record(&mut self, id: &ContainerId, started_at: &str, entries: Record) {
        let grants = self.recorded_grants(id, started_at);
        self.put_owned(id, started_at, entries, grants);
    }

    /// Puts on record what a container is granted; see [`Self::write_record`].
    pub fn put_grants(&mut self, id: &ContainerId, started_at: &str, grants: Grants) {
        let entries = self.record(id, started_at);
        self.put_owned(id, started_at, entries, grants);
    }

    fn put_owned(&mut self, id: &ContainerId, started_at: &str, entries: Record, grants: Grants) {
        let new = OwnedContainer {
            started_at: started_at.to_owned(),
            entries,
            grants,
        };
        let new = Some(new).filter(|new| !new.entries.is_empty() || !new.grants.is_empty());
        let containers = &mut self.owned.containers;
        if containers.get(id) != new.as_ref() {
            self.unwritten.insert(id.clone());
        }
        match new {
            Some(new) => containers.insert(id.clone(), new),
            None => containers.remove(id),
        };
    }

    /// Writes the record of a container if it is not written yet, and those of all others with it.
    ///
    /// # Errors
    /// The file cannot be written. The container must not be changed then.
    pub fn write_record(&mut self, id: &ContainerId) -> anyhow::Result<()> {
        match self.unwritten.contains(id) {
            true => self.write_records(),
            false => Ok(()),
        }
    }

    fn write_records(&mut self) -> anyhow::Result<()> {
        write(&self.directory, OWNED, &self.owned)?;
        self.unwritten.clear();
        Ok(())
    }

    /// Forgets the records of containers that are gone. That of a stopped one is kept: it may have
    /// been started again before its end was heard of, and a record is for one start alone.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn retain_records_of(
        &mut self,
        there: &BTreeMap<ContainerId, Container>,
    ) -> anyhow::Result<()> {
        let is_gone = |id: &&ContainerId| !there.contains_key(id);
        let gone = self.owned.containers.keys().filter(is_gone);
        self.unwritten.extend(gone.cloned());
        self.owned.containers.retain(|id, _| there.contains_key(id));
        match self.unwritten.iter().any(|id| is_gone(&id)) {
            true => self.write_records(),
            false => Ok(()),
        }
    }

    /// Forgets the record of a container.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn forget(&mut self, id: &ContainerId) -> anyhow::Result<()> {
        self.put_record(id, "", Record::new());
        self.write_record(id)
    }

    /// A container's own labels, as it was last known.
    pub fn own_labels(&self, id: &ContainerId) -> Option<&BTreeMap<String, String>> {
        let known = self.containers.containers.get(id);
        known.map(|known| &known.labels)
    }

    /// A container that is about to start, as it was last known.
    pub fn container(&self, id: &ContainerId) -> Option<Container> {
        let known = self.containers.containers.get(id)?;
        let (own, image) = (known.labels.clone(), known.image_labels.clone());
        Some(Container {
            name: known.name.clone(),
            state: ContainerState::Stopped,
            labels: image.clone().into_iter().chain(own).collect(),
            image_labels: Some(image),
        })
    }

    /// What a container was granted for its start at `started_at`, revoked since or not.
    pub fn grants(&self, id: &ContainerId, started_at: &str) -> Grants {
        let by_wrapper = self.wrapper_grants(id).into_iter();
        by_wrapper
            .map(|devnum| (devnum, Grant::by(Origin::Wrapper)))
            .chain(self.recorded_grants(id, started_at))
            .collect()
    }

    fn recorded_grants(&self, id: &ContainerId, started_at: &str) -> Grants {
        match self.owned.containers.get(id) {
            Some(owned) if owned.started_at == started_at => owned.grants.clone(),
            _ => Grants::new(),
        }
    }

    /// Remembers which devices the wrapper grants to a container that is about to be created.
    ///
    /// # Errors
    /// The file cannot be written, or the container is not known.
    pub fn remember_wrapper_grants(
        &mut self,
        id: &ContainerId,
        numbers: BTreeSet<DevNum>,
    ) -> anyhow::Result<()> {
        let mut containers = self.containers.clone();
        match containers.containers.get_mut(id) {
            Some(known) => known.wrapper_grants = numbers,
            None if numbers.is_empty() => {}
            None => {
                anyhow::bail!("cannot remember what container {id} is granted: it is not known")
            }
        }
        self.replace_containers(containers)
    }

    /// Moves the wrapper's grants to the record of the start that followed them.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn record_wrapper_grants(
        &mut self,
        id: &ContainerId,
        started_at: &str,
        grant: impl Fn(&DevNum) -> Grant,
    ) -> anyhow::Result<()> {
        let by_wrapper = self.wrapper_grants(id);
        if by_wrapper.is_empty() {
            return Ok(());
        }
        let mut grants = self.recorded_grants(id, started_at);
        grants.extend(by_wrapper.iter().map(|devnum| (*devnum, grant(devnum))));
        self.put_grants(id, started_at, grants);
        self.write_record(id)?;
        self.remember_wrapper_grants(id, BTreeSet::new())
    }

    /// Whether the wrapper granted something that is not on the record of a start yet.
    pub fn has_wrapper_grants(&self, id: &ContainerId) -> bool {
        !self.wrapper_grants(id).is_empty()
    }

    fn wrapper_grants(&self, id: &ContainerId) -> BTreeSet<DevNum> {
        let known = self.containers.containers.get(id);
        known
            .map(|known| known.wrapper_grants.clone())
            .unwrap_or_default()
    }

    /// The ports of a container as it was last assigned any.
    pub fn ports(&self, id: &ContainerId) -> Option<ContainerPorts> {
        let known = self.containers.containers.get(id)?;
        let ports = known.assignments.iter().map(|known| {
            let paths = known.node.iter().chain(&known.links);
            ContainerPort::waiting(&known.port, paths, known.hold)
        });
        Some(ContainerPorts {
            ports: ports.collect(),
            every: known.has_every_port(),
        })
    }

    pub fn last_devices(&self) -> &LastDevices {
        &self.ports.ports
    }

    /// Writes who the containers are and what they are assigned, if that has changed.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn put_assignments(
        &mut self,
        inventory: &Inventory,
        assigned: &Assignments,
    ) -> anyhow::Result<()> {
        let ports = Ports {
            ports: assigned.last_devices.clone(),
        };
        if ports != self.ports {
            write(&self.directory, PORTS, &ports)?;
            self.ports = ports;
        }
        let known = inventory.containers.iter().map(|(id, container)| {
            let assignment = assigned.by_container.get(id);
            let assignment = assignment.and_then(|assignment| assignment.as_ref().ok());
            let labels = container.own_labels();
            let of_image = |(key, _): &(&String, _)| !labels.contains_key(*key);
            let of_image = container.labels.iter().filter(of_image);
            let known = KnownContainer {
                name: container.name.clone(),
                image_labels: of_image.map(|(k, v)| (k.clone(), v.clone())).collect(),
                labels,
                wrapper_grants: self.wrapper_grants(id),
                assignments: assignment.map(KnownPort::all).unwrap_or_default(),
                every_port: Some(assignment.is_some_and(|assignment| assignment.every)),
            };
            (id.clone(), known)
        });
        let containers = Containers {
            containers: known.collect(),
        };
        self.replace_containers(containers)
    }

    fn replace_containers(&mut self, containers: Containers) -> anyhow::Result<()> {
        if containers != self.containers {
            write(&self.directory, CONTAINERS, &containers)?;
            self.containers = containers;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
