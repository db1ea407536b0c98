//! What a container's /dev looks like, seen from the host through /proc/PID/root.
//!
//! This reads and never writes.

use std::collections::{BTreeMap, BTreeSet};

use crate::container::rootfs::{Entered, PATH_ONLY, Process, RootError};
use crate::container::script::{PROGRAM_DIRECTORIES, PROGRAMS};
use crate::model::NodePath;
use crate::model::inventory::ContainerId;
use crate::model::match_key::LINK_DIRECTORIES;
use crate::plan::{Actual, Found};

/// What has been seen in a container.
#[derive(Debug)]
pub struct View {
    pub actual: Actual,
    /// The real path inside the container of every directory that was looked at.
    pub real: BTreeMap<String, String>,
    /// The container's /etc/passwd and /etc/group, empty where there is none.
    pub passwd: String,
    pub group: String,
}

/// Looks at `paths` in a container.
///
/// # Errors
/// [`RootError::Forbidden`] if any directory that a port needs is not a tmpfs of this
/// container alone; any other error if the container is gone or cannot be looked into.
pub fn observe(entered: &Entered<'_>, paths: &BTreeSet<NodePath>) -> Result<View, RootError> {
    let tree = &entered.tree;
    let mut actual = Actual {
        remapped: !entered.rootfs.users.is_host(),
        ..Actual::default()
    };
    let mut real = BTreeMap::new();
    let directories: BTreeSet<&str> = paths
        .iter()
        .map(NodePath::directory)
        .chain(LINK_DIRECTORIES)
        .collect();
    let mut open = BTreeMap::new();
    for directory in directories {
        let place = entered.directory(directory)?;
        if place.exists() {
            actual.leftovers.extend(place.leftovers(directory)?);
        }
        real.insert(directory.to_owned(), place.real.clone());
        open.insert(directory, place);
    }
    for path in paths {
        let place = &open[path.directory()];
        let found = if place.exists() {
            place.look(path.name())?
        } else {
            Found::Nothing
        };
        actual.entries.insert(path.clone(), found);
    }
    let (passwd, group) = (
        tree.read_small_file("etc/passwd"),
        tree.read_small_file("etc/group"),
    );
    entered.is_there()?;
    Ok(View {
        actual,
        real,
        passwd,
        group,
    })
}

/// Whether the container's users are other users on the host. A tmpfs that was mounted in a user
/// namespace does not let device nodes be opened (mount_namespaces(7), user_namespaces(7)).
///
/// # Errors
/// The container is gone or cannot be looked into.
pub fn has_remapped_users(pid: i64, id: &ContainerId) -> anyhow::Result<bool> {
    Ok(!Process::open(pid, id)?.users()?.is_host())
}

/// The programs that the script needs and that a running container has neither in `path`, its
/// image's own, nor where they usually are.
///
/// # Errors
/// The container is gone or cannot be looked into.
pub fn missing_programs(pid: i64, id: &ContainerId, path: &str) -> anyhow::Result<Vec<String>> {
    let root = Process::open(pid, id)?.root()?;
    let exists = |path: &str| root.resolve(path, PATH_ONLY).is_ok();
    let mut missing = Vec::new();
    if !exists("/bin/sh") {
        missing.push("/bin/sh".to_owned());
    }
    for program in PROGRAMS {
        let mut directories = path.split(':').chain(PROGRAM_DIRECTORIES);
        if !directories.any(|directory| exists(&format!("{directory}/{program}"))) {
            missing.push(program.to_owned());
        }
    }
    Ok(missing)
}
