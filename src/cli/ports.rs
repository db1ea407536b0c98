//! `ttyplugd ports`: the serial devices that are plugged in, and how to match each of them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{plain, print_json};
use crate::assign::shared_links;
use crate::device::Device;
use crate::model::NodePath;
use crate::monitor::enumerate;
use crate::selector::{MATCH_KEYS, values};

pub(super) fn run(as_json: bool) -> anyhow::Result<ExitCode> {
    let devices: BTreeMap<_, _> = enumerate()?
        .into_iter()
        .filter(is_serial)
        .map(|device| (device.sysname.clone(), device))
        .collect();
    let shared: Vec<NodePath> = shared_links(&devices).into_keys().cloned().collect();
    if as_json {
        let ports: Vec<Value> = devices.values().map(|d| as_value(d, &shared)).collect();
        print_json(&json!({ "schema": 1, "ports": ports }))?;
    } else if devices.is_empty() {
        println!(
            "No serial device is plugged in (or udevd is not running: udevadm control --ping)."
        );
    } else {
        for device in devices.values() {
            print(device, &shared);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Not the virtual consoles, and not the placeholders that the 8250 driver makes for UARTs that
/// the machine does not have (kernel, drivers/tty/serial/8250, `nr_uarts`).
fn is_serial(device: &Device) -> bool {
    let real = |driver: &str| driver != "serial8250";
    device.property("ID_BUS").is_some() || device.driver.as_deref().is_some_and(real)
}

fn note(device: &Device) -> &'static str {
    if device.is_ignored() {
        "excluded by a udev rule (TTYPLUGD_IGNORE)"
    } else if device.is_offered() {
        "offered to containers with ttyplugd.enable=true"
    } else {
        "given to containers by a [[port]] only"
    }
}

fn description(device: &Device) -> String {
    let word = |database, own| device.property(database).or(device.property(own));
    let words = [
        word("ID_VENDOR_FROM_DATABASE", "ID_VENDOR"),
        word("ID_MODEL_FROM_DATABASE", "ID_MODEL"),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn as_value(device: &Device, shared: &[NodePath]) -> Value {
    let properties: serde_json::Map<String, Value> = MATCH_KEYS
        .iter()
        .map(|key| ((*key).to_owned(), json!(values(device, key))))
        .collect();
    let not_unique: Vec<_> = device.links.iter().filter(|l| shared.contains(l)).collect();
    json!({
        "sysname": device.sysname,
        "node": device.node,
        "number": device.devnum,
        "description": description(device),
        "offered": device.is_offered(),
        "ignored": device.is_ignored(),
        "match": properties,
        "not_unique": not_unique,
        "snippet": snippet(device, shared),
    })
}

fn print(device: &Device, shared: &[NodePath]) {
    println!(
        "{}  {}  {}",
        device.node,
        device.devnum,
        plain(&description(device))
    );
    println!("  {}", note(device));
    for key in MATCH_KEYS {
        for value in values(device, key) {
            println!("  {key:<10} {}", plain(value));
        }
    }
    for link in device.links.iter().filter(|link| shared.contains(link)) {
        println!("  not unique: {link} is claimed by another device too; match by by-path");
    }
    println!();
    for line in snippet(device, shared).lines() {
        println!("    {line}");
    }
    println!();
}

/// A `[[port]]` that matches this device and, as far as can be told, no other one.
fn snippet(device: &Device, shared: &[NodePath]) -> String {
    let by_id_is_unique = device.links.iter().all(|link| !shared.contains(link));
    let keys: &[&str] = if device.property("ID_SERIAL_SHORT").is_some() && by_id_is_unique {
        &["vendor", "product", "serial", "interface"]
    } else if device.by_path_order().0.is_ascii() {
        &["by-path"]
    } else {
        &["sysname"]
    };
    let pairs: Vec<String> = keys
        .iter()
        .filter_map(|key| {
            let value = values(device, key).first().copied()?;
            Some(format!("{key} = {}", quote(&glob::Pattern::escape(value))))
        })
        .collect();
    format!(
        "[[port]]\nname = {}\nmatch = {{ {} }}\ncontainers = [\"CONTAINER\"]\n",
        quote(&device.sysname.to_lowercase()),
        pairs.join(", "),
    )
}

/// A TOML basic string. Its escapes are those of JSON, and DEL besides (TOML 1.0, "String").
fn quote(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{device, settings};

    #[test]
    fn a_snippet_is_a_configuration_that_matches_its_device_alone() {
        let hostile = "a\"b\\c\n[*]?\u{7f}é";
        let (mut first, second) = (device("ttyUSB0", "A"), device("ttyUSB1", "B"));
        first
            .properties
            .insert("ID_SERIAL_SHORT".into(), hostile.into());
        first.properties.insert("ID_MODEL_ID".into(), "0200".into());
        for (shared, expected) in [
            (vec![], "serial"),
            (first.links.iter().cloned().collect(), "by-path"),
        ] {
            let text = snippet(&first, &shared);
            assert!(text.contains(expected), "{text}");
            let port = &settings(&text).ports[0];
            assert!(port.device.matches(&first), "{text}");
            assert!(!port.device.matches(&second), "{text}");
        }
    }
}
