//! Converts what the engine answers about a container.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use bollard::models::{ContainerInspectResponse, HostConfig};
use nix::sys::stat::{major, minor};

use crate::engine::container::{Described, Mapping, Running};
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::model::inventory::{Container, ContainerId, ContainerState};
use crate::model::start::{FirstProcess, StartId};

/// The containers as the engine described them, unless something has happened to them since.
#[derive(Debug, Default)]
pub(super) struct Cache {
    containers: BTreeMap<ContainerId, Described>,
    changes: u64,
}

impl Cache {
    pub(super) fn get(&self, id: &ContainerId) -> Option<Described> {
        self.containers.get(id).cloned()
    }

    /// Something has happened to a container.
    pub(super) fn forget(&mut self, id: &ContainerId) {
        self.changes += 1;
        self.containers.remove(id);
    }

    /// The first processes of those that run.
    pub(super) fn processes(&self) -> BTreeSet<FirstProcess> {
        let running = self
            .containers
            .values()
            .filter_map(|its| its.running.as_ref());
        running
            .filter_map(|running| running.start.process)
            .collect()
    }

    /// Something may have happened to any container. Those are forgotten that are not listed as they were
    /// described, or do not have one of the processes that live.
    pub(super) fn forget_outdated(
        &mut self,
        listed: &BTreeMap<ContainerId, Container>,
        alive: &BTreeSet<FirstProcess>,
    ) {
        self.changes += 1;
        self.containers.retain(|id, described| {
            let listed = listed.get(id);
            listed.is_some_and(|container| is_current(described, container.state, alive))
        });
    }

    /// How often something has happened.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes in an answer to a question that was asked after so many changes. If something has
    /// happened since, the answer may be outdated.
    pub(super) fn put(&mut self, id: &ContainerId, described: &Described, changes: u64) {
        if described.complete && self.changes == changes {
            self.containers.insert(id.clone(), described.clone());
        }
    }
}

/// Whether a container in this state is as it was described: it has not been started again while its
/// first process lives.
fn is_current(
    described: &Described,
    state: ContainerState,
    alive: &BTreeSet<FirstProcess>,
) -> bool {
    let Some(running) = &described.running else {
        return state == ContainerState::Stopped;
    };
    let described = match running.paused {
        true => ContainerState::Paused,
        false => ContainerState::Running,
    };
    let process = running.start.process;
    state == described && process.is_some_and(|process| alive.contains(&process))
}

/// An entry of the host's file system, as far as it matters for `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostEntry {
    Missing,
    /// A character device, or a link to one.
    Device {
        devnum: DevNum,
        link: bool,
    },
    Other,
}

impl HostEntry {
    /// Looks at a path.
    pub(super) fn at(path: &str) -> Self {
        // Elsewhere a look may hang.
        let Some(name) = path.strip_prefix("/dev/") else {
            return Self::Other;
        };
        let Ok(node) = std::fs::metadata(path) else {
            return Self::Missing;
        };
        if !node.file_type().is_char_device() {
            return Self::Other;
        }
        let numbers = (major(node.rdev()).try_into(), minor(node.rdev()).try_into());
        let (Ok(major), Ok(minor)) = numbers else {
            return Self::Other;
        };
        let is_link = std::fs::symlink_metadata(path).is_ok_and(|entry| entry.is_symlink());
        Self::Device {
            devnum: DevNum { major, minor },
            // Everything in a directory below /dev is one of udev's links.
            link: is_link || name.contains('/'),
        }
    }
}

/// Converts an answer of the engine; `host` looks at the paths of its devices.
pub(super) fn described(
    response: ContainerInspectResponse,
    host: impl Fn(&str) -> HostEntry,
) -> Described {
    let host_config = response.host_config.as_ref();
    let runtime = host_config.and_then(|config| config.runtime.clone());
    let devices = host_config.and_then(|config| config.devices.as_ref());
    let entries = devices.into_iter().flatten().map(|device| {
        let path = device.path_on_host.as_deref().unwrap_or_default();
        // `rwm` unless it says otherwise (docker-run(1), --device).
        let access = device.cgroup_permissions.as_deref().unwrap_or("rwm");
        (host(path), access.into())
    });
    let (mut devices, mut linked, mut complete) = (Vec::new(), Vec::new(), true);
    for (entry, access) in entries {
        match entry {
            HostEntry::Missing => complete = false,
            HostEntry::Device { devnum, link: true } => linked.push((devnum, access)),
            HostEntry::Device { devnum, .. } => devices.push((devnum, access)),
            HostEntry::Other => {}
        }
    }
    let rights = DeviceRules {
        devices,
        linked,
        ..rules(host_config)
    };
    Described {
        runtime: runtime.unwrap_or_default(),
        mappings: mappings(host_config),
        running: running(response, rights),
        complete,
    }
}

fn running(response: ContainerInspectResponse, rights: DeviceRules) -> Option<Running> {
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
    let environment = environment.iter().flatten().map(|variable| {
        let name = variable.split('=').next();
        name.unwrap_or_default().to_owned()
    });
    Some(Running {
        pid,
        start: StartId::at(state.started_at.unwrap_or_default()),
        paused: state.paused.unwrap_or(false),
        foreign,
        mappings: mappings(Some(&host_config)),
        drops_mknod: false,
        added_groups: host_config.group_add.clone().unwrap_or_default(),
        environment: environment.collect(),
        rights,
    })
}

fn mappings(host_config: Option<&HostConfig>) -> Vec<Mapping> {
    let devices = host_config.and_then(|config| config.devices.as_ref());
    let mappings = devices.into_iter().flatten().filter_map(|device| {
        let host = device.path_on_host.clone()?;
        let container = device.path_in_container.clone();
        Some(Mapping {
            container: container.unwrap_or_else(|| host.clone()),
            host,
        })
    });
    mappings.collect()
}

fn rules(host_config: Option<&HostConfig>) -> DeviceRules {
    let rules = host_config.and_then(|config| config.device_cgroup_rules.clone());
    DeviceRules {
        everything: host_config.is_some_and(|config| config.privileged == Some(true)),
        rules: rules.unwrap_or_default(),
        ..DeviceRules::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures;
    use bollard::models::DeviceMapping;

    fn inspected(devices: &[&str]) -> ContainerInspectResponse {
        let device = |path: &&str| DeviceMapping {
            path_on_host: Some((*path).to_owned()),
            ..DeviceMapping::default()
        };
        ContainerInspectResponse {
            state: Some(bollard::models::ContainerState {
                running: Some(true),
                pid: Some(7),
                ..bollard::models::ContainerState::default()
            }),
            host_config: Some(HostConfig {
                devices: Some(devices.iter().map(device).collect()),
                ..HostConfig::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn a_device_of_the_definition_is_a_node_or_a_link_or_none() {
        let null = DevNum { major: 1, minor: 3 };
        assert_eq!(
            HostEntry::at("/dev/null"),
            HostEntry::Device {
                devnum: null,
                link: false
            }
        );
        for (path, expected) in [
            ("/dev/pts", HostEntry::Other),
            ("/etc/passwd", HostEntry::Other),
            ("/nowhere", HostEntry::Other),
            ("/dev/ttyplugd", HostEntry::Missing),
            ("/dev/serial/by-id/ttyplugd", HostEntry::Missing),
        ] {
            assert_eq!(HostEntry::at(path), expected, "{path}");
        }
    }

    #[test]
    fn an_answer_is_kept_if_nothing_has_happened_and_nothing_was_missing() {
        let id = ContainerId::of_docker("c0ffee".into());
        let number = |minor| DevNum { major: 188, minor };
        let at = |path: &str| match path {
            "/dev/ttyUSB0" => HostEntry::Device {
                devnum: number(0),
                link: false,
            },
            "/dev/serial/by-id/x" => HostEntry::Device {
                devnum: number(1),
                link: true,
            },
            "/dev/snd" => HostEntry::Other,
            _ => HostEntry::Missing,
        };
        let mut cache = Cache::default();
        let whole = described(
            inspected(&["/dev/ttyUSB0", "/dev/serial/by-id/x", "/dev/snd"]),
            at,
        );
        let rights = &whole.running.as_ref().unwrap().rights;
        assert_eq!(rights.devices, [(number(0), "rwm".into())]);
        assert_eq!(rights.linked, [(number(1), "rwm".into())]);
        cache.put(&id, &whole, cache.changes());
        assert!(cache.get(&id).is_some());
        let before = cache.changes();
        cache.forget(&id);
        assert!(cache.get(&id).is_none());
        cache.put(&id, &whole, before);
        assert!(cache.get(&id).is_none());
        // It may be another device when it is there.
        let part = described(inspected(&["/dev/ttyUSB0", "/dev/ttyUSB1"]), at);
        cache.put(&id, &part, cache.changes());
        assert!(cache.get(&id).is_none());
    }

    #[test]
    fn a_list_shows_that_a_description_is_outdated() {
        use crate::model::inventory::ContainerState::{Paused, Running, Stopped};
        let id = ContainerId::of_docker("c0ffee".into());
        let alive = FirstProcess { pid: 7, started: 1 };
        let runs = |started, paused| {
            let mut runs = described(inspected(&[]), HostEntry::at);
            let running = runs.running.iter_mut();
            running.for_each(|it| {
                it.paused = paused;
                it.start.process = Some(FirstProcess { started, ..alive });
            });
            runs
        };
        let stopped = Described {
            running: None,
            ..runs(1, false)
        };
        let alive = BTreeSet::from([alive]);
        for (known, current) in [
            (runs(1, false), Some(Running)),
            (runs(1, true), Some(Paused)),
            // Its first process has ended, so it has been started again if it runs.
            (runs(0, false), None),
            (stopped, Some(Stopped)),
        ] {
            for state in [Running, Paused, Stopped] {
                let mut cache = Cache::default();
                cache.put(&id, &known, 0);
                let listed = Container {
                    state,
                    ..fixtures::container("app", &[])
                };
                cache.forget_outdated(&BTreeMap::from([(id.clone(), listed)]), &alive);
                assert_eq!(
                    cache.get(&id).is_some(),
                    current == Some(state),
                    "{known:?}"
                );
            }
            let mut cache = Cache::default();
            cache.put(&id, &known, 0);
            cache.forget_outdated(&BTreeMap::new(), &alive);
            assert!(cache.get(&id).is_none());
        }
        let mut cache = Cache::default();
        cache.forget_outdated(&BTreeMap::new(), &alive);
        cache.put(&id, &runs(1, false), 0);
        assert!(cache.get(&id).is_none());
    }
}
