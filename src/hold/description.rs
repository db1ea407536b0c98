//! What a wrapper tells of a container that is being created, for the case that no engine is followed
//! which knows it. It is kept beside the keeper's socket, for the next daemon. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::inventory::{ContainerId, EngineName};
use crate::model::label::TOTAL;

/// The longest that is told, in bytes: as much again as the labels may have.
const LONGEST: usize = 2 * TOTAL;

/// A container as its bundle describes it. Fields may be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// Its id, which is its own only among the containers of `root`.
    pub container: String,
    /// The directory in which the runtime keeps its containers (runc(8), --root).
    pub root: String,
    /// As far as the bundle tells, e.g. `containerd/k8s.io`.
    pub engine: String,
    pub name: String,
    /// The annotations that are addressed to us, as labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations may be what an image says.
    pub has_those_of_image: bool,
    /// The mount points of its bind mounts.
    pub foreign: BTreeSet<String>,
    /// It may open every device.
    pub everything: bool,
    /// The rules of its device cgroup, e.g. `c 188:* rwm`.
    pub rules: Vec<String>,
    /// The paths of its device nodes.
    pub nodes: Vec<String>,
    /// The groups that are added to its first process.
    pub groups: Vec<String>,
}

impl Description {
    pub fn id(&self) -> ContainerId {
        ContainerId::new(EngineName::new(self.engine.clone()), self.container.clone())
    }

    /// Whether it can be sent: who may annotate a container, or add mounts to it, must not fill memory.
    pub fn is_short(&self) -> bool {
        serde_json::to_vec(self).is_ok_and(|text| text.len() <= LONGEST)
    }
}

/// The file of a keeper's container, beside the keeper's socket.
pub fn file(socket: &Path) -> PathBuf {
    socket.with_extension("json")
}

/// The keeper's socket beside which a file is that of its container, or what was to become that.
pub fn socket(file: &Path) -> Option<PathBuf> {
    let (keeper, rest) = file.file_name()?.to_str()?.split_once('.')?;
    rest.starts_with("json")
        .then(|| file.with_file_name(keeper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_that_would_fill_memory_is_not_told() {
        let mounts = |number: usize| Description {
            foreign: (0..number).map(|n| format!("/{n:0200}")).collect(),
            ..Description::default()
        };
        assert!(mounts(200).is_short());
        assert!(!mounts(1000).is_short());
        let longest = Description {
            labels: [("ttyplugd.port.x.match".to_owned(), "x".repeat(TOTAL))].into(),
            ..mounts(200)
        };
        assert!(longest.is_short());
    }

    /// The daemon may be older or newer than the wrapper of a container that lives on.
    #[test]
    fn descriptions_of_other_versions_are_understood() {
        let text = r#"{"container":"c0ffee","engine":"containerd/k8s.io","moon":1}"#;
        let described: Description = serde_json::from_str(text).unwrap();
        assert_eq!(described.id().key(), "containerd/k8s.io/c0ffee");
        assert_eq!(described.name, "");
    }
}
