//! `ttyplugd ports`: the serial devices of this machine, and how to match each of them.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::output::{print, print_json, printable};
use crate::cli::serial_devices::{SerialDevices, description};
use crate::cli::snippet::Snippet;
use crate::model::device::Device;
use crate::model::match_key::{BY_PATH, LINK_DIRECTORIES, MatchKey};
use crate::model::selector::DeviceMatch;
use crate::monitor::enumerate;
use crate::plan::assign::shared_links;

pub(super) fn run(as_json: bool) -> anyhow::Result<ExitCode> {
    let devices = SerialDevices::new(enumerate()?);
    if as_json {
        print_json(&json!({ "schema": 1, "ports": devices.as_value() }))?;
    } else {
        print(&devices.as_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl SerialDevices {
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
                "identity": self.identity(device).word(),
                "not_unique": not_unique,
                "snippet": self.snippet(device),
            })
        };
        self.0.values().map(value).collect()
    }

    fn as_text(&self) -> String {
        if self.0.is_empty() {
            return "No serial device found (or udevd is not running: udevadm control --ping).\n"
                .to_owned();
        }
        self.0.values().map(|device| self.section(device)).collect()
    }

    fn section(&self, device: &Device) -> String {
        let Device { node, devnum, .. } = device;
        let title = format!("{node}  {devnum}  {}", description(device));
        let mut lines = vec![
            printable(title.trim_end()),
            format!("  {}", availability(device)),
        ];
        for key in MatchKey::ALL {
            let values = device.values(*key).into_iter();
            let values = values.filter(|value| !is_shown_elsewhere(*key, value, device));
            lines.extend(values.map(|value| format!("  {:<10} {}", key.name(), printable(value))));
        }
        lines.extend(self.not_unique(device));
        lines.push(String::new());
        let snippet = self.snippet(device);
        lines.extend(snippet.lines().map(|line| format!("    {line}")));
        lines.join("\n") + "\n\n"
    }

    /// The line for a device that its names do not identify.
    fn not_unique(&self, device: &Device) -> Option<String> {
        let why = self.identity(device).weakness()?;
        let shared = shared_links(&self.0);
        // Some chips with several ports have one path for all of them.
        let has_own_path = device
            .links
            .iter()
            .any(|link| link.directory() == BY_PATH && !shared.contains_key(link));
        let advice = match has_own_path {
            true => "match it by its USB socket (by-path)",
            false => "only its kernel name (sysname) is unique, and it may change",
        };
        Some(format!("  not unique: {}; {advice}", printable(&why)))
    }

    /// A `[[port]]` that matches this device alone. Its node stays the same, so early opens of it are
    /// known.
    fn snippet(&self, device: &Device) -> String {
        let snippet = |found: DeviceMatch| {
            let snippet = Snippet {
                name: &device.sysname.to_lowercase(),
                device: &found,
                container: "CONTAINER",
                node: device.node.as_str(),
            };
            snippet.to_string()
        };
        self.unique_match(device).map(snippet).unwrap_or_default()
    }
}

/// Whether it is a name that `by-id`, `by-path` or the title shows.
fn is_shown_elsewhere(key: MatchKey, value: &str, device: &Device) -> bool {
    let path = format!("/dev/{value}");
    let in_its_directory = |directory: &&str| path.starts_with(*directory);
    key == MatchKey::Link
        && (path == device.node.as_str() || LINK_DIRECTORIES.iter().any(in_its_directory))
}

/// Which containers can get the device.
fn availability(device: &Device) -> &'static str {
    if device.is_ignored() {
        "excluded by a udev rule (TTYPLUGD_IGNORE)"
    } else if device.is_offered() {
        "offered to containers with ttyplugd.enable=true"
    } else {
        "needs a [[port]]"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::settings;
    use crate::model::fixtures::{self, device};

    /// `tests/golden/ports/NN-name/` has `devices/*`, and the text for them in `expected`.
    #[test]
    fn golden() {
        fixtures::golden("ports", |directory| {
            let ports = SerialDevices::new(fixtures::devices(&directory.join("devices")));
            ports.as_text()
        });
    }

    #[test]
    fn a_snippet_is_a_configuration_that_matches_its_device_alone() {
        let hostile = "a\"b\\c\n[*]?\u{7f}\u{9b}é";
        let (mut first, second) = (device("ttyUSB0", "A3X9"), device("ttyUSB1", "B7Y2"));
        first.properties.insert("ID_MODEL_ID".into(), "0200".into());
        for (serial, expected) in [
            (Some(hostile), "serial"),
            // In a match these are the same as without the marks and blanks.
            (Some("\"A3X9\""), "by-id"),
            (Some("'A3X9'"), "by-id"),
            (Some(" A3X9\t"), "by-id"),
            (None, "by-path"),
        ] {
            first.properties.remove("ID_SERIAL_SHORT");
            let serial = serial.map(|serial| ("ID_SERIAL_SHORT".to_owned(), serial.to_owned()));
            first.properties.extend(serial);
            let ports = SerialDevices::new([first.clone(), second.clone()]);
            let text = ports.snippet(&first);
            assert!(text.contains(expected), "{text}");
            assert!(
                text.chars().all(|c| c == '\n' || !c.is_control()),
                "{text:?}"
            );
            let port = &settings(&text).ports[0];
            assert!(port.device.matches(&first), "{text}");
            assert!(!port.device.matches(&second), "{text}");
            assert_eq!(port.node.path.as_ref(), Some(&first.node));
        }
    }

    #[test]
    fn the_json_says_what_identifies_a_device() {
        let (first, mut second) = (device("ttyUSB0", "A3X9"), device("ttyUSB1", "B7Y2"));
        second.properties.remove("ID_SERIAL_SHORT");
        let values = SerialDevices::new([first, second]).as_value();
        assert_eq!(values[0]["identity"], "serial");
        assert_eq!(values[1]["identity"], "no-serial");
    }
}
