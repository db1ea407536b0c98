//! Golden tests: a host's files, devices and containers in, findings out.
//!
//! `tests/golden/check/NN-name/` has
//! - `root/`, files of a host; a device node is a file that contains its number;
//! - `devices/*`, each the output of `udevadm info --query=property /dev/ttyX`;
//! - `config.toml` (optional);
//! - `containers.json`, the running containers; the files of the one with pid 100 are in
//!   `root/proc/100/root` (optional);
//! - `expected`, the findings. `UPDATE=1 cargo test golden` updates it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::cgroup_rules::CgroupRules;
use super::device_cgroup::Of;
use super::finding::{Level, Report};
use super::host::Host;
use super::kernel::text;
use super::node_access::GroupFiles;
use super::processes::{NumberOf, nodes};
use crate::config;
use crate::daemon::state::State;
use crate::engine::container::{Mapping, Running};
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::model::fixtures;
use crate::model::inventory::{Container, ContainerId, ContainerState, EngineName, Inventory};
use crate::model::start::StartId;
use crate::plan::assign::assign;
use crate::plan::passwd;
use crate::store::Store;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// A digit. The id is 64 of it.
    id: String,
    pid: i64,
    #[serde(default)]
    rules: Vec<String>,
    /// Pairs of the path on the host and in the container.
    #[serde(default)]
    devices: Vec<(String, String)>,
    /// It has no ports.
    #[serde(default)]
    unserved: bool,
    /// Labels beside `ttyplugd.enable`.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    group_add: Vec<String>,
    /// Docker, unless another is named.
    engine: Option<String>,
    /// The engine's cgroup driver.
    #[serde(default)]
    driver: String,
}

#[test]
fn golden() {
    fixtures::golden("check", |directory| {
        let mut report = found(directory);
        report.sort();
        anstream::adapter::strip_str(&report.as_text()).to_string()
    });
}

fn found(directory: &Path) -> Report {
    let root = directory.join("root");
    let number_of = |path: &Path| number_of(&root, path);
    let cases: Vec<Case> = fixtures::containers(directory);

    let mut inventory = Inventory::default();
    inventory.replace_devices(fixtures::devices(&directory.join("devices")));
    for case in &cases {
        let container = Container {
            name: case.name.clone(),
            state: ContainerState::Running,
            labels: case.labels(),
            image_labels: Some([].into()),
        };
        inventory.containers.insert(case.id(), container);
    }
    let settings = config::load(&directory.join("config.toml")).unwrap();
    let mut state = State::new(
        settings,
        inventory,
        Store::read(&directory.join("run"), &directory.join("state")),
    );
    state.assigned = assign(
        &state.settings,
        &state.inventory,
        state.store.known.last_devices(),
    );

    let host = Host::read(&root, &number_of);
    let mut report = Report::default();
    report.host(&host, &state.inventory, &state.assigned);
    report.ports(&state);
    for case in &cases {
        check_container(&mut report, case, &host, &state, &number_of);
    }
    report
}

fn check_container(
    report: &mut Report,
    case: &Case,
    host: &Host,
    state: &State,
    number_of: NumberOf,
) {
    let (id, running) = (case.id(), case.running());
    let subject = format!("container {}", case.name);
    let wants = state.assigned.wants(&id);
    let in_effect = CgroupRules::read(&host.root, case.pid, &id);
    let numbers = wants.iter().map(|want| want.devnum);
    let majors = &host.majors;
    let of = Of {
        level: case.level(),
        subject: &subject,
        engine: &id.engine,
    };
    report.device_cgroup(&of, &running, &in_effect, numbers, majors);
    report.missing_drivers(&of, &running, &case.driver, majors);

    let processes: Vec<_> = host.processes_in(&id).collect();
    let own = host.root.join(format!("proc/{}/root", case.pid));
    let group = text(&own, "etc/group");
    let groups = GroupFiles {
        host: &host.group,
        container: &group,
        added: &running.added_groups,
    };
    for want in wants {
        let node = passwd::resolve(want, "", &group).unwrap();
        report.node_access(&subject, &node, case.pid, &processes, groups);
    }
    let found = nodes(&own, number_of);
    let is_port = |path: &str| wants.iter().any(|want| want.node.as_str() == path);
    let foreign = found.iter().filter(|(path, _)| !is_port(path));
    let now = |mapping: &Mapping| number_of(&host.root.join(&mapping.host[1..]));
    let mappings = running.mappings.iter().map(|m| (m.clone(), now(m)));
    let mappings: Vec<_> = mappings.collect();
    let devices = &state.inventory.devices;
    report.stale_nodes(&subject, host, devices, foreign, &mappings);
}

impl Case {
    fn id(&self) -> ContainerId {
        let engine = self.engine.clone().map(EngineName::new);
        let engine = engine.unwrap_or(EngineName::DOCKER);
        ContainerId::new(engine, self.id.repeat(64))
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        let enable = (!self.unserved).to_string();
        labels.entry("ttyplugd.enable".into()).or_insert(enable);
        labels
    }

    fn level(&self) -> Level {
        match self.unserved {
            true => Level::Warning,
            false => Level::Error,
        }
    }

    fn running(&self) -> Running {
        let mapping = |(host, container): &(String, String)| Mapping {
            host: host.clone(),
            container: container.clone(),
        };
        Running {
            pid: self.pid,
            start: StartId::default(),
            paused: false,
            foreign: [].into(),
            rights: DeviceRules {
                rules: self.rules.clone(),
                ..DeviceRules::default()
            },
            mappings: self.devices.iter().map(mapping).collect(),
            drops_mknod: false,
            added_groups: self.group_add.clone(),
            environment: Default::default(),
        }
    }
}

/// Reads the number in a file. The link of a file descriptor is resolved in the root of its process.
fn number_of(root: &Path, path: &Path) -> Option<DevNum> {
    let content = match fs::read_link(path) {
        Ok(target) if path.parent()?.ends_with("fd") => {
            let target = target.strip_prefix("/").ok()?.to_owned();
            let own = path.parent()?.parent()?.join("root");
            let root = if own.exists() { &own } else { root };
            fs::read_to_string(root.join(target))
        }
        _ => fs::read_to_string(path),
    };
    content.ok()?.trim().parse().ok()
}
