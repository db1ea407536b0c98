//! Golden directories: configuration, devices and containers in, plans out.
//!
//! `tests/golden/plan/NN-name/` has
//! - `config.toml`, as an operator writes it (optional);
//! - `devices/*`, each the output of `udevadm info --query=property /dev/ttyX`;
//! - `containers.json`, who there is, what their /dev looks like, and what we made in it;
//! - `expected`, what is to be done. `UPDATE=1 cargo test golden` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use super::assign::assign;
use super::last_devices::LastDevices;
use super::{Actual, Forbidden, Found, Mounted, Record, fixtures, passwd, plan};
use crate::config;
use crate::model::fixtures::{containers, devices, golden as compare};
use crate::model::inventory::{Container, ContainerId, ContainerState, Inventory};
use crate::model::{DevNum, Mode, NodePath};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    image_labels: BTreeMap<String, String>,
    /// Lines of /etc/group.
    #[serde(default)]
    group: Vec<String>,
    /// What is at which path: `node 188:0 0:20 0660`, `link TARGET`, `empty file`, `mount`,
    /// `mount 188:0`, `forbidden`, or any other kind of file.
    #[serde(default)]
    found: BTreeMap<NodePath, String>,
    /// The devices that paths lead to, where what is found does not say so.
    #[serde(default)]
    devices: BTreeMap<NodePath, DevNum>,
    /// Mounts whose nodes cannot be opened.
    #[serde(default)]
    closed: BTreeSet<NodePath>,
    /// Directories that are mounted with nodev, and those that are mounted read-only.
    #[serde(default)]
    nodev: BTreeSet<String>,
    #[serde(default)]
    read_only: BTreeSet<String>,
    #[serde(default)]
    leftovers: BTreeSet<String>,
    #[serde(default)]
    made: Record,
    /// Its users are other users on the host.
    #[serde(default)]
    remapped: bool,
}

#[test]
fn golden() {
    compare("plan", to_be_done);
}

fn to_be_done(directory: &Path) -> String {
    let settings = match config::load(&directory.join("config.toml")) {
        Ok(settings) => settings,
        Err(errors) => panic!("{}: {errors:#?}", directory.display()),
    };
    let mut inventory = Inventory::default();
    inventory.replace_devices(devices(&directory.join("devices")));
    let cases: Vec<Case> = containers(directory);
    for (number, case) in cases.iter().enumerate() {
        let container = Container {
            name: case.name.clone(),
            state: ContainerState::Running,
            labels: case.labels.clone(),
            image_labels: Some(case.image_labels.clone()),
        };
        inventory.containers.insert(id(number), container);
    }

    let assigned = assign(&settings, &inventory, &LastDevices::default());
    let mut text = String::new();
    for (number, case) in cases.iter().enumerate() {
        let id = id(number);
        writeln!(text, "{}", case.name).unwrap();
        match assigned.by_container.get(&id) {
            Some(Err(error)) => writeln!(text, "  left out: {error}").unwrap(),
            Some(Ok(assignment)) => {
                for absent in &assignment.absent {
                    writeln!(text, "  waiting: {}", absent.port).unwrap();
                }
                for conflict in &assignment.conflicts {
                    writeln!(text, "  conflict: {conflict}; {}", conflict.fix()).unwrap();
                }
            }
            None => {}
        }
        let group = case.group.join("\n");
        let mut wanted = Vec::new();
        let placeholders = assigned.placeholders(&id);
        for want in assigned.wants(&id).iter().chain(placeholders) {
            match passwd::resolve(want, "root:x:0:0::/:/bin/sh\n", &group) {
                Ok(want) => wanted.push(want),
                Err(error) => writeln!(text, "  left out: {}: {error}", want.port).unwrap(),
            }
        }
        let actual = case.actual();
        let plan = plan(&wanted, &Record::new(), &actual, &case.made);
        for op in &plan.ops {
            writeln!(text, "  {op}").unwrap();
        }
        for blocked in &plan.blocked {
            writeln!(text, "  {blocked}; {}", blocked.fix()).unwrap();
        }
        for note in &plan.notes {
            writeln!(text, "  note {}: {note}", note.port).unwrap();
        }
    }
    text
}

fn id(number: usize) -> ContainerId {
    ContainerId::of_docker(format!("{number:064x}"))
}

impl Case {
    fn actual(&self) -> Actual {
        let entries = self.found.iter();
        let entries = entries.map(|(path, text)| (path.clone(), found(path, text)));
        let mut actual = fixtures::actual(entries.collect());
        actual.devices.extend(self.devices.clone());
        actual.devices.retain(|path, _| !self.closed.contains(path));
        for directory in self.nodev.union(&self.read_only) {
            let mounted = Mounted {
                nodev: self.nodev.contains(directory),
                read_only: self.read_only.contains(directory),
            };
            actual.mounted.insert(directory.clone(), mounted);
        }
        Actual {
            leftovers: self.leftovers.clone(),
            remapped: self.remapped,
            ..actual
        }
    }
}

fn found(path: &NodePath, text: &str) -> Found {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |word: &str| word.parse::<DevNum>().unwrap();
    match words.as_slice() {
        ["node", devnum, owner, mode] => {
            let (uid, gid) = owner.split_once(':').unwrap();
            Found::Node {
                devnum: number(devnum),
                mode: mode.parse::<Mode>().unwrap(),
                uid: uid.parse().unwrap(),
                gid: gid.parse().unwrap(),
            }
        }
        ["link", target] => Found::Link {
            target: (*target).to_owned(),
        },
        ["empty", "file"] => Found::EmptyFile,
        ["forbidden"] => Found::Forbidden(Forbidden {
            directory: path.directory().to_owned(),
            reason: "is the host's own /dev".to_owned(),
            may_pass: false,
        }),
        ["mount"] => Found::Mount(None),
        ["mount", devnum] => Found::Mount(Some(number(devnum))),
        _ => Found::Other(text.to_owned().leak()),
    }
}
