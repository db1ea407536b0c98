//! What we made in which container, and what we granted it.
//!
//! It is written before every change of a container, once for all containers that are about to be
//! changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::DevNum;
use crate::model::device_access::{Grant, Grants, Origin};
use crate::model::inventory::ContainerId;
use crate::model::start::StartId;
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
    #[serde(flatten)]
    pub start: StartId,
    /// [`Device::plugged`](crate::model::device::Device::plugged).
    pub plugged: u64,
    /// When the container was last restarted or signalled for this port, in whichever start, by
    /// [`monotonic`](crate::sys::clock::monotonic).
    #[serde(default)]
    pub acted: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfStart {
    #[serde(flatten)]
    start: StartId,
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

    /// What we made in a container in this start.
    pub fn entries(&self, id: &ContainerId, start: &StartId) -> Record {
        let of_start = self.of_start(id, start);
        of_start.map(|of| of.entries.clone()).unwrap_or_default()
    }

    /// What we made in every container, in whichever start.
    pub fn all_entries(&self) -> BTreeMap<ContainerId, Record> {
        let containers = self.owned.containers.iter();
        containers
            .map(|(id, of)| (id.clone(), of.entries.clone()))
            .collect()
    }

    /// What a container was granted for this start, revoked since or not.
    pub fn grants(&self, id: &ContainerId, start: &StartId) -> Grants {
        let created = self.owned.created.get(id).into_iter();
        let by_wrapper = created.flat_map(|created| &created.granted);
        let of_start = self.of_start(id, start).into_iter();
        by_wrapper
            .map(|devnum| (*devnum, Grant::by(Origin::Wrapper)))
            .chain(of_start.flat_map(|of| of.grants.clone()))
            .collect()
    }

    fn of_start(&self, id: &ContainerId, start: &StartId) -> Option<&OfStart> {
        let of_start = self.owned.containers.get(id)?;
        of_start.start.is(start).then_some(of_start)
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
    pub fn put_entries(&mut self, id: &ContainerId, start: &StartId, entries: Record) {
        let of_start = self.of_start(id, start);
        let grants = of_start.map(|of| of.grants.clone()).unwrap_or_default();
        self.put(id, start, entries, grants);
    }

    /// Puts on record what a container is granted; see [`Self::write`].
    pub fn put_grants(&mut self, id: &ContainerId, start: &StartId, grants: Grants) {
        let entries = self.entries(id, start);
        self.put(id, start, entries, grants);
    }

    fn put(&mut self, id: &ContainerId, start: &StartId, entries: Record, grants: Grants) {
        let new = OfStart {
            start: start.clone(),
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

    /// Takes over what is on record of a container under the name of another engine: its wrapper had named
    /// that, or the configuration names the engine in another way. See [`Self::write`].
    pub fn find(&mut self, id: &ContainerId) {
        let owned = &mut self.owned;
        let keys = owned.containers.keys().chain(owned.created.keys());
        let keys = keys.chain(owned.plugs.keys());
        let others = keys.filter(|other| *other != id && other.may_be(id));
        for other in others.cloned().collect::<BTreeSet<_>>() {
            rename(&mut owned.containers, &other, id);
            rename(&mut owned.created, &other, id);
            rename(&mut owned.plugs, &other, id);
            self.unwritten.extend([other, id.clone()]);
        }
    }

    /// Moves what the wrapper made to the record of the start that followed; see [`Self::write`].
    pub fn begin(&mut self, id: &ContainerId, start: &StartId, grant: impl Fn(&DevNum) -> Grant) {
        let Some(created) = self.owned.created.remove(id) else {
            return;
        };
        let before = self.of_start(id, start).cloned();
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
        self.put(id, start, entries, grants);
    }

    pub fn is_written(&self, id: &ContainerId) -> bool {
        !self.unwritten.contains(id)
    }

    /// Writes the record of a container if it is not written yet, and those of all others with it.
    ///
    /// # Errors
    /// The file cannot be written. The container must not be changed then.
    pub fn write(&mut self, id: &ContainerId) -> anyhow::Result<()> {
        match self.is_written(id) {
            true => Ok(()),
            false => self.write_all(),
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
        self.put_entries(id, &StartId::default(), Record::new());
        self.write(id)
    }

    /// Forgets the records of containers that are gone. That of a stopped one is kept: it may have
    /// been started again before its end was heard of, and a record is for one start alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn retain(&mut self, is_gone: impl Fn(&ContainerId) -> bool) -> anyhow::Result<()> {
        let owned = &mut self.owned;
        let gone = owned.containers.keys().chain(owned.created.keys());
        let gone = gone.chain(owned.plugs.keys());
        let gone = gone.filter(|id| is_gone(id)).cloned();
        self.unwritten.extend(gone);
        owned.containers.retain(|id, _| !is_gone(id));
        owned.created.retain(|id, _| !is_gone(id));
        owned.plugs.retain(|id, _| !is_gone(id));
        match self.unwritten.iter().any(is_gone) {
            true => self.write_all(),
            false => Ok(()),
        }
    }
}

/// Gives the entry of a container to another one that has none.
fn rename<T>(entries: &mut BTreeMap<ContainerId, T>, from: &ContainerId, to: &ContainerId) {
    if let Some(entry) = entries.remove(from) {
        entries.entry(to.clone()).or_insert(entry);
    }
}
