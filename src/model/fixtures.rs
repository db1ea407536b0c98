//! Devices and containers for tests.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::model::device::Device;
use crate::model::inventory::{Container, ContainerState};

/// A USB serial device with our tag. The serial also makes its stable names, and its place.
pub(crate) fn device(sysname: &str, serial: &str) -> Device {
    let minor = sysname.trim_start_matches(|c: char| !c.is_ascii_digit());
    let properties = [
        (
            "DEVPATH",
            format!("/devices/usb1/1-{serial}/{sysname}/tty/{sysname}"),
        ),
        ("DEVNAME", format!("/dev/{sysname}")),
        ("MAJOR", "188".to_owned()),
        ("MINOR", minor.to_owned()),
        ("ID_BUS", "usb".to_owned()),
        ("ID_VENDOR_ID", "0658".to_owned()),
        ("ID_SERIAL_SHORT", serial.to_owned()),
        ("CURRENT_TAGS", ":systemd:ttyplugd:".to_owned()),
        (
            "DEVLINKS",
            format!("/dev/serial/by-id/usb-{serial}-if00 /dev/serial/by-path/{sysname}-{serial}"),
        ),
    ];
    let bytes = properties.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes()));
    let read = Device::from_properties(bytes, None, 20);
    read.expect("the fixture has a node")
}

pub(crate) fn container(name: &str, labels: &[(&str, &str)]) -> Container {
    let owned = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    Container {
        name: name.to_owned(),
        state: ContainerState::Running,
        labels: owned.collect(),
        image_labels: Some(std::collections::BTreeMap::new()),
    }
}

/// The devices of a directory of files, each the output of `udevadm info --query=property`. Every
/// host node belongs to group 20.
pub(crate) fn devices(directory: &Path) -> Vec<Device> {
    let read = |file: PathBuf| {
        let bytes = fs::read(&file).expect("the file can be read");
        let lines = bytes.split(|b| *b == b'\n').filter_map(|line| {
            let equals = line.iter().position(|b| *b == b'=')?;
            Some((&line[..equals], &line[equals + 1..]))
        });
        let device = Device::from_properties(lines, None, 20);
        device.unwrap_or_else(|| panic!("{} is no device", file.display()))
    };
    entries(directory).into_iter().map(read).collect()
}

/// What a golden directory says of its containers; some have none.
pub(crate) fn containers<T: DeserializeOwned>(directory: &Path) -> Vec<T> {
    let file = directory.join("containers.json");
    let text = fs::read(&file).unwrap_or_else(|_| b"[]".into());
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What is in a directory, in the order of the names; nothing where there is none.
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Compares, for every directory in tests/golden/KIND, what `make` makes of it with its file
/// `expected`. `UPDATE=1 cargo test golden` writes those anew.
pub(crate) fn golden(kind: &str, make: impl Fn(&Path) -> String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let directories = entries(&root.join(kind));
    assert!(directories.len() >= 10, "golden directories are missing");
    let mut wrong = String::new();
    for directory in directories {
        let (got, file) = (make(&directory), directory.join("expected"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &got).expect("the file can be written");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if got != expected {
            let name = directory.display();
            wrong += &format!("\n{name}\n--- expected\n{expected}--- got\n{got}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
