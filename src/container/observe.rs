//! Reads a container's /dev from the host, through /proc/PID/root. It never writes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use crate::container::rootfs::{Entered, ForeignMounts, PATH_ONLY, Process, RootError, Rootfs};
use crate::container::script::{PROGRAM_DIRECTORIES, PROGRAMS};
use crate::model::inventory::ContainerId;
use crate::model::match_key::LINK_DIRECTORIES;
use crate::model::{DevNum, NodePath};
use crate::plan::{Actual, Found};

/// What a look is to find out.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is at these paths.
    pub paths: BTreeSet<NodePath>,
    /// The container's users and groups.
    pub accounts: bool,
    /// The real paths of directories, which a command needs.
    pub real: bool,
    /// The temporary files that a killed daemon or command has left, in the directories of `paths` and of the
    /// usual links.
    pub leftovers: bool,
}

/// The result of one look into a container.
#[derive(Debug)]
pub struct View {
    pub actual: Actual,
    /// Every directory in which ttyplugd may write, with its real path in the container, if asked for.
    pub real: BTreeMap<String, String>,
    /// Leftovers were looked for wherever they can be, and there are none.
    pub is_swept: bool,
    /// The contents of the container's /etc/passwd; empty if there is none, or it was not asked for.
    pub passwd: String,
    /// The same of its /etc/group.
    pub group: String,
}

/// Looks into a container.
///
/// # Errors
/// The container has ended or cannot be read.
pub fn observe(entered: &Entered<'_>, question: &Question) -> anyhow::Result<View> {
    let Question {
        paths, accounts, ..
    } = question;
    let tree = &entered.tree;
    let mut actual = Actual {
        remapped: !entered.rootfs.users.is_host(),
        ..Actual::default()
    };
    let mut real = BTreeMap::new();
    let links = LINK_DIRECTORIES.into_iter().filter(|_| question.leftovers);
    let directories: BTreeSet<&str> = paths.iter().map(NodePath::directory).chain(links).collect();
    let mut open = BTreeMap::new();
    let mut is_swept = question.leftovers;
    for directory in directories {
        let opened = match entered.directory(directory) {
            Ok(opened) => Ok(opened),
            Err(RootError::Forbidden(forbidden)) => {
                is_swept &= !forbidden.may_pass;
                Err(forbidden)
            }
            Err(RootError::Other(error)) => return Err(error),
        };
        if let Ok(opened) = &opened {
            if question.leftovers && opened.exists() {
                actual.leftovers.extend(opened.leftovers(directory)?);
            }
            let mounted = opened.mounted().context("cannot look at a mount")?;
            actual.mounted.insert(directory.to_owned(), mounted);
            if question.real {
                real.insert(directory.to_owned(), opened.real()?);
            }
        }
        open.insert(directory, opened);
    }
    for path in paths {
        let found = match &open[path.directory()] {
            Ok(directory) if directory.exists() => directory.find(path.name())?,
            Ok(_) => Found::Nothing,
            Err(forbidden) => Found::Forbidden(forbidden.clone()),
        };
        let device = reached(entered, path, &found, &actual)?;
        actual.entries.insert(path.clone(), found);
        let reached = device.map(|devnum| (path.clone(), devnum));
        actual.devices.extend(reached);
    }
    let [passwd, group] = ["etc/passwd", "etc/group"].map(|path| match accounts {
        true => tree.read_small_file(path),
        false => String::new(),
    });
    entered.is_there()?;
    is_swept &= actual.leftovers.is_empty();
    Ok(View {
        actual,
        real,
        is_swept,
        passwd,
        group,
    })
}

/// The device that an open of a path reaches. What was found there itself, on a tmpfs of the container's
/// own, is not looked up again.
fn reached(
    entered: &Entered<'_>,
    path: &NodePath,
    found: &Found,
    actual: &Actual,
) -> anyhow::Result<Option<DevNum>> {
    let is_nodev = || {
        let mounted = actual.mounted.get(path.directory());
        actual.remapped || mounted.is_some_and(|mounted| mounted.nodev)
    };
    match found {
        Found::Node { devnum, .. } => Ok(Some(*devnum).filter(|_| !is_nodev())),
        Found::Nothing | Found::EmptyFile | Found::Other(_) => Ok(None),
        Found::Link { .. } | Found::Mount(_) | Found::Forbidden(_) => entered.device(path.as_str()),
    }
}

/// Whether the container's users are remapped to other users of the host (user_namespaces(7)).
///
/// # Errors
/// The container has ended or cannot be read.
pub fn has_remapped_users(pid: i64, id: &ContainerId) -> anyhow::Result<bool> {
    Ok(!Process::open(pid, id)?.users()?.is_host())
}

/// Finds something that users other than root could replace, among all that a command needs that
/// works in `directories`.
///
/// # Errors
/// The container has ended, or something in it cannot be read.
pub fn replaceable(
    pid: i64,
    id: &ContainerId,
    directories: &BTreeSet<String>,
) -> anyhow::Result<Option<String>> {
    let rootfs = Rootfs::open(pid, id, ForeignMounts::new())?;
    let directories = directories.iter().map(String::as_str);
    rootfs.enter()?.replaceable(directories)
}

/// The programs that the script needs and a running container lacks.
///
/// # Errors
/// The container has ended or cannot be read.
pub fn missing_programs(pid: i64, id: &ContainerId) -> anyhow::Result<Vec<String>> {
    let root = Process::open(pid, id)?.root()?;
    let exists = |path: &str| root.resolve(path, PATH_ONLY).is_ok();
    let mut missing = Vec::new();
    if !exists("/bin/sh") {
        missing.push("/bin/sh".to_owned());
    }
    for program in PROGRAMS {
        let exists_in = |directory: &str| exists(&format!("{directory}/{program}"));
        if !PROGRAM_DIRECTORIES.into_iter().any(exists_in) {
            missing.push(program.to_owned());
        }
    }
    Ok(missing)
}
