//! What we made in which container, and what we granted it.
//!
//! It is written before every change of a container, once for all containers that are about to be
//! changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::DevNum;
use crate::model::device_access::{Grant, Grants, Origin};
use crate::model::inventory::{Container, ContainerId};
use crate::plan::{Record, merged};
use crate::store::document::{self, Document};

const FILE: &str = "owned.json";

/// The records of all containers.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
    owned: Owned,
    /// Containers whose record is not written yet.
    unwritten: BTreeSet<ContainerId>,
    /// The file could not be read. Access beyond a container's definition may be a grant of ours
    /// then.
    lost: bool,
}

/// The file. A container has a new /dev at every start, so a record holds for one start only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owned {
    containers: BTreeMap<ContainerId, OfStart>,
    /// What the wrapper was told to make in containers that were being created, until it is on the
    /// record of the start that followed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    created: BTreeMap<ContainerId, Created>,
    /// Of the ports with `on-plug`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    plugs: BTreeMap<ContainerId, BTreeMap<String, LastPlug>>,
}

/// The last plug with which a container has had a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPlug {
    /// The start in which it has had it.
    pub started_at: String,
    /// [`Device::plugged`](crate::model::device::Device::plugged).
    pub plugged: u64,
    /// When the container was last restarted or signalled for this port, in whichever start, by
    /// [`monotonic`](crate::sys::clock::monotonic).
    #[serde(default)]
    pub acted: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfStart {
    started_at: String,
    entries: Record,
    #[serde(rename = "given", default)]
    grants: Grants,
}

/// What a container is created with. It may have less: the wrapper leaves out what would keep the
/// container from starting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub entries: Record,
    pub granted: BTreeSet<DevNum>,
}

impl Created {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.granted.is_empty()
    }
}

impl Records {
    pub(super) fn read(directory: &Path) -> Self {
        let owned = document::read(&directory.join(FILE));
        Self {
            directory: directory.to_owned(),
            lost: matches!(owned, Document::Unusable),
            owned: owned.content(),
            unwritten: BTreeSet::new(),
        }
    }

    /// Takes over the record of an earlier version, which is in the state directory.
    pub(super) fn take_over(&mut self, state_dir: &Path) {
        let earlier = state_dir.join(FILE);
        if self.owned == Owned::default() {
            let document = document::read(&earlier);
            self.lost |= matches!(document, Document::Unusable);
            self.owned = document.content();
        }
        if self.owned == Owned::default() || self.write_all().is_ok() {
            let _ = std::fs::remove_file(&earlier);
        }
    }

    /// What we made in a container in its start at `started_at`.
    pub fn entries(&self, id: &ContainerId, started_at: &str) -> Record {
        let of_start = self.of_start(id, started_at);
        of_start.map(|of| of.entries.clone()).unwrap_or_default()
    }

    /// What a container was granted for its start at `started_at`, revoked since or not.
    pub fn grants(&self, id: &ContainerId, started_at: &str) -> Grants {
        let created = self.owned.created.get(id).into_iter();
        let by_wrapper = created.flat_map(|created| &created.granted);
        let of_start = self.of_start(id, started_at).into_iter();
        by_wrapper
            .map(|devnum| (*devnum, Grant::by(Origin::Wrapper)))
            .chain(of_start.flat_map(|of| of.grants.clone()))
            .collect()
    }

    fn of_start(&self, id: &ContainerId, started_at: &str) -> Option<&OfStart> {
        let of_start = self.owned.containers.get(id)?;
        (of_start.started_at == started_at).then_some(of_start)
    }

    /// The last plug of a port of a container.
    pub fn last_plug(&self, id: &ContainerId, port: &str) -> Option<&LastPlug> {
        self.owned.plugs.get(id)?.get(port)
    }

    /// Puts the last plug of a port on record; see [`Self::write`].
    pub fn put_last_plug(&mut self, id: &ContainerId, port: &str, plug: LastPlug) {
        let of_container = self.owned.plugs.entry(id.clone()).or_default();
        of_container.insert(port.to_owned(), plug);
        self.unwritten.insert(id.clone());
    }

    /// Whether we made something in the container, or granted it something.
    pub fn has(&self, id: &ContainerId) -> bool {
        self.owned.containers.contains_key(id) || self.owned.created.contains_key(id)
    }

    /// How many nodes and links we made in all containers.
    pub fn count(&self) -> usize {
        let containers = self.owned.containers.values();
        containers.map(|of| of.entries.len()).sum()
    }

    /// Whether the record of an earlier daemon could not be read.
    pub fn are_lost(&self) -> bool {
        self.lost
    }

    /// Puts on record what is made in a container; see [`Self::write`].
    pub fn put_entries(&mut self, id: &ContainerId, started_at: &str, entries: Record) {
        let of_start = self.of_start(id, started_at);
        let grants = of_start.map(|of| of.grants.clone()).unwrap_or_default();
        self.put(id, started_at, entries, grants);
    }

    /// Puts on record what a container is granted; see [`Self::write`].
    pub fn put_grants(&mut self, id: &ContainerId, started_at: &str, grants: Grants) {
        let entries = self.entries(id, started_at);
        self.put(id, started_at, entries, grants);
    }

    fn put(&mut self, id: &ContainerId, started_at: &str, entries: Record, grants: Grants) {
        let new = OfStart {
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

    /// Puts on record what the wrapper will make in a container that is being created; see
    /// [`Self::write`].
    pub fn put_created(&mut self, id: &ContainerId, created: Created) {
        let new = Some(created).filter(|new| !new.is_empty());
        if self.owned.created.get(id) != new.as_ref() {
            self.unwritten.insert(id.clone());
        }
        match new {
            Some(new) => self.owned.created.insert(id.clone(), new),
            None => self.owned.created.remove(id),
        };
    }

    /// Moves what the wrapper made to the record of the start that followed; see [`Self::write`].
    pub fn begin(&mut self, id: &ContainerId, started_at: &str, grant: impl Fn(&DevNum) -> Grant) {
        let Some(created) = self.owned.created.remove(id) else {
            return;
        };
        let before = self.of_start(id, started_at).cloned();
        let (mut entries, mut grants) =
            before.map_or_else(Default::default, |of| (of.entries, of.grants));
        entries = merged(entries, created.entries);
        grants.extend(
            created
                .granted
                .iter()
                .map(|devnum| (*devnum, grant(devnum))),
        );
        self.unwritten.insert(id.clone());
        self.put(id, started_at, entries, grants);
    }

    /// Writes the record of a container if it is not written yet, and those of all others with it.
    ///
    /// # Errors
    /// The file cannot be written. The container must not be changed then.
    pub fn write(&mut self, id: &ContainerId) -> anyhow::Result<()> {
        match self.unwritten.contains(id) {
            true => self.write_all(),
            false => Ok(()),
        }
    }

    fn write_all(&mut self) -> anyhow::Result<()> {
        document::write(&self.directory.join(FILE), &self.owned)?;
        self.unwritten.clear();
        Ok(())
    }

    /// Forgets the record of a container that does not run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(&mut self, id: &ContainerId) -> anyhow::Result<()> {
        self.put_entries(id, "", Record::new());
        self.write(id)
    }

    /// Forgets the records of containers that are gone. That of a stopped one is kept: it may have
    /// been started again before its end was heard of, and a record is for one start alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn retain(&mut self, there: &BTreeMap<ContainerId, Container>) -> anyhow::Result<()> {
        let is_gone = |id: &&ContainerId| !there.contains_key(id);
        let owned = &mut self.owned;
        let gone = owned.containers.keys().chain(owned.created.keys());
        let gone = gone.chain(owned.plugs.keys());
        self.unwritten.extend(gone.filter(is_gone).cloned());
        owned.containers.retain(|id, _| there.contains_key(id));
        owned.created.retain(|id, _| there.contains_key(id));
        owned.plugs.retain(|id, _| there.contains_key(id));
        match self.unwritten.iter().any(|id| is_gone(&id)) {
            true => self.write_all(),
            false => Ok(()),
        }
    }
}
