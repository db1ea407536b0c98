//! Devices, containers and settings for the tests of the pure modules.

use crate::config::{self, Settings};
use crate::device::Device;
use crate::inventory::{Container, ContainerState};

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

pub(crate) fn settings(text: &str) -> Settings {
    config::parse(&[("config.toml".into(), text.to_owned())]).expect("the fixture is valid")
}
