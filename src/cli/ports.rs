//! `ttyplugd ports`: the serial devices that are plugged in, and how to match each of them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::output::{plain, print, print_json};
use crate::model::device::Device;
use crate::model::identity::{Identity, identity};
use crate::model::match_key::{BY_PATH, MatchKey};
use crate::model::selector::DeviceMatch;
use crate::monitor::enumerate;
use crate::plan::assign::shared_links;

pub(super) fn run(as_json: bool) -> anyhow::Result<ExitCode> {
    let ports = Ports::new(enumerate()?);
    if as_json {
        print_json(&json!({ "schema": 1, "ports": ports.as_value() }))?;
    } else {
        print(&ports.as_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The serial devices by sysname. Whether one can be told from another depends on all of them.
struct Ports(BTreeMap<String, Device>);

impl Ports {
    fn new(devices: impl IntoIterator<Item = Device>) -> Self {
        let serial = devices.into_iter().filter(Device::is_serial);
        Self(serial.map(|d| (d.sysname.clone(), d)).collect())
    }

    fn as_value(&self) -> Vec<Value> {
        let shared = shared_links(&self.0);
        let value = |device: &Device| {
            let properties: serde_json::Map<String, Value> = MatchKey::ALL
                .iter()
                .map(|key| (key.name().to_owned(), json!(device.values(*key))))
                .collect();
            let links = device.links.iter();
            let not_unique: Vec<_> = links.filter(|link| shared.contains_key(link)).collect();
            json!({
                "sysname": device.sysname,
                "node": device.node,
                "number": device.devnum,
                "description": description(device),
                "offered": device.is_offered(),
                "ignored": device.is_ignored(),
                "match": properties,
                "identity": identity(device, &self.0).word(),
                "not_unique": not_unique,
                "snippet": self.snippet(device),
            })
        };
        self.0.values().map(value).collect()
    }

    fn as_text(&self) -> String {
        if self.0.is_empty() {
            return "No serial device is plugged in (or udevd is not running: \
                    udevadm control --ping).\n"
                .to_owned();
        }
        let shared = shared_links(&self.0);
        let texts = self.0.values().map(|device| {
            let first = format!(
                "{}  {}  {}",
                device.node,
                device.devnum,
                description(device)
            );
            let mut lines = vec![plain(first.trim_end()), format!("  {}", note(device))];
            for key in MatchKey::ALL {
                let values = device.values(*key).into_iter();
                lines.extend(values.map(|value| format!("  {:<10} {}", key.name(), plain(value))));
            }
            if let Some(why) = identity(device, &self.0).weakness() {
                // Some chips with several ports have one path for all of them.
                let mut paths = device
                    .links
                    .iter()
                    .filter(|link| link.directory() == BY_PATH && !shared.contains_key(link));
                let place = match paths.next() {
                    Some(_) => "match it by where it is plugged in (by-path)",
                    None => "only its name (sysname) is its own, and that may change",
                };
                lines.push(format!("  not unique: {}; {place}", plain(&why)));
            }
            lines.push(String::new());
            let snippet = self.snippet(device);
            lines.extend(snippet.lines().map(|line| format!("    {line}")));
            lines.join("\n") + "\n\n"
        });
        texts.collect()
    }

    /// A `[[port]]` that matches this device alone, now and when a second one of its kind comes.
    fn snippet(&self, device: &Device) -> String {
        let candidates: &[&[MatchKey]] = match identity(device, &self.0) {
            Identity::Serial => &[
                &[
                    MatchKey::Vendor,
                    MatchKey::Product,
                    MatchKey::Serial,
                    MatchKey::Interface,
                ],
                // Ports on one interface differ in nothing but their names.
                &[MatchKey::ById],
                &[MatchKey::ByPath],
            ],
            _ => &[&[MatchKey::ByPath]],
        };
        let only = candidates.iter().map(|keys| pairs(device, keys));
        let pairs = only
            .filter(|pairs| self.is_only(device, pairs))
            .chain([pairs(device, &[MatchKey::Sysname])])
            .next()
            .unwrap_or_default();
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{key} = {}", quote(value)))
            .collect();
        format!(
            "[[port]]\nname = {}\nmatch = {{ {} }}\ncontainers = [\"CONTAINER\"]\n",
            quote(&device.sysname.to_lowercase()),
            pairs.join(", "),
        )
    }

    /// Whether a match has no other device that is plugged in.
    fn is_only(&self, device: &Device, pairs: &[(&str, String)]) -> bool {
        let pairs = pairs.iter().map(|(key, value)| (*key, value.as_str()));
        DeviceMatch::new(pairs).is_ok_and(|this| {
            let mut others = self.0.values().filter(|d| d.sysname != device.sysname);
            !others.any(|other| this.matches(other))
        })
    }
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

/// What a device has under these keys, as globs that match nothing else.
fn pairs(device: &Device, keys: &[MatchKey]) -> Vec<(&'static str, String)> {
    let pair = |key: &MatchKey| {
        let value = device.values(*key).first().copied()?;
        Some((key.name(), glob::Pattern::escape(value)))
    };
    keys.iter().filter_map(pair).collect()
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
    use crate::config::fixtures::settings;
    use crate::model::fixtures::{self, device};

    /// `tests/golden/ports/NN-name/` has `devices/*`, and in `expected` what is printed of them.
    #[test]
    fn golden() {
        fixtures::golden("ports", |directory| {
            let ports = Ports::new(fixtures::devices(&directory.join("devices")));
            ports.as_text()
        });
    }

    #[test]
    fn a_snippet_is_a_configuration_that_matches_its_device_alone() {
        let hostile = "a\"b\\c\n[*]?\u{7f}\u{9b}é";
        let (mut first, second) = (device("ttyUSB0", "A3X9"), device("ttyUSB1", "B7Y2"));
        first.properties.insert("ID_MODEL_ID".into(), "0200".into());
        for (serial, expected) in [(Some(hostile), "serial"), (None, "by-path")] {
            first.properties.remove("ID_SERIAL_SHORT");
            let serial = serial.map(|serial| ("ID_SERIAL_SHORT".to_owned(), serial.to_owned()));
            first.properties.extend(serial);
            let ports = Ports::new([first.clone(), second.clone()]);
            let text = ports.snippet(&first);
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

    #[test]
    fn programs_are_told_what_tells_a_device_apart() {
        let (first, mut second) = (device("ttyUSB0", "A3X9"), device("ttyUSB1", "B7Y2"));
        second.properties.remove("ID_SERIAL_SHORT");
        let values = Ports::new([first, second]).as_value();
        assert_eq!(values[0]["identity"], "serial");
        assert_eq!(values[1]["identity"], "no-serial");
    }
}
