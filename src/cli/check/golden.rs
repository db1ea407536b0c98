//! Golden directories: a host's files, devices and containers in, findings out.
//!
//! `tests/golden/check/NN-name/` has
//! - `root/`, the files of a host as far as they matter; a node is a file with its number in it;
//! - `devices/*`, each the output of `udevadm info --query=property /dev/ttyX`;
//! - `config.toml`, as an operator writes it (optional);
//! - `containers.json`, who runs; the container with the process 100 has its files in
//!   `root/proc/100/root` (optional);
//! - `expected`, what is found. `UPDATE=1 cargo test golden` writes it anew.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::cgroup::InForce;
use super::finding::{Level, Report};
use super::host::Host;
use super::kernel::text;
use super::processes::nodes;
use crate::config;
use crate::daemon::state::World;
use crate::engine::container::{Mapping, Running};
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::model::fixtures;
use crate::model::inventory::{Container, ContainerId, ContainerState, Inventory};
use crate::plan::assign::assign;
use crate::plan::passwd;
use crate::store::Store;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// One digit; the id is 64 of it.
    id: String,
    pid: i64,
    #[serde(default)]
    rules: Vec<String>,
    /// Pairs of the host's path and the container's.
    #[serde(default)]
    devices: Vec<(String, String)>,
    /// It is to have no port.
    #[serde(default)]
    unserved: bool,
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
    let cases = fs::read(directory.join("containers.json")).unwrap_or_else(|_| b"[]".into());
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();

    let mut inventory = Inventory::default();
    inventory.replace_devices(fixtures::devices(&directory.join("devices")));
    for case in &cases {
        let container = Container {
            name: case.name.clone(),
            state: ContainerState::Running,
            labels: [("ttyplugd.enable".into(), (!case.unserved).to_string())].into(),
            image_labels: Some([].into()),
        };
        inventory.containers.insert(case.id(), container);
    }
    let settings = config::load(&directory.join("config.toml")).unwrap();
    let mut world = World::new(settings, inventory, Store::read(&directory.join("state")));
    world.assigned = assign(
        &world.settings,
        &world.inventory,
        world.store.last_devices(),
    );

    let host = Host::look(&root, &number_of);
    let mut report = Report::default();
    report.host(&host, &world.inventory, &world.assigned);
    report.ports(&world);
    for case in &cases {
        let (id, running) = (case.id(), case.running());
        let subject = format!("container {}", case.name);
        let wants = world.assigned.wants(&id);
        let in_force = InForce::read(&root, case.pid, &id);
        let numbers = wants.iter().map(|want| want.devnum);
        let level = case.level();
        report.rights(level, &subject, &running, &in_force, numbers, &host.majors);
        report.drivers(level, &subject, &running, &case.driver, &host.majors);

        let inside: Vec<_> = host.inside(&id).collect();
        let own = root.join(format!("proc/{}/root", case.pid));
        let group = text(&own, "etc/group");
        for want in wants {
            let node = passwd::resolve(want, "", &group).unwrap();
            report.access_to(&subject, &node, case.pid, &inside, &host.group, &group);
        }
        let found = nodes(&own, &number_of);
        let ours = |path: &str| wants.iter().any(|want| want.node.as_str() == path);
        let foreign = found.iter().filter(|(path, _)| !ours(path));
        let now = |mapping: &Mapping| number_of(&root.join(&mapping.host[1..]));
        let mappings: Vec<_> = running
            .mappings
            .iter()
            .map(|m| (m.clone(), now(m)))
            .collect();
        report.stale(
            &subject,
            &host,
            &world.inventory.devices,
            foreign,
            &mappings,
        );
    }
    report
}

impl Case {
    fn id(&self) -> ContainerId {
        ContainerId(self.id.repeat(64))
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
            started_at: String::new(),
            paused: false,
            foreign: [].into(),
            rights: DeviceRules {
                rules: self.rules.clone(),
                ..DeviceRules::default()
            },
            mappings: self.devices.iter().map(mapping).collect(),
            drops_mknod: false,
            path: String::new(),
        }
    }
}

/// What a file at the path says. A descriptor's link is followed below the root of its process,
/// which for one on the host is the whole.
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
