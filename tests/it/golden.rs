//! Golden directories: configuration, devices and containers in, plans out.
//!
//! `tests/golden/NN-name/` has
//! - `config.toml`, as an operator writes it (optional);
//! - `devices/*`, each the output of `udevadm info --query=property /dev/ttyX`;
//! - `containers.json`, who there is, what their /dev looks like, and what we made in it;
//! - `plan.expected`, what is to be done. `UPDATE=1 cargo test golden` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use ttyplugd::config;
use ttyplugd::model::device::Device;
use ttyplugd::model::inventory::{Container, ContainerId, ContainerState, Inventory};
use ttyplugd::model::{DevNum, Mode, NodePath};
use ttyplugd::plan::assign::{LastDevices, assign};
use ttyplugd::plan::passwd;
use ttyplugd::plan::{Actual, Found, Record, plan};

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
    /// `mount 188:0`, or any other kind of file.
    #[serde(default)]
    found: BTreeMap<NodePath, String>,
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(&root).unwrap();
    let mut directories: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    // Beside them there are those of single commands, e.g. `ports`, which src/fixtures.rs reads.
    directories.retain(|directory| directory.join("containers.json").exists());
    directories.sort();
    assert!(directories.len() >= 10, "golden directories are missing");
    let wrong: String = directories
        .iter()
        .filter_map(|directory| check(directory))
        .collect();
    assert!(wrong.is_empty(), "{wrong}");
}

/// What is wrong with a directory's plan, if anything.
fn check(directory: &Path) -> Option<String> {
    let got = run(directory);
    let file = directory.join("plan.expected");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &got).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let name = directory.display();
    (got != expected).then(|| format!("\n{name}\n--- expected\n{expected}--- got\n{got}"))
}

fn run(directory: &Path) -> String {
    let settings = match config::load(&directory.join("config.toml")) {
        Ok(settings) => settings,
        Err(errors) => panic!("{}: {errors:#?}", directory.display()),
    };
    let mut inventory = Inventory::default();
    inventory.replace_devices(devices(&directory.join("devices")));
    let cases: Vec<Case> =
        serde_json::from_slice(&fs::read(directory.join("containers.json")).unwrap()).unwrap();
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
        for want in assigned.wants(&id) {
            match passwd::resolve(want, "root:x:0:0::/:/bin/sh\n", &group) {
                Ok(want) => wanted.push(want),
                Err(error) => writeln!(text, "  left out: {}: {error}", want.port).unwrap(),
            }
        }
        let actual = Actual {
            entries: case
                .found
                .iter()
                .map(|(p, f)| (p.clone(), found(f)))
                .collect(),
            leftovers: case.leftovers.clone(),
            remapped: case.remapped,
        };
        let plan = plan(&wanted, &Record::new(), &actual, &case.made);
        for op in &plan.ops {
            writeln!(text, "  {op}").unwrap();
        }
        for blocked in &plan.blocked {
            writeln!(text, "  {blocked}; {}", blocked.fix).unwrap();
        }
    }
    text
}

fn id(number: usize) -> ContainerId {
    ContainerId(format!("{number:064x}"))
}

/// Reads `KEY=value` lines. Every host node belongs to group 20 here.
fn devices(directory: &Path) -> Vec<Device> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let lines = bytes.split(|b| *b == b'\n').filter_map(|line| {
                let equals = line.iter().position(|b| *b == b'=')?;
                Some((&line[..equals], &line[equals + 1..]))
            });
            let device = Device::from_properties(lines, None, 20);
            device.unwrap_or_else(|| panic!("{} is no device", path.display()))
        })
        .collect()
}

fn found(text: &str) -> Found {
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
        ["mount"] => Found::Mount(None),
        ["mount", devnum] => Found::Mount(Some(number(devnum))),
        _ => Found::Other(text.to_owned().leak()),
    }
}
