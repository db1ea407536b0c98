//! What the operator has to change in the definitions of containers, as lines to paste. ttyplugd
//! changes no definition itself.

use serde_json::json;

use crate::cli::output::printable;
use crate::cli::snapshot::Engines;
use crate::config::labels::compose_service;
use crate::engine::container::Mapping;
use crate::engine::daemon_json::RUNTIME;
use crate::engine::runtimes::EngineInfo;
use crate::model::NodePath;
use crate::model::device::Device;
use crate::model::inventory::{Container, ContainerId, EngineName};
use crate::model::port::Port;
use crate::model::selector::ContainerMatch;

/// How a container was created or will be, as far as ports are concerned.
pub(super) struct Definition {
    name: String,
    /// The program that creates it.
    command: String,
    /// The project and the service of compose.
    service: Option<(String, String)>,
    exists: bool,
    runtime: Runtime,
    mappings: Vec<Mapping>,
}

/// What holds early opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    InUse,
    Registered,
    Unknown,
}

impl Definition {
    /// Those of containers that still exist.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(super) async fn read(
        engines: &Engines,
        containers: impl Iterator<Item = (&ContainerId, &Container)>,
    ) -> anyhow::Result<Vec<Self>> {
        let mut definitions = Vec::new();
        for (id, container) in containers {
            let Some(engine) = engines.of(id) else {
                continue;
            };
            let Some(info) = engine.info().await? else {
                continue;
            };
            let described = engine.describe(id).await?;
            definitions.extend(described.map(|described| Self {
                name: container.name.clone(),
                command: command(&id.engine),
                service: compose_service(&container.labels, &container.own_labels()),
                exists: true,
                runtime: match info.is_ours(&described.runtime) {
                    true => Runtime::InUse,
                    false => Runtime::registered(&info),
                },
                mappings: described.mappings,
            }));
        }
        Ok(definitions)
    }

    /// That of a container that does not exist yet.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(super) async fn of_none(engines: &Engines, name: &ContainerMatch) -> anyhow::Result<Self> {
        let (engine, info) = match engines.all().next() {
            Some((name, engine)) => (name.clone(), engine.info().await?),
            None => (EngineName::DOCKER, None),
        };
        let info = info.unwrap_or_default();
        let service = match name {
            ContainerMatch::Service { project, service } => {
                Some((project.to_string(), service.to_string()))
            }
            ContainerMatch::Name(_) | ContainerMatch::Pod(_) | ContainerMatch::Label { .. } => None,
        };
        Ok(Self {
            name: name.to_string(),
            command: command(&engine),
            service,
            exists: false,
            runtime: Runtime::registered(&info),
            mappings: Vec::new(),
        })
    }

    /// What to change for a port that was added: what holds its early opens, and what makes the
    /// container depend on the device. Empty if nothing is left to do.
    pub(super) fn to_use(&self, device: &Device, node: &NodePath) -> String {
        let mappings = self.mappings.iter();
        let old = mappings.filter(|mapping| is_of(mapping, device, node));
        let old: Vec<_> = old.map(written).collect();
        let what = match self.runtime {
            Runtime::Unknown => {
                "add, after sudo ttyplugd runtime enable, so its early opens wait for the port"
            }
            Runtime::InUse | Runtime::Registered => "add, so its early opens wait for the port",
        };
        let add = section(what, &self.lines(self.runtime != Runtime::InUse, &[]));
        let what = "take out, since with it the container does not start without the device";
        self.changes(&[add, section(what, &self.lines(false, &old))].concat())
    }

    /// What to change after its last port was removed, and how it gets the device without ttyplugd.
    pub(super) fn to_do_without(&self, port: &Port, device: Option<&Device>) -> String {
        let mapping = device.zip(port.node.path.as_ref());
        let has = |device, node| self.mappings.iter().any(|its| is_of(its, device, node));
        let mapping = mapping.filter(|(device, node)| !has(device, node));
        let mapping = mapping.map(|(device, node)| format!("{}:{node}", stable(port, device)));
        let mapping: Vec<_> = mapping.into_iter().collect();
        let has_runtime = self.runtime == Runtime::InUse;
        let remove = section("take out", &self.lines(has_runtime, &[]));
        let what = "add, if it is to have the device at its start all the same";
        let add = section(what, &self.lines(false, &mapping));
        self.changes(&[remove, add].concat())
    }

    fn changes(&self, sections: &str) -> String {
        if sections.is_empty() {
            return String::new();
        }
        let place = match &self.service {
            Some((project, service)) => {
                format!("service {service} of the compose project {project}")
            }
            None => format!("the {} run of {}", self.command, self.name),
        };
        let what = match self.exists {
            true => format!("Change {place}, and create its container again"),
            false => format!("Write into {place}"),
        };
        let text = format!("{what}:\n{sections}");
        // The names are those that others have chosen.
        text.lines().map(|line| printable(line) + "\n").collect()
    }

    /// The lines of a service in a compose file, or options of `docker run`.
    fn lines(&self, runtime: bool, mappings: &[String]) -> Vec<String> {
        let is_compose = self.service.is_some();
        let runtime = runtime.then(|| match is_compose {
            true => format!("runtime: {RUNTIME}"),
            false => format!("--runtime {RUNTIME}"),
        });
        let head = (is_compose && !mappings.is_empty()).then(|| "devices:".to_owned());
        let mappings = mappings.iter().map(|mapping| match is_compose {
            true => format!("  - {}", quoted(mapping, is_compose)),
            false => format!("--device {}", quoted(mapping, is_compose)),
        });
        runtime.into_iter().chain(head).chain(mappings).collect()
    }
}

/// An engine that is called after its socket has Docker's API.
fn command(engine: &EngineName) -> String {
    engine.command().unwrap_or("docker").to_owned()
}

impl Runtime {
    /// It is not in use.
    fn registered(info: &EngineInfo) -> Self {
        match info.runtimes.contains_key(RUNTIME) {
            true => Self::Registered,
            false => Self::Unknown,
        }
    }
}

/// Whether a `--device` is this device, or stands where its node is to be.
fn is_of(mapping: &Mapping, device: &Device, node: &NodePath) -> bool {
    let names = device.links.iter().chain([&device.node]);
    let mut names = names.map(NodePath::as_str);
    names.any(|name| name == mapping.host) || mapping.container == node.as_str()
}

fn written(mapping: &Mapping) -> String {
    match mapping.host == mapping.container {
        true => mapping.host.clone(),
        false => format!("{}:{}", mapping.host, mapping.container),
    }
}

/// The name of a port's device that its match is about, or else the first of its links.
fn stable(port: &Port, device: &Device) -> NodePath {
    let mut spelt_out = port.known_links();
    let known = spelt_out.find(|link| device.links.contains(link));
    let first = || device.links.first().unwrap_or(&device.node).clone();
    known.unwrap_or_else(first)
}

/// A path as it may be pasted into a compose file or a shell: udev's links have words in them that a
/// device has chosen.
fn quoted(path: &str, is_compose: bool) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+@=".contains(c);
    match path.chars().all(is_plain) {
        true => path.to_owned(),
        // YAML has JSON's strings (YAML 1.2.2, 1.2).
        false if is_compose => json!(path).to_string(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

fn section(what: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("      {line}\n")).collect();
    format!("  {what}:\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::settings;
    use crate::model::fixtures::device;

    fn definition(service: bool, runtime: Runtime, devices: &[(&str, &str)]) -> Definition {
        let mapping = |(host, container): &(&str, &str)| Mapping {
            host: (*host).to_owned(),
            container: (*container).to_owned(),
        };
        Definition {
            name: "zwave-1".into(),
            command: "docker".into(),
            service: service.then(|| ("home".into(), "zwave".into())),
            exists: true,
            runtime,
            mappings: devices.iter().map(mapping).collect(),
        }
    }

    #[test]
    fn what_is_left_to_do_is_in_the_words_of_compose_or_of_docker_run() {
        let (device, node) = (device("ttyUSB0", "A1"), "/dev/zwave".parse().unwrap());
        let devices = [
            ("/dev/serial/by-id/usb-A1-if00", "/dev/zwave"),
            ("/dev/ttyUSB0", "/dev/ttyUSB0"),
            ("/dev/ttyUSB7\u{9b}", "/dev/zwave"),
            ("/dev/ttyUSB1", "/dev/meter"),
        ];
        let compose = definition(true, Runtime::Registered, &devices).to_use(&device, &node);
        assert_eq!(
            compose,
            "Change service zwave of the compose project home, and create its container again:\n  \
             add, so its early opens wait for the port:\n      runtime: ttyplug\n  \
             take out, since with it the container does not start without the device:\n      \
             devices:\n        - /dev/serial/by-id/usb-A1-if00:/dev/zwave\n        - /dev/ttyUSB0\n        \
             - \"/dev/ttyUSB7\u{fffd}:/dev/zwave\"\n"
        );
        let run = definition(false, Runtime::InUse, &devices[..1]).to_use(&device, &node);
        assert_eq!(
            run,
            "Change the docker run of zwave-1, and create its container again:\n  \
             take out, since with it the container does not start without the device:\n      \
             --device /dev/serial/by-id/usb-A1-if00:/dev/zwave\n"
        );
        let nothing = definition(false, Runtime::InUse, &devices[3..]).to_use(&device, &node);
        assert_eq!(nothing, "");
        let mut unknown = definition(false, Runtime::Unknown, &[]);
        unknown.command = command(&EngineName::PODMAN);
        let unknown = unknown.to_use(&device, &node);
        assert!(unknown.contains("the podman run of zwave-1"), "{unknown}");
        assert!(
            unknown.contains("sudo ttyplugd runtime enable"),
            "{unknown}"
        );
    }

    #[test]
    fn what_a_device_calls_itself_is_quoted_where_a_shell_or_yaml_would_read_it() {
        let (device, node) = (device("ttyUSB0", "A1"), "/dev/zwave".parse().unwrap());
        let devices = [("/dev/by-id/$(x) 'y'\"", "/dev/zwave")];
        let run = definition(false, Runtime::InUse, &devices).to_use(&device, &node);
        let word = r#"--device '/dev/by-id/$(x) '\''y'\''":/dev/zwave'"#;
        assert!(run.contains(word), "{run}");
        let compose = definition(true, Runtime::InUse, &devices).to_use(&device, &node);
        let entry = r#"- "/dev/by-id/$(x) 'y'\":/dev/zwave""#;
        assert!(compose.contains(entry), "{compose}");
    }

    #[test]
    fn what_is_to_undo_is_the_runtime_and_the_device() {
        let device = device("ttyUSB0", "A1");
        let port = |device_match: &str| {
            let port = format!(
                "[[port]]\nname = \"a\"\nmatch = {{ {device_match} }}\nnode = \"/dev/zwave\"\n"
            );
            settings(&port).ports[0].clone()
        };
        let by_serial = port("serial = \"A1\"");
        let used = definition(true, Runtime::InUse, &[]);
        assert_eq!(
            used.to_do_without(&by_serial, Some(&device)),
            "Change service zwave of the compose project home, and create its container again:\n  \
             take out:\n      runtime: ttyplug\n  add, if it is to have the device at its \
             start all the same:\n      devices:\n        \
             - /dev/serial/by-id/usb-A1-if00:/dev/zwave\n"
        );
        let by_path = port("by-path = \"ttyUSB0-A1\"");
        let by_path = used.to_do_without(&by_path, Some(&device));
        let expected = "- /dev/serial/by-path/ttyUSB0-A1:/dev/zwave\n";
        assert!(by_path.contains(expected), "{by_path}");
        let unused = definition(false, Runtime::Registered, &[]);
        assert_eq!(unused.to_do_without(&by_serial, None), "");
        let mapped = definition(false, Runtime::Registered, &[("/dev/ttyUSB0", "/dev/x")]);
        assert_eq!(mapped.to_do_without(&by_serial, Some(&device)), "");
    }
}
