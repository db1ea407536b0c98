//! The configuration file and its drop-ins, in typed stages: text → fragment (what was written)
//! → [`Settings`] (checked, nothing optional that need not be).
//!
//! Everything but [`load`] is pure.
//!
//! Imports: `model`.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::config::fragment::{AccountFragment, ContainerFragment, FileFragment, PortFragment};
use crate::config::settings::Settings;
use crate::model::PortName;
use crate::model::nearest::nearest;
use crate::model::port::{Port, Words};
use crate::model::selector::{ContainerMatch, DeviceMatch};

#[cfg(test)]
pub(crate) mod fixtures;
mod fragment;
pub mod labels;
pub mod settings;

/// A mistake in a configuration file: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub file: PathBuf,
    /// Counted from 1; `None` where the file as a whole is at fault.
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Reads the configuration from `file` and the `*.toml` files of the `conf.d` beside it, in
/// lexical order; a later setting and a later port of the same name replace the earlier ones.
/// None of them need exist.
///
/// # Errors
/// The mistakes of all files, so that they can be mended in one go.
pub fn load(file: &Path) -> Result<Settings, Vec<ConfigError>> {
    let unreadable = |file: &Path, error: std::io::Error| ConfigError {
        file: file.to_owned(),
        line: None,
        message: format!("cannot be read: {error}"),
    };
    let mut files = vec![file.to_owned()];
    let directory = file.with_file_name("conf.d");
    match std::fs::read_dir(&directory) {
        Ok(entries) => {
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let mut drop_ins: Vec<_> = paths
                .filter(|path| path.extension().is_some_and(|e| e == "toml"))
                .collect();
            drop_ins.sort();
            files.extend(drop_ins);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(vec![unreadable(&directory, error)]),
    }

    let mut texts = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => texts.push((file, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => errors.push(unreadable(&file, error)),
        }
    }
    match parse(&texts) {
        Ok(settings) if errors.is_empty() => Ok(settings),
        Ok(_) => Err(errors),
        Err(more) => Err(errors.into_iter().chain(more).collect()),
    }
}

/// Merges and checks the texts of the configuration files, in their order.
///
/// # Errors
/// The mistakes of all files.
pub fn parse(files: &[(PathBuf, String)]) -> Result<Settings, Vec<ConfigError>> {
    let mut settings = Settings::default();
    let mut errors = Vec::new();
    for (file, text) in files {
        let place = Place { file, text };
        let fragment = match toml::from_str::<FileFragment>(text) {
            Ok(fragment) => fragment,
            Err(error) => {
                errors.push(place.error(error.span(), with_nearest_key(error.message())));
                continue;
            }
        };
        if let Some(labels) = fragment.labels {
            settings.labels = labels;
        }
        if let Some(inject) = fragment.inject {
            settings.inject = inject;
        }
        if let Some(grant) = fragment.grant {
            settings.grant = grant;
        }
        if let Some(announce) = fragment.announce {
            settings.announce = announce;
        }
        let mut ports: Vec<Port> = Vec::new();
        for fragment in &fragment.port {
            match place.port(fragment) {
                Ok(port) if ports.iter().any(|known| known.name == port.name) => {
                    let message = format!("port {:?} is defined twice", port.name.as_str());
                    errors.push(place.error(Some(fragment.name.span()), message));
                }
                Ok(port) => ports.push(port),
                Err(more) => errors.extend(more),
            }
        }
        settings
            .ports
            .retain(|old| ports.iter().all(|new| new.name != old.name));
        settings.ports.extend(ports);
    }
    settings.ports.sort_by(|a, b| a.name.cmp(&b.name));
    if errors.is_empty() {
        Ok(settings)
    } else {
        Err(errors)
    }
}

/// A file being read, for saying where a mistake is.
struct Place<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn error(&self, span: Option<Range<usize>>, message: String) -> ConfigError {
        let line = span.map(|span| {
            let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
            before.iter().filter(|b| **b == b'\n').count() + 1
        });
        ConfigError {
            file: self.file.to_owned(),
            line,
            message,
        }
    }

    fn port(&self, fragment: &PortFragment) -> Result<Port, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut fail = |span, message| errors.push(self.error(Some(span), message));

        let name = fragment.name.get_ref();
        let checked_name = name.parse::<PortName>();
        if let Err(reason) = &checked_name {
            fail(fragment.name.span(), format!("name {name:?} {reason}"));
        }
        let table = fragment.r#match.get_ref();
        let pairs = table
            .iter()
            .map(|(k, v)| (k.get_ref().as_str(), v.get_ref().as_str()));
        let device = DeviceMatch::new(pairs);
        if let Err((key, reason)) = &device {
            let place = table.keys().find(|known| known.get_ref() == key);
            let span = place.map_or(fragment.r#match.span(), Spanned::span);
            fail(span, format!("port {name:?}: {key} {reason}"));
        }
        let mut containers = Vec::new();
        for container in &fragment.containers {
            let (text, parsed) = match container.get_ref() {
                ContainerFragment::Name(text) => (text, text.parse()),
                ContainerFragment::Label(text) => (text, ContainerMatch::label(text)),
            };
            match parsed {
                Ok(container) => containers.push(container),
                Err(reason) => fail(
                    container.span(),
                    format!("port {name:?}: containers: {text:?} {reason}"),
                ),
            }
        }
        let account =
            |a: &'_ Option<Spanned<AccountFragment>>| a.as_ref().map(|a| a.get_ref().0.clone());
        let (owner, group) = (account(&fragment.owner), account(&fragment.group));
        let words = Words {
            node: text(&fragment.node),
            mode: text(&fragment.mode),
            owner: owner.as_deref(),
            group: group.as_deref(),
            hold: text(&fragment.hold),
        }
        .check();
        if let Err(bad) = &words {
            fail(fragment.span_of(bad), format!("port {name:?}: {bad}"));
        }
        match (checked_name, device, words) {
            (Ok(name), Ok(device), Ok((node, hold))) if errors.is_empty() => Ok(Port {
                name,
                device,
                containers,
                node,
                hold,
            }),
            _ => Err(errors),
        }
    }
}

fn text(word: &Option<Spanned<String>>) -> Option<&str> {
    word.as_ref().map(|word| word.get_ref().as_str())
}

/// Adds "did you mean" to serde's sentence about an unknown key, which names the keys there are
/// (serde, `de::Error::unknown_field`: "unknown field `a`, expected one of `b`, `c`").
fn with_nearest_key(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return message.to_owned();
    }
    let Some(unknown) = quoted.next() else {
        return message.to_owned();
    };
    match nearest(unknown, quoted) {
        Some(known) => format!("unknown key {unknown:?}; did you mean {known:?}?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::LabelPolicy;

    fn parse_one(text: &str) -> Result<Settings, String> {
        let file = (PathBuf::from("config.toml"), text.to_owned());
        parse(&[file]).map_err(|errors| {
            let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        assert_eq!(parse(&[]), Ok(Settings::default()));
        assert_eq!(parse_one(""), Ok(Settings::default()));
    }

    #[test]
    fn every_word_of_a_port_is_read() {
        let settings = parse_one(
            r#"
            labels = "off"
            [[port]]
            name = "zwave"
            match = { vendor = "0658", product = "0200", by-id = "/dev/serial/by-id/usb-*" }
            containers = ["zwave-*", "home/zwave", { label = "role=zwave" }]
            node = "/dev/zwave"
            mode = "0600"
            owner = 1000
            group = "dialout"
            hold = "5m"
            "#,
        )
        .unwrap();
        assert_eq!(settings.labels, LabelPolicy::Off);
        let port = &settings.ports[0];
        assert_eq!(
            port.device.to_string(),
            "by-id=usb-*,product=0200,vendor=0658"
        );
        let containers: Vec<_> = port.containers.iter().map(ToString::to_string).collect();
        assert_eq!(containers, ["zwave-*", "home/zwave", "label role=zwave"]);
        assert_eq!(port.node.mode.to_string(), "0600");
        assert_eq!(port.node.owner.to_string(), "1000");
    }

    #[test]
    fn an_error_is_named_with_its_line_and_fix() {
        let port = "[[port]]\nname = \"a\"\nmatch = { vendor = \"1\" }\n";
        for (text, expected) in [
            (
                "prot = 1",
                r#"config.toml:1: unknown key "prot"; did you mean "port"?"#,
            ),
            (
                &format!("{port}contaners = []"),
                r#":4: unknown key "contaners"; did you mean "containers"?"#,
            ),
            (
                "[[port]]\nname = \"a\"\nmatch = { vender = \"1\" }",
                r#":3: port "a": vender is an unknown key; did you mean "vendor"?"#,
            ),
            (
                &format!("{port}mode = \"0999\""),
                r#":4: port "a": mode "0999" is not an octal mode"#,
            ),
            (&format!("{port}mode = 660"), ":4: invalid type: integer"),
            (
                &format!("{port}node = \"zwave\""),
                r#":4: port "a": node "zwave" is not an absolute path"#,
            ),
            (&format!("{port}node = \"/tmp/x\""), "outside /dev"),
            (&format!("{port}node = \"/dev/../x\""), "component"),
            (
                &format!("{port}containers = [\"[\"]"),
                ":4: port \"a\": containers: \"[\" is not a glob",
            ),
            (
                &format!("{port}containers = [{{ lable = \"a=b\" }}]"),
                "did you mean \"label\"?",
            ),
            (
                &format!("{port}containers = [{{ label = \"a\" }}]"),
                "is not KEY=VALUE",
            ),
            (
                &format!("{port}owner = -1"),
                ":4: port \"a\": owner \"-1\" is neither",
            ),
            (&format!("{port}{port}"), ":5: port \"a\" is defined twice"),
            (
                "[[port]]\nname = \"a b\"\nmatch = { vendor = \"[\" }",
                ":2: name \"a b\"",
            ),
            (
                "[[port]]\nname = \"a b\"\nmatch = { vendor = \"[\" }",
                ":3: port \"a b\": vendor is not a glob",
            ),
            ("[[port]]\nname = \"a\"\nmatch = {}", "match is empty"),
            ("[[port]]\nname = \"a\"", "missing field `match`"),
            ("labels = \"none\"", "unknown variant"),
            ("[[port", ":1: "),
        ] {
            let error = parse_one(text).unwrap_err();
            assert!(
                error.contains(expected),
                "{text}\n gave {error}\n not {expected}"
            );
        }
    }

    #[test]
    fn a_drop_in_replaces_a_port_of_the_same_name_and_adds_others() {
        let file = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
        let settings = parse(&[
            file(
                "config.toml",
                "labels = \"off\"\n[[port]]\nname = \"b\"\nmatch = { vendor = \"1\" }",
            ),
            file(
                "conf.d/10.toml",
                "[[port]]\nname = \"b\"\nmatch = { vendor = \"2\" }",
            ),
            file(
                "conf.d/20.toml",
                "[[port]]\nname = \"a\"\nmatch = { vendor = \"3\" }",
            ),
        ])
        .unwrap();
        let ports: Vec<_> = settings
            .ports
            .iter()
            .map(|p| p.device.to_string())
            .collect();
        assert_eq!(ports, ["vendor=3", "vendor=2"]);
        assert_eq!(settings.labels, LabelPolicy::Off);
    }

    #[test]
    fn the_mistakes_of_all_files_are_told_together() {
        let files = [("a", "x = 1"), ("b", "y = 1")].map(|(f, t)| (f.into(), t.to_owned()));
        assert_eq!(parse(&files).unwrap_err().len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = parse_one(&text);
        }
    }
}
