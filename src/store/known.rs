//! Who the containers are and what they are assigned, and the device that each port had last: for
//! the wrappers of an engine that boots before the daemon, and for the daemon that follows.
//!
//! It is written when it can be. Nothing is synced, which would cost a plug tens of milliseconds on
//! an SD card: who the containers are is written again from what the engine says, and only the
//! ports' devices are forgotten when the power fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::hold::{ContainerPort, ContainerPorts};
use crate::model::inventory::{Container, ContainerId, ContainerState, Inventory};
use crate::model::written::boolean;
use crate::model::{Hold, Holds, NodePath};
use crate::plan::assign::{Assignment, Assignments};
use crate::plan::last_devices::LastDevices;
use crate::store::document;

const CONTAINERS: &str = "containers.json";
const PORTS: &str = "ports.json";

/// What is known for the next boot.
#[derive(Debug)]
pub struct Known {
    directory: PathBuf,
    containers: Containers,
    ports: LastDevices,
    /// The files that are not as they should be.
    unwritten: BTreeSet<&'static str>,
    /// Those that are being written.
    writing: BTreeSet<&'static str>,
}

/// Files as they should be, to be written on a thread that may wait for the disk.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    containers: Option<Containers>,
    ports: Option<LastDevices>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Containers {
    containers: BTreeMap<ContainerId, KnownContainer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownContainer {
    name: String,
    /// Its own labels, and those of its image. Which of them count is a matter of the
    /// configuration, which may be another one when this is read.
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    image_labels: BTreeMap<String, String>,
    assignments: Vec<KnownPort>,
    /// Whether it was assigned every USB serial port. Files of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_port: Option<bool>,
    /// The hold of those; `None` is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_hold: Option<Hold>,
    #[serde(default, skip_serializing_if = "Holds::is_wide")]
    holds: Holds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_process: Option<u16>,
}

impl KnownContainer {
    fn new(container: &Container, assignment: Option<&Assignment>) -> Self {
        let labels = container.own_labels();
        let of_image = |(key, _): &(&String, _)| !labels.contains_key(*key);
        let of_image = container.labels.iter().filter(of_image);
        Self {
            name: container.name.clone(),
            image_labels: of_image.map(|(k, v)| (k.clone(), v.clone())).collect(),
            labels,
            assignments: assignment.map(KnownPort::all).unwrap_or_default(),
            every_port: Some(assignment.is_some_and(|assignment| assignment.every)),
            every_hold: assignment.and_then(|assignment| assignment.every_hold),
            per_process: assignment.and_then(|assignment| assignment.per_process),
            holds: assignment
                .map(|assignment| assignment.holds)
                .unwrap_or_default(),
        }
    }

    fn has_every_port(&self) -> bool {
        let label = self.labels.get("ttyplugd.enable");
        let by_label = label.is_some_and(|value| boolean(value) == Some(true));
        self.every_port.unwrap_or(by_label)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownPort {
    port: String,
    /// Absent while the port's device is unplugged and its name not known.
    node: Option<NodePath>,
    /// Its other names.
    links: Vec<NodePath>,
    hold: Hold,
}

impl KnownPort {
    fn all(assignment: &Assignment) -> Vec<Self> {
        let present = assignment.wants.iter().map(|want| Self {
            port: want.port.clone(),
            node: Some(want.node.clone()),
            links: want.links.clone(),
            hold: want.hold,
        });
        let absent = assignment.absent.iter().map(|absent| Self {
            port: absent.port.clone(),
            node: absent.node.clone(),
            links: absent.names.clone(),
            hold: absent.hold,
        });
        present.chain(absent).collect()
    }
}

impl Known {
    /// Reads it. What is missing is empty.
    pub fn read(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            containers: document::read(&directory.join(CONTAINERS)).content(),
            ports: document::read(&directory.join(PORTS)).content(),
            unwritten: BTreeSet::new(),
            writing: BTreeSet::new(),
        }
    }

    /// A container's own labels, as it was last known.
    pub fn own_labels(&self, id: &ContainerId) -> Option<&BTreeMap<String, String>> {
        let known = self.containers.containers.get(id);
        known.map(|known| &known.labels)
    }

    /// The containers on record.
    pub fn ids(&self) -> impl Iterator<Item = &ContainerId> {
        self.containers.containers.keys()
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

    /// The ports of the container with this id, of whichever engine, as it was last assigned any.
    pub fn ports(&self, id: &str) -> Option<ContainerPorts> {
        let mut containers = self.containers.containers.iter();
        let (_, known) = containers.find(|(known, _)| known.id == id)?;
        let ports = known.assignments.iter().map(|known| {
            let paths = known.node.iter().chain(&known.links);
            ContainerPort::waiting(&known.port, paths, known.hold)
        });
        Some(ContainerPorts {
            ports: ports.collect(),
            every: known.has_every_port(),
            every_hold: known.every_hold,
            every_names: self.every_names(),
            holds: known.holds,
            per_process: known.per_process,
        })
    }

    /// The names of ports that were offered to every container that asks.
    pub fn every_names(&self) -> Vec<String> {
        self.ports.offered.iter().map(ToString::to_string).collect()
    }

    pub fn last_devices(&self) -> &LastDevices {
        &self.ports
    }

    /// Takes in who the containers are and what they are assigned, and forgets those that are gone; see
    /// [`Self::begin_write`].
    pub fn put(
        &mut self,
        inventory: &Inventory,
        assigned: &Assignments,
        is_gone: impl Fn(&ContainerId) -> bool,
        is_told: impl Fn(&ContainerId) -> bool,
    ) {
        // Nobody would say at the next boot that one is gone of which a wrapper has told.
        let listed = inventory.containers.iter().filter(|(id, _)| !is_told(id));
        let known = listed.map(|(id, container)| {
            let assignment = assigned.by_container.get(id);
            let assignment = assignment.and_then(|assignment| assignment.as_ref().ok());
            (id.clone(), KnownContainer::new(container, assignment))
        });
        let before = self.containers.containers.iter();
        let left = before.filter(|(id, _)| !is_gone(id));
        let left = left.map(|(id, known)| (id.clone(), known.clone()));
        let containers = Containers {
            containers: left.chain(known).collect(),
        };
        if set(&mut self.containers, containers) {
            self.unwritten.insert(CONTAINERS);
        }
        let mut ports = assigned.last_devices.clone();
        let is_left = |key: &String| {
            let of_label = key.rsplit_once('/');
            of_label.is_some_and(|(id, _)| !is_gone(&ContainerId::from(id.to_owned())))
        };
        let left = self.ports.ports.iter().filter(|(key, _)| is_left(key));
        for (key, last) in left {
            ports
                .ports
                .entry(key.clone())
                .or_insert_with(|| last.clone());
        }
        if set(&mut self.ports, ports) {
            self.unwritten.insert(PORTS);
        }
    }

    /// Whether a file has changed, or could not be written before.
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// The files that have changed, or could not be written before; `None` if there are none. One
    /// write at a time, which [`Self::end_write`] ends.
    pub fn begin_write(&mut self) -> Option<Files> {
        self.writing = std::mem::take(&mut self.unwritten);
        let is_written = |name| self.writing.contains(name);
        (!self.writing.is_empty()).then(|| Files {
            directory: self.directory.clone(),
            containers: is_written(CONTAINERS).then(|| self.containers.clone()),
            ports: is_written(PORTS).then(|| self.ports.clone()),
        })
    }

    /// The write has ended. What it could not write is written the next time.
    pub fn end_write(&mut self, is_written: bool) {
        let files = std::mem::take(&mut self.writing);
        if !is_written {
            self.unwritten.extend(files);
        }
    }
}

impl Files {
    /// Writes them, and makes the directory where it is missing.
    ///
    /// # Errors
    /// The disk is full or read-only.
    pub fn write(&self) -> anyhow::Result<()> {
        make_directory(&self.directory)?;
        if let Some(ports) = &self.ports {
            document::write(&self.directory.join(PORTS), ports)?;
        }
        if let Some(containers) = &self.containers {
            document::write(&self.directory.join(CONTAINERS), containers)?;
        }
        Ok(())
    }
}

/// Sets a value. Returns whether it is another one now.
fn set<T: PartialEq>(old: &mut T, new: T) -> bool {
    let is_another = *old != new;
    *old = new;
    is_another
}

fn make_directory(directory: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.with_context(|| format!("cannot create the state directory {}", directory.display()))
}
