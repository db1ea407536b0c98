//! Which port: as the arguments say, and the operator where they do not.

use anyhow::{Context, bail};

use super::arguments::Arguments;
use crate::cli::output::{print_error, printable};
use crate::cli::questions::{ask, confirm, show};
use crate::cli::serial_devices::{SerialDevices, description};
use crate::config::labels::compose_service;
use crate::model::device::Device;
use crate::model::inventory::{Container, Inventory};
use crate::model::on_plug::OnPlug;
use crate::model::port::{NodeSpec, Port};
use crate::model::selector::{ContainerMatch, DeviceMatch};
use crate::model::{Invalid, NodePath, PortName};

/// A device, and what it is to be in a container.
pub(super) struct Choice {
    pub(super) name: PortName,
    pub(super) device: Device,
    pub(super) device_match: DeviceMatch,
    pub(super) container: ContainerMatch,
    pub(super) node: NodePath,
}

impl Choice {
    pub(super) fn port(&self) -> Port {
        Port {
            name: self.name.clone(),
            device: self.device_match.clone(),
            containers: vec![self.container.clone()],
            node: NodeSpec {
                path: Some(self.node.clone()),
                ..NodeSpec::default()
            },
            hold: None,
            on_plug: OnPlug::default(),
        }
    }
}

/// As the arguments say; the rest is asked for.
///
/// # Errors
/// There is no such device, or the operator has stopped answering.
pub(super) fn choose(
    arguments: &Arguments,
    inventory: &Inventory,
    can_ask: bool,
) -> anyhow::Result<Choice> {
    let devices = SerialDevices::new(inventory.devices.values().cloned());
    let device = match &arguments.device {
        Some(name) => devices.named(name).map_err(anyhow::Error::msg)?,
        None => ask_device(&devices)?,
    };
    let device_match = device_match(&devices, device, can_ask)?;
    let container = match &arguments.container {
        Some(container) => container.clone(),
        None => ask_container(inventory)?,
    };
    let node = node(arguments, device)?;
    Ok(Choice {
        name: name(arguments, &node)?,
        device: device.clone(),
        device_match,
        container,
        node,
    })
}

fn ask_device(devices: &SerialDevices) -> anyhow::Result<&Device> {
    let all = devices.0.values().filter(|device| !device.is_ignored());
    let all: Vec<&Device> = all.collect();
    if all.is_empty() {
        bail!("no serial device is plugged in; see ttyplugd ports");
    }
    let lines = all.iter().map(|device| line(devices, device));
    list("Serial devices", lines)?;
    let only = (all.len() == 1).then_some("1");
    ask("Device", only, |answer| match numbered(&all, answer) {
        Some(device) => Ok(*device),
        None => devices.named(answer).map_err(|reason| printable(&reason)),
    })
}

/// What distinguishes a device.
fn line(devices: &SerialDevices, device: &Device) -> String {
    let serial = device.property("ID_SERIAL_SHORT");
    let serial = serial.map(|serial| format!("serial {serial}"));
    let interface = device.property("ID_USB_INTERFACE_NUM");
    let interface = interface.map(|interface| format!("interface {interface}"));
    let place = device.property("ID_PATH").map(str::to_owned);
    let weak = devices.identity(device).weakness();
    let weak = weak.map(|_| "not unique".to_owned());
    let words = [Some(description(device)), serial, interface, place, weak];
    let words = words.into_iter().flatten().filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    format!("{}  {}", device.sysname, words.join(", "))
}

/// Asks on a terminal whether a device that its names do not identify is to be matched by its place.
fn device_match(
    devices: &SerialDevices,
    device: &Device,
    can_ask: bool,
) -> anyhow::Result<DeviceMatch> {
    let unique = devices.unique_match(device);
    let unique = unique.context("nothing distinguishes the device from the others")?;
    let Some(weakness) = devices.identity(device).weakness() else {
        return Ok(unique);
    };
    let weakness = printable(&format!("{} is not unique: {weakness}", device.sysname));
    let by_place = printable(&unique.to_string());
    if !can_ask {
        print_error(&format!(
            "{weakness}; it is matched by its place, {by_place}"
        ));
        return Ok(unique);
    }
    show(&format!("{weakness}.\n"))?;
    if confirm(&format!("Match it by its place, {by_place}"), true)? {
        return Ok(unique);
    }
    let of_its_kind = devices.match_of_its_kind(device);
    of_its_kind.context("another device of its kind is plugged in, so nothing was written")
}

fn ask_container(inventory: &Inventory) -> anyhow::Result<ContainerMatch> {
    let names: Vec<String> = inventory.containers.values().map(shown_name).collect();
    if !names.is_empty() {
        list("Containers", names.iter().cloned())?;
    }
    let question = "Container (a name, or PROJECT/SERVICE of compose)";
    let only = (names.len() == 1).then_some("1");
    ask(question, only, |answer| {
        let name = numbered(&names, answer).map_or(answer, String::as_str);
        name.parse().map_err(|reason| invalid(name, reason))
    })
}

/// `PROJECT/SERVICE` for one of compose's, whose own name may change.
fn shown_name(container: &Container) -> String {
    match compose_service(&container.labels, &container.own_labels()) {
        Some((project, service)) => format!("{project}/{service}"),
        None => container.name.clone(),
    }
}

/// Its path in the container. It is not asked for alone.
fn node(arguments: &Arguments, device: &Device) -> anyhow::Result<NodePath> {
    if let Some(node) = &arguments.node {
        return Ok(node.clone());
    }
    let default = match &arguments.name {
        Some(name) => format!("/dev/{name}"),
        None => device.node.to_string(),
    };
    let parse = |text: &str| text.parse().map_err(|reason| invalid(text, reason));
    match arguments.missing().is_empty() {
        true => parse(&default).map_err(|reason| anyhow::anyhow!("{reason}; choose a --node")),
        false => ask("Path in the container", Some(&default), parse),
    }
}

fn name(arguments: &Arguments, node: &NodePath) -> anyhow::Result<PortName> {
    if let Some(name) = &arguments.name {
        return Ok(name.clone());
    }
    let default = node.name().to_lowercase();
    let default = default.parse::<PortName>().is_ok().then_some(default);
    ask("Name of the port", default.as_deref(), |text| {
        text.parse().map_err(|reason| invalid(text, reason))
    })
}

fn list(title: &str, entries: impl Iterator<Item = String>) -> anyhow::Result<()> {
    show(&format!("{title}:\n"))?;
    for (number, entry) in entries.enumerate() {
        show(&format!("  {}) {}\n", number + 1, printable(&entry)))?;
    }
    Ok(())
}

/// The entry of a list that an answer is the number of.
fn numbered<'a, T>(entries: &'a [T], answer: &str) -> Option<&'a T> {
    let number: usize = answer.parse().ok()?;
    entries.get(number.checked_sub(1)?)
}

fn invalid(text: &str, reason: Invalid) -> String {
    printable(&format!("{text:?} {reason}"))
}
