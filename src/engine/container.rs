//! A container as the engine describes it.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use bollard::models::{ContainerInspectResponse, DeviceMapping, HostConfig};
use nix::sys::stat::{major, minor};

use crate::model::DevNum;
use crate::model::device_access::{Access, DeviceRules};

/// A container, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Described {
    /// The name of the runtime that it was created for, e.g. `runc`.
    pub runtime: String,
    pub running: Option<Running>,
}

/// A container as it runs, as far as it matters for serving it.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// The first process, in the host's numbers.
    pub pid: i64,
    /// When it was started, in the engine's words: a new text is a new /dev.
    pub started_at: String,
    pub paused: bool,
    /// Where bind mounts and volumes are mounted.
    pub foreign: BTreeSet<String>,
    pub rights: DeviceRules,
    pub mappings: Vec<Mapping>,
    /// The capability to make nodes was taken from it.
    pub drops_mknod: bool,
    /// The PATH of its image.
    pub path: String,
}

/// A device that a container was given when it was created (`--device`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// What was given, often a link such as /dev/serial/by-id/X.
    pub host: String,
    /// Where it is in the container.
    pub container: String,
}

pub(super) fn described(response: ContainerInspectResponse) -> Described {
    let host_config = response.host_config.as_ref();
    let runtime = host_config.and_then(|config| config.runtime.clone());
    Described {
        runtime: runtime.unwrap_or_default(),
        running: running(response),
    }
}

fn running(response: ContainerInspectResponse) -> Option<Running> {
    let state = response.state?;
    let pid = state.pid.filter(|pid| *pid > 0)?;
    if !state.running.unwrap_or(false) {
        return None;
    }
    let mounts = response.mounts.unwrap_or_default();
    let foreign = mounts
        .into_iter()
        // `--mount type=tmpfs` is listed among the mounts, and is the container's own.
        .filter(|mount| mount.typ.as_deref() != Some("tmpfs"))
        .filter_map(|mount| mount.destination)
        .collect();
    let host_config = response.host_config.unwrap_or_default();
    let environment = response.config.and_then(|config| config.env);
    let environment = environment.unwrap_or_default();
    let path = environment
        .iter()
        .find_map(|text| text.strip_prefix("PATH="));
    let devices = host_config.devices.iter().flatten();
    let mappings = devices.filter_map(|device| {
        let host = device.path_on_host.clone()?;
        let container = device.path_in_container.clone();
        Some(Mapping {
            container: container.unwrap_or_else(|| host.clone()),
            host,
        })
    });
    Some(Running {
        pid,
        started_at: state.started_at.unwrap_or_default(),
        paused: state.paused.unwrap_or(false),
        foreign,
        mappings: mappings.collect(),
        drops_mknod: drops_mknod(&host_config),
        path: path.unwrap_or_default().to_owned(),
        rights: rights(host_config),
    })
}

fn drops_mknod(host_config: &HostConfig) -> bool {
    let named = |list: &Option<Vec<String>>, all: bool| {
        list.iter().flatten().any(|name| {
            let name = name.to_ascii_uppercase();
            let name = name.strip_prefix("CAP_").unwrap_or(&name);
            name == "MKNOD" || all && name == "ALL"
        })
    };
    !host_config.privileged.unwrap_or(false)
        && named(&host_config.cap_drop, true)
        && !named(&host_config.cap_add, true)
}

fn rights(host_config: HostConfig) -> DeviceRules {
    let devices = host_config.devices.unwrap_or_default();
    let of = |devices: &[&DeviceMapping]| devices.iter().filter_map(|d| device_right(d)).collect();
    let (links, nodes): (Vec<_>, Vec<_>) = devices.iter().partition(|device| is_link(device));
    DeviceRules {
        everything: host_config.privileged.unwrap_or(false),
        rules: host_config.device_cgroup_rules.unwrap_or_default(),
        devices: of(&nodes),
        linked: of(&links),
    }
}

fn is_link(device: &DeviceMapping) -> bool {
    let path = device.path_on_host.as_deref().unwrap_or_default();
    let below_dev = path
        .strip_prefix("/dev/")
        .is_some_and(|name| !name.contains('/'));
    !below_dev || std::fs::symlink_metadata(path).is_ok_and(|entry| entry.is_symlink())
}

/// The number of a `--device`, and what it may be opened for: `rwm` unless it says otherwise
/// (docker-run(1), --device). Docker follows a link such as /dev/serial/by-id/X when the container
/// is started.
fn device_right(device: &DeviceMapping) -> Option<(DevNum, Access)> {
    // Elsewhere a look may hang.
    let path = device.path_on_host.as_deref()?;
    let node = path.starts_with("/dev/").then(|| std::fs::metadata(path))?;
    let node = node.ok()?;
    let devnum = DevNum {
        major: u32::try_from(major(node.rdev())).ok()?,
        minor: u32::try_from(minor(node.rdev())).ok()?,
    };
    let access = device.cgroup_permissions.as_deref().unwrap_or("rwm");
    node.file_type()
        .is_char_device()
        .then(|| (devnum, access.into()))
}
