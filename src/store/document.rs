//! The files in the state directory: small JSON documents, replaced whole by rename(2).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::device_access::Grants;
use crate::model::inventory::ContainerId;
use crate::model::{DevNum, Hold, NodePath};
use crate::plan::Record;
use crate::plan::assign::{Assignment, LastDevices};
use crate::sys::logging::kind;
use crate::sys::replacement::replace;

pub(super) const OWNED: &str = "owned.json";
pub(super) const CONTAINERS: &str = "containers.json";
pub(super) const PORTS: &str = "ports.json";

/// What we made, per container. A container has a new /dev at every start, so a record holds for one
/// start only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) containers: BTreeMap<ContainerId, OwnedContainer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OwnedContainer {
    pub(super) started_at: String,
    pub(super) entries: Record,
    #[serde(rename = "given", default)]
    pub(super) grants: Grants,
}

/// Who the containers are and what they are assigned, for readers that must not ask the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Containers {
    pub(super) containers: BTreeMap<ContainerId, KnownContainer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownContainer {
    pub(super) name: String,
    /// Its own labels, and those of its image. Which of them count is a matter of the configuration,
    /// which may be another one when this is read.
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) image_labels: BTreeMap<String, String>,
    /// Devices that the wrapper granted when the container was last created, until they are on the
    /// record of the start that follows.
    #[serde(rename = "granted", default)]
    pub(super) wrapper_grants: BTreeSet<DevNum>,
    pub(super) assignments: Vec<KnownPort>,
    /// Whether it was assigned every USB serial port. Files of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) every_port: Option<bool>,
}

impl KnownContainer {
    pub(super) fn has_every_port(&self) -> bool {
        let label = self.labels.get("ttyplugd.enable");
        let by_label = label.is_some_and(|value| value == "true");
        self.every_port.unwrap_or(by_label)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownPort {
    pub(super) port: String,
    /// Absent while the port's device is unplugged and no `node` is configured.
    pub(super) node: Option<NodePath>,
    pub(super) links: Vec<NodePath>,
    pub(super) hold: Hold,
}

impl KnownPort {
    pub(super) fn all(assignment: &Assignment) -> Vec<Self> {
        let present = assignment.wants.iter().map(|want| Self {
            port: want.port.clone(),
            node: Some(want.node.clone()),
            links: want.links.clone(),
            hold: want.hold,
        });
        let absent = assignment.absent.iter().map(|absent| Self {
            port: absent.port.clone(),
            node: absent.node.clone(),
            links: absent.links.clone(),
            hold: absent.hold,
        });
        present.chain(absent).collect()
    }
}

/// The device that each port had last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) ports: LastDevices,
}

/// The version of all three documents. A reader ignores a document of another version.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

/// The content of a document; nothing where it is missing, or cannot be read, which is logged.
pub(super) fn read<T: DeserializeOwned + Default>(directory: &Path, name: &str) -> T {
    let path = directory.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return T::default(),
        Err(error) => return lost(&path, &format!("cannot be read: {error}")),
    };
    match serde_json::from_slice::<Document<T>>(&text) {
        Ok(document) if document.schema == SCHEMA => document.content,
        Ok(document) => lost(
            &path,
            &format!("has the unknown version {}", document.schema),
        ),
        Err(error) => lost(&path, &format!("is damaged: {error}")),
    }
}

fn lost<T: Default>(path: &Path, error: &str) -> T {
    tracing::warn!(
        message_id = kind::STATE_LOST,
        file = %path.display(),
        error,
        "a state file cannot be used; starting without it"
    );
    T::default()
}

/// Replaces a document: readers see the old one or the new one, whole.
pub(super) fn write<T: Serialize>(directory: &Path, name: &str, content: &T) -> anyhow::Result<()> {
    let document = Document {
        schema: SCHEMA,
        content,
    };
    let path = directory.join(name);
    replace(&path, &serde_json::to_vec_pretty(&document)?).with_context(|| {
        format!(
            "cannot write {}: no container is changed until it can be written",
            path.display()
        )
    })
}
