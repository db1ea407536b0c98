//! What outlives the daemon, in /var/lib/ttyplugd: what we made in which container, who the
//! containers are and what they are assigned, and which device each port has been given.
//!
//! Files are small JSON documents, replaced whole by rename(2). The record of what we made is
//! written before every change of a container, once for all that are about to be changed at the same
//! time: every time has the disk write (ext4(5), auto_da_alloc). Nothing is synced, which would cost
//! a plug tens of milliseconds on an SD card: when the power fails, the containers' /dev is gone as
//! well, the containers are written again from what the engine says, and only which of several
//! devices a port had is forgotten.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `sys`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::config::settings::LabelPolicy;
use crate::hold::{ContainerPort, ContainerPorts};
use crate::model::device_access::{Grant, Grants, Origin};
use crate::model::inventory::{Container, ContainerId, ContainerState, Inventory};
use crate::model::{DevNum, Hold, NodePath};
use crate::plan::Record;
use crate::plan::assign::{Assignments, LastDevices};

mod document;

use document::{read, write};

const OWNED: &str = "owned.json";
const CONTAINERS: &str = "containers.json";
const PORTS: &str = "ports.json";

/// What we made, per container. A container has a new /dev at every start, so a record holds
/// for one start only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Owned {
    containers: BTreeMap<ContainerId, OwnedContainer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OwnedContainer {
    started_at: String,
    entries: Record,
    #[serde(rename = "given", default)]
    grants: Grants,
}

/// Who the containers are and what they are assigned, for readers that must not ask the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Containers {
    containers: BTreeMap<ContainerId, KnownContainer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownContainer {
    name: String,
    /// The labels that count.
    labels: BTreeMap<String, String>,
    /// Devices that the wrapper granted when the container was last created, until they are on the
    /// record of the start that follows.
    #[serde(rename = "granted", default)]
    wrapper_grants: BTreeSet<DevNum>,
    assignments: Vec<KnownPort>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownPort {
    port: String,
    /// Absent while the port's device is unplugged and no `node` is configured.
    node: Option<NodePath>,
    links: Vec<NodePath>,
    hold: Hold,
}

/// Which of several devices each port was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    ports: LastDevices,
}

/// The state directory and what is in it. One process at a time writes it.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    owned: Owned,
    /// Containers of which the file does not say yet what is owned in them.
    unwritten: BTreeSet<ContainerId>,
    containers: Containers,
    chosen: Chosen,
}

impl Store {
    /// Makes the directory where it is missing and reads what is in it.
    ///
    /// # Errors
    /// A directory that cannot be made. A document that cannot be read is logged and replaced.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| {
                format!(
                    "the state directory {} cannot be made; run as root, or choose another with \
                     --state-dir",
                    directory.display()
                )
            })?;
        Ok(Self::read(directory))
    }

    /// Reads the state without making anything; an absent directory is an empty state.
    pub fn read(directory: &Path) -> Self {
        Self {
            owned: read(directory, OWNED),
            unwritten: BTreeSet::new(),
            containers: read(directory, CONTAINERS),
            chosen: read(directory, PORTS),
            directory: directory.to_owned(),
        }
    }

    /// What we made in a container since it was started at `started_at`.
    pub fn record(&self, id: &ContainerId, started_at: &str) -> Record {
        match self.owned.containers.get(id) {
            Some(owned) if owned.started_at == started_at => owned.entries.clone(),
            _ => Record::new(),
        }
    }

    /// Whether there is something in the container that we made or gave it.
    pub fn has_record(&self, id: &ContainerId) -> bool {
        self.owned.containers.contains_key(id) || self.has_wrapper_grants(id)
    }

    /// How many nodes and links there are that we made.
    pub fn entries(&self) -> usize {
        self.owned
            .containers
            .values()
            .map(|owned| owned.entries.len())
            .sum()
    }

    /// Puts on record what is made in a container. It counts once it is written.
    pub fn put_record(&mut self, id: &ContainerId, started_at: &str, entries: Record) {
        let grants = self.recorded_grants(id, started_at);
        self.put_owned(id, started_at, entries, grants);
    }

    /// Puts on record what a container is granted. It counts once it is written.
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

    /// Writes what has been put on record of a container, if it is not written yet, and of all others
    /// with it.
    ///
    /// # Errors
    /// A file that cannot be written; the container must not be touched then.
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

    /// Forgets what was made in containers that are gone. What was made in one that has stopped goes
    /// by its start: it may have been started again before anybody has heard that it had ended.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep_records_of(
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

    /// Forgets what was made in one container.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn forget(&mut self, id: &ContainerId) -> anyhow::Result<()> {
        self.put_record(id, "", Record::new());
        self.write_record(id)
    }

    /// The labels of a container that counted when they were last known.
    pub fn labels(&self, id: &ContainerId) -> Option<&BTreeMap<String, String>> {
        let known = self.containers.containers.get(id);
        known.map(|known| &known.labels)
    }

    /// A container that is about to start, as it was when it was last known.
    pub fn container(&self, id: &ContainerId) -> Option<Container> {
        let known = self.containers.containers.get(id)?;
        Some(Container {
            name: known.name.clone(),
            state: ContainerState::Stopped,
            labels: known.labels.clone(),
            // Those that did not count are not known.
            image_labels: Some(BTreeMap::new()),
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
    /// A file that cannot be written, or a container that is not known.
    pub fn remember_wrapper_grants(
        &mut self,
        id: &ContainerId,
        numbers: BTreeSet<DevNum>,
    ) -> anyhow::Result<()> {
        let mut containers = self.containers.clone();
        match containers.containers.get_mut(id) {
            Some(known) => known.wrapper_grants = numbers,
            None if numbers.is_empty() => {}
            None => anyhow::bail!("container {id} is not in {CONTAINERS}"),
        }
        self.replace_containers(containers)
    }

    /// Moves the wrapper's grants to the record of the start that followed them.
    ///
    /// # Errors
    /// A file that cannot be written.
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

    /// The names that a container's ports are opened by, and whether it asked for every port, as
    /// far as that was known when it was last assigned any.
    pub fn ports(&self, id: &ContainerId) -> Option<ContainerPorts> {
        let known = self.containers.containers.get(id)?;
        let ports = known.assignments.iter().map(|assigned| ContainerPort {
            port: assigned.port.clone(),
            names: assigned
                .node
                .iter()
                .chain(&assigned.links)
                .map(ToString::to_string)
                .collect(),
            ready: false,
            hold: assigned.hold,
        });
        Some(ContainerPorts {
            ports: ports.collect(),
            every: known
                .labels
                .get("ttyplugd.enable")
                .is_some_and(|v| v == "true"),
        })
    }

    pub fn last_devices(&self) -> &LastDevices {
        &self.chosen.ports
    }

    /// Writes who the containers are and what they are assigned, where that has changed.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_assignments(
        &mut self,
        policy: LabelPolicy,
        inventory: &Inventory,
        assigned: &Assignments,
    ) -> anyhow::Result<()> {
        let chosen = Chosen {
            ports: assigned.last_devices.clone(),
        };
        if chosen != self.chosen {
            write(&self.directory, PORTS, &chosen)?;
            self.chosen = chosen;
        }
        let known = inventory.containers.iter().map(|(id, container)| {
            let assignment = assigned
                .by_container
                .get(id)
                .and_then(|assignment| assignment.as_ref().ok());
            let present = assignment
                .into_iter()
                .flat_map(|assignment| &assignment.wants);
            let absent = assignment
                .into_iter()
                .flat_map(|assignment| &assignment.absent);
            let known = KnownContainer {
                name: container.name.clone(),
                labels: container.counting_labels(policy),
                wrapper_grants: self.wrapper_grants(id),
                assignments: present
                    .map(|want| KnownPort {
                        port: want.port.clone(),
                        node: Some(want.node.clone()),
                        links: want.links.clone(),
                        hold: want.hold,
                    })
                    .chain(absent.map(|absent| KnownPort {
                        port: absent.port.clone(),
                        node: absent.node.clone(),
                        links: absent.links.clone(),
                        hold: absent.hold,
                    }))
                    .collect(),
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
