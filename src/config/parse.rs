//! Text → fragment (as written) → [`Settings`] (checked). Pure.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::config::fragment::{ContainerFragment, FileFragment, PortFragment};
use crate::config::settings::Settings;
use crate::config::syntax::explained;
use crate::model::PortName;
use crate::model::port::{Optional, Port, parse_optional};
use crate::model::selector::{ContainerMatch, DeviceMatch};

/// An error in a configuration file: where, what, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub file: PathBuf,
    /// Counted from 1; `None` is the whole file.
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

/// Merges and checks the texts of the configuration files, in their order.
///
/// # Errors
/// The errors of all files together.
pub fn parse(files: &[(PathBuf, String)]) -> Result<Settings, Vec<ConfigError>> {
    let mut settings = Settings::default();
    let mut errors = Vec::new();
    for (file, text) in files {
        let mut reader = Reader {
            file,
            text,
            errors: &mut errors,
        };
        if let Some(fragment) = reader.fragment() {
            let ports = reader.ports(&fragment.port);
            let engines = reader.engines(fragment.engines.as_deref());
            settings.override_with(&fragment, engines, ports);
        }
    }
    settings.ports.sort_by(|a, b| a.name.cmp(&b.name));
    match errors.is_empty() {
        true => Ok(settings),
        false => Err(errors),
    }
}

impl Settings {
    fn override_with(
        &mut self,
        fragment: &FileFragment,
        engines: Option<Vec<String>>,
        ports: Vec<Port>,
    ) {
        let FileFragment {
            engines: _,
            labels,
            inject,
            grant,
            announce,
            holds,
            held_per_process,
            port: _,
        } = fragment;
        self.engines = engines.or(self.engines.take());
        self.labels = labels.unwrap_or(self.labels);
        self.inject = inject.unwrap_or(self.inject);
        self.grant = grant.unwrap_or(self.grant);
        self.announce = announce.unwrap_or(self.announce);
        self.holds = holds.unwrap_or(self.holds);
        self.held_per_process = held_per_process.map(u16::from).or(self.held_per_process);
        self.ports
            .retain(|old| ports.iter().all(|new| new.name != old.name));
        self.ports.extend(ports);
    }
}

/// Reads one file. Every function adds what it finds wrong to `errors`, and returns nothing then.
struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn fragment(&mut self) -> Option<FileFragment> {
        toml::from_str(self.text)
            .map_err(|error| {
                let message = explained(error.message(), error.span(), self.text);
                self.error(error.span(), message);
            })
            .ok()
    }

    /// The paths of the engines' sockets.
    fn engines(&mut self, engines: Option<&[Spanned<String>]>) -> Option<Vec<String>> {
        let mut sockets: Vec<String> = Vec::new();
        for engine in engines? {
            let text = engine.get_ref();
            let error = match text.strip_prefix("unix://") {
                Some(path) if sockets.iter().any(|known| known == path) => "is given twice",
                Some(path) if path.starts_with('/') => {
                    sockets.push(path.to_owned());
                    continue;
                }
                _ => "is not unix:// and the path of a socket",
            };
            self.error(Some(engine.span()), format!("engines: {text:?} {error}"));
        }
        Some(sockets)
    }

    /// The valid ports of a file.
    fn ports(&mut self, fragments: &[PortFragment]) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        for fragment in fragments {
            let Some(port) = self.port(fragment) else {
                continue;
            };
            if ports.iter().any(|known| known.name == port.name) {
                let message = format!("port {:?} is defined twice", port.name.as_str());
                self.error(Some(fragment.name.span()), message);
            } else {
                ports.push(port);
            }
        }
        ports
    }

    fn port(&mut self, fragment: &PortFragment) -> Option<Port> {
        let name = self.name(&fragment.name);
        let device = self.device_match(fragment);
        let containers = self.containers(fragment);
        let optional = self.optional(fragment);
        let optional = optional?;
        Some(Port {
            name: name?,
            device: device?,
            containers: containers?,
            node: optional.node,
            hold: optional.hold,
            on_plug: optional.on_plug,
        })
    }

    fn name(&mut self, name: &Spanned<String>) -> Option<PortName> {
        let text = name.get_ref();
        text.parse()
            .map_err(|reason| self.error(Some(name.span()), format!("name {text:?} {reason}")))
            .ok()
    }

    fn device_match(&mut self, fragment: &PortFragment) -> Option<DeviceMatch> {
        let table = fragment.r#match.get_ref();
        let globs = table.iter();
        let globs = globs.map(|(k, v)| (k.get_ref().as_str(), v.get_ref().as_str()));
        DeviceMatch::new(globs)
            .map_err(|error| {
                let key = table.keys().find(|key| *key.get_ref() == error.key);
                let span = key.map_or(fragment.r#match.span(), Spanned::span);
                self.error_of_port(fragment, span, error);
            })
            .ok()
    }

    fn containers(&mut self, fragment: &PortFragment) -> Option<Vec<ContainerMatch>> {
        let mut containers = Vec::new();
        for container in &fragment.containers {
            let (text, parsed) = match container.get_ref() {
                ContainerFragment::Name(text) => (text, text.parse()),
                ContainerFragment::Label(text) => (text, ContainerMatch::label(text)),
            };
            match parsed {
                Ok(container) => containers.push(container),
                Err(reason) => {
                    let message = format!("containers: {text:?} {reason}");
                    self.error_of_port(fragment, container.span(), message);
                }
            }
        }
        (containers.len() == fragment.containers.len()).then_some(containers)
    }

    fn optional(&mut self, fragment: &PortFragment) -> Option<Optional> {
        let value = |key| fragment.optional(key).map(|(value, _)| value);
        parse_optional(value)
            .map_err(|error| {
                let written = fragment.optional(error.key);
                let span = written.map_or(fragment.name.span(), |(_, span)| span);
                self.error_of_port(fragment, span, error);
            })
            .ok()
    }

    fn error_of_port(
        &mut self,
        fragment: &PortFragment,
        span: Range<usize>,
        message: impl fmt::Display,
    ) {
        let name = fragment.name.get_ref();
        self.error(Some(span), format!("port {name:?}: {message}"));
    }

    fn error(&mut self, span: Option<Range<usize>>, message: String) {
        let line = span.map(|span| {
            let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
            before.iter().filter(|b| **b == b'\n').count() + 1
        });
        self.errors.push(ConfigError {
            file: self.file.to_owned(),
            line,
            message,
        });
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
    fn every_key_of_a_port_is_read() {
        let settings = parse_one(
            r#"
            engines = ["unix:///run/podman/podman.sock"]
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
            on-plug = "signal HUP"
            "#,
        )
        .unwrap();
        let podman = vec!["/run/podman/podman.sock".to_owned()];
        assert_eq!(settings.engines, Some(podman));
        assert_eq!(settings.labels, LabelPolicy::Off);
        let port = &settings.ports[0];
        assert_eq!(
            port.device.to_string(),
            "vendor=0658,product=0200,by-id=usb-*"
        );
        let containers: Vec<_> = port.containers.iter().map(ToString::to_string).collect();
        assert_eq!(containers, ["zwave-*", "home/zwave", "label role=zwave"]);
        assert_eq!(port.node.mode, "0600".parse().ok());
        assert_eq!(port.node.owner.to_string(), "1000");
        assert_eq!(port.on_plug, "signal HUP".parse().unwrap());
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
            (
                &format!("{port}mode = 0660"),
                r#":4: 0660 needs quotation marks: mode = "0660""#,
            ),
            (
                &format!("{port}mode = 0o660"),
                r#":4: 0o660 needs quotation marks: mode = "0o660""#,
            ),
            (
                &format!("{port}mode = \"432\""),
                r#":4: port "a": mode "432" has no leading zero"#,
            ),
            (
                "[[port]]\nname = \"a\"\nmatch = { vendor = 0658 }",
                r#":3: 0658 needs quotation marks: vendor = "0658""#,
            ),
            (
                "[[port]]\nname = \"a\"\nmatch = { vendor = \"1cf1:0030\" }",
                r#":3: port "a": vendor "1cf1:0030" is two ids"#,
            ),
            (
                &format!("{port}on-plug = \"reboot\""),
                r#":4: port "a": on-plug "reboot" is not "none", "restart" or a signal"#,
            ),
            (
                &format!("{port}node = \"zwave\""),
                r#":4: port "a": node "zwave" is not an absolute path"#,
            ),
            (
                &format!("{port}placeholder = true"),
                r#":4: port "a": placeholder "true" needs a `node`"#,
            ),
            (
                &format!("{port}node = \"/dev/a\"\nplaceholder = true\nhold = \"off\""),
                r#":5: port "a": placeholder "true" needs a hold"#,
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
                "[[port]]\nname = \"a b\"\nmatch = { serial = \"[\" }",
                ":2: name \"a b\"",
            ),
            (
                "[[port]]\nname = \"a b\"\nmatch = { serial = \"[\" }",
                ":3: port \"a b\": serial is not a glob",
            ),
            ("[[port]]\nname = \"a\"\nmatch = {}", "match is empty"),
            ("[[port]]\nname = \"a\"", "missing field `match`"),
            ("labels = \"none\"", "unknown variant"),
            (
                "engines = [\"tcp://x\"]",
                r#":1: engines: "tcp://x" is not unix:// and the path"#,
            ),
            (
                "engines = [\"unix:///a\", \"unix:///a\"]",
                r#":1: engines: "unix:///a" is given twice"#,
            ),
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
        assert_eq!(ports, ["vendor=0003", "vendor=0002"]);
        assert_eq!(settings.labels, LabelPolicy::Off);
    }

    #[test]
    fn the_errors_of_all_files_are_reported_together() {
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
