//! `ttyplugd ports`: the serial devices that are plugged in, and how to match each of them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{plain, print, print_json};
use crate::assign::shared_links;
use crate::device::{Device, LINK_DIRECTORIES};
use crate::model::NodePath;
use crate::monitor::enumerate;
use crate::selector::{MATCH_KEYS, values};

pub(super) fn run(as_json: bool) -> anyhow::Result<ExitCode> {
    let devices: BTreeMap<_, _> = enumerate()?
        .into_iter()
        .filter(Device::is_serial)
        .map(|device| (device.sysname.clone(), device))
        .collect();
    let shared: Vec<NodePath> = shared_links(&devices).into_keys().cloned().collect();
    if as_json {
        let ports: Vec<Value> = devices.values().map(|d| as_value(d, &shared)).collect();
        print_json(&json!({ "schema": 1, "ports": ports }))?;
    } else if devices.is_empty() {
        print(
            "No serial device is plugged in (or udevd is not running: udevadm control --ping).\n",
        )?;
    } else {
        let texts = devices.values().map(|device| as_text(device, &shared));
        print(&texts.collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
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

fn as_text(device: &Device, shared: &[NodePath]) -> String {
    let mut lines = vec![
        format!(
            "{}  {}  {}",
            device.node,
            device.devnum,
            plain(&description(device))
        ),
        format!("  {}", note(device)),
    ];
    for key in MATCH_KEYS {
        let values = values(device, key).into_iter();
        lines.extend(values.map(|value| format!("  {key:<10} {}", plain(value))));
    }
    for link in device.links.iter().filter(|link| shared.contains(link)) {
        lines.push(format!(
            "  not unique: {link} is claimed by another device too; match by by-path"
        ));
    }
    lines.push(String::new());
    let snippet = snippet(device, shared);
    lines.extend(snippet.lines().map(|line| format!("    {line}")));
    lines.join("\n") + "\n\n"
}

/// A `[[port]]` that matches this device and, as far as can be told, no other one.
fn snippet(device: &Device, shared: &[NodePath]) -> String {
    let by_id_is_unique = device.links.iter().all(|link| !shared.contains(link));
    let keys: &[&str] = if device.property("ID_SERIAL_SHORT").is_some() && by_id_is_unique {
        &["vendor", "product", "serial", "interface"]
    } else if device.link_names(LINK_DIRECTORIES[1]).next().is_some() {
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

/// A TOML basic string. Its escapes are those of JSON (TOML 1.0, "String"); all control characters
/// are escaped, since they would reach the terminal.
fn quote(text: &str) -> String {
    let quoted = json!(text).to_string();
    let escaped = quoted.chars().map(|c| match c {
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{device, settings};

    #[test]
    fn a_snippet_is_a_configuration_that_matches_its_device_alone() {
        let hostile = "a\"b\\c\n[*]?\u{7f}\u{9b}é";
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
            assert!(
                text.chars().all(|c| c == '\n' || !c.is_control()),
                "{text:?}"
            );
            let port = &settings(&text).ports[0];
            assert!(port.device.matches(&first), "{text}");
            assert!(!port.device.matches(&second), "{text}");
        }
    }
}
