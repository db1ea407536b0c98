//! What `add` will do: the file for a port, if nothing forbids it. Pure.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::port_file;
use crate::cli::configuration::Configuration;
use crate::config::labels::{LabelError, compose_service, port_requests};
use crate::config::settings::Settings;
use crate::model::inventory::{Container, ContainerId, Inventory};
use crate::model::port::Port;
use crate::plan::assign::{Assignment, assign};
use crate::plan::last_devices::LastDevices;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) file: PathBuf,
    pub(super) text: String,
    /// The containers that the port is meant for.
    pub(super) users: Vec<ContainerId>,
    /// What the operator should know before it is done.
    pub(super) warnings: Vec<String>,
}

/// Plans a port beside those that there are.
///
/// # Errors
/// Its name or its node is another port's.
pub(super) fn plan(
    configuration: &Configuration,
    inventory: &Inventory,
    port: &Port,
) -> anyhow::Result<Plan> {
    let file = configuration.file_of(&port.name);
    if let Some(other) = configuration.definer(&port.name, &file) {
        bail!(
            "port {} is defined in {}: choose another name, or remove it there",
            port.name,
            other.display()
        );
    }
    let text = port_file::text(port).context("the port has no node or no container")?;
    let settings = valid(configuration, &file, &text)?;
    defined_by_no_label(&settings, inventory, port)?;
    let assigned = assign(&settings, inventory, &LastDevices::default());
    let users = users(&settings, inventory, port);
    let assignments = users.iter().filter_map(|id| assigned.by_container.get(id));
    let assignments: Vec<_> = assignments.collect();
    free_node(&settings, &assignments, port)?;
    Ok(Plan {
        warnings: warnings(&assignments, port),
        users,
        file,
        text,
    })
}

/// All files together.
fn valid(configuration: &Configuration, file: &Path, text: &str) -> anyhow::Result<Settings> {
    configuration.with(file, Some(text)).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", errors.join("; "))
    })
}

/// Two ports of one name in a container could not be told apart in its status.
fn defined_by_no_label(
    settings: &Settings,
    inventory: &Inventory,
    port: &Port,
) -> anyhow::Result<()> {
    for container in inventory.containers.values() {
        let labels = container.counting_labels(settings.labels);
        let requests = port_requests(&labels, settings.labels, &settings.ports);
        let own = requests.unwrap_or_default().own;
        ensure!(
            own.iter().all(|own| own.name != port.name),
            "port {0} is defined by the label ttyplugd.port.{0}.match of container {1}: choose another \
             name, or create the container without it",
            port.name,
            container.name
        );
    }
    Ok(())
}

/// The containers that the port is meant for.
fn users(settings: &Settings, inventory: &Inventory, port: &Port) -> Vec<ContainerId> {
    let is_user = |container: &Container| {
        let own = container.counting_labels(settings.labels);
        let service = compose_service(&container.labels, &own);
        let mut containers = port.containers.iter();
        containers.any(|c| c.matches(&container.name, service.as_ref(), &own))
    };
    let containers = inventory.containers.iter();
    let users = containers.filter(|(_, container)| is_user(container));
    users.map(|(id, _)| id.clone()).collect()
}

/// No other port of its containers may have its node, be it plugged in or not.
fn free_node(
    settings: &Settings,
    assignments: &[&Result<Assignment, LabelError>],
    port: &Port,
) -> anyhow::Result<()> {
    // These may have containers that do not exist yet.
    let alike = settings
        .ports
        .iter()
        .filter(|other| other.containers == port.containers);
    let alike = alike.filter_map(|other| Some((other.name.to_string(), other.known_node()?)));
    let ports = assignments.iter().copied().flatten();
    let others = alike.chain(ports.flat_map(Assignment::nodes));
    let Some(node) = &port.node.path else {
        return Ok(());
    };
    for (other, path) in others.filter(|(other, _)| other != port.name.as_str()) {
        ensure!(
            !node.clashes_with(&path),
            "port {other} has {path} in the same container: choose another --node"
        );
    }
    Ok(())
}

/// What else keeps the containers from getting all of the port.
fn warnings(assignments: &[&Result<Assignment, LabelError>], port: &Port) -> Vec<String> {
    let mut warnings = Vec::new();
    for assignment in assignments {
        match assignment {
            Err(error) => warnings.push(format!("{error}; its container gets no ports")),
            Ok(assignment) => {
                let conflicts = assignment.conflicts.iter();
                let own = conflicts.filter(|conflict| conflict.port() == port.name.as_str());
                warnings.extend(own.map(|conflict| format!("{conflict}; {}", conflict.fix())));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::arguments::Arguments;
    use super::super::choice::choose;
    use super::*;
    use crate::config::fixtures::settings;
    use crate::model::device::Device;
    use crate::model::fixtures::{container, device, devices};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    const OTHER: &str = "[[port]]\nname = \"other\"\nmatch = { serial = \"B7Y2\" }\n\
                         containers = [\"app\"]\nnode = \"/dev/other\"\n";

    fn inventory(devices: &[Device], containers: &[Container]) -> Inventory {
        let devices = devices.iter().map(|d| (d.sysname.clone(), d.clone()));
        let id = |container: &Container| ContainerId::of_docker(container.name.clone());
        Inventory {
            devices: devices.collect(),
            containers: containers.iter().map(|c| (id(c), c.clone())).collect(),
            ..Inventory::default()
        }
    }

    /// What `ttyplugd add ARGUMENTS` plans beside these files.
    fn plan_of(
        arguments: &str,
        files: &[(&str, &str)],
        inventory: &Inventory,
    ) -> anyhow::Result<Plan> {
        let files = files.iter().map(|(f, text)| ((*f).into(), (*text).into()));
        let configuration = Configuration::new(Path::new("/etc/config.toml"), files.collect());
        let words = ["add"].into_iter().chain(arguments.split(' '));
        let Command { arguments } = Command::try_parse_from(words)?;
        let choice = choose(&arguments, inventory, false)?;
        plan(&configuration.unwrap(), inventory, &choice.port())
    }

    #[track_caller]
    fn refused(arguments: &str, files: &[(&str, &str)], inventory: &Inventory, words: &[&str]) {
        let error = plan_of(arguments, files, inventory)
            .unwrap_err()
            .to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn every_device_becomes_a_port_that_is_it_alone() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ports");
        let directories = std::fs::read_dir(golden).unwrap();
        let mut all: Vec<Vec<Device>> = directories
            .map(|directory| devices(&directory.unwrap().path().join("devices")))
            .collect();
        // What a device may say of itself.
        for serial in [
            "a\"b\\c\n[*]?\u{7f}\u{9b}é",
            "\"A\"",
            " A ",
            "*",
            "\"\"\"\u{202e}",
            "A\"\nnode = \"/dev/x\"\n#",
        ] {
            let mut hostile = device("ttyUSB0", "X");
            let property = "ID_SERIAL_SHORT".to_owned();
            hostile.properties.insert(property, serial.to_owned());
            all.push(vec![hostile, device("ttyUSB1", "A")]);
        }
        let mut number = 0;
        for these in &all {
            let inventory = inventory(these, &[]);
            for its in these.iter().filter(|d| d.is_serial() && !d.is_ignored()) {
                let arguments = format!("x --device {} --container app", its.sysname);
                let text = plan_of(&arguments, &[], &inventory).unwrap().text;
                let is_shown = |c: char| c == '\n' || !c.is_control();
                assert!(text.chars().all(is_shown), "{text:?}");
                let port = &settings(&text).ports[0];
                let found = these.iter().filter(|other| port.device.matches(other));
                let found: Vec<_> = found.map(|other| &other.sysname).collect();
                assert_eq!(found, [&its.sysname], "{text}");
                assert_eq!(port_file::recognised(&text).as_ref(), Some(port), "{text}");
                number += 1;
            }
        }
        assert!(number > 20, "{number}");
    }

    #[test]
    fn a_port_is_what_its_arguments_say() {
        let stick = device("ttyUSB0", "A3X9");
        let inventory = inventory(&[stick], &[container("app", &[]), container("other", &[])]);
        for named in [
            "ttyUSB0",
            "/dev/ttyUSB0",
            "/dev/serial/by-id/usb-A3X9-if00",
            "serial/by-id/usb-A3X9-if00",
            "by-id/usb-A3X9-if00",
        ] {
            let arguments = format!("zwave --device {named} --container app");
            let plan = plan_of(&arguments, &[], &inventory).unwrap();
            assert_eq!(plan.file, Path::new("/etc/conf.d/zwave.toml"));
            assert_eq!(plan.users, [ContainerId::of_docker("app".into())]);
            assert_eq!(
                plan.text,
                "# Written by ttyplugd add. To remove it: ttyplugd remove zwave\n[[port]]\n\
                 name = \"zwave\"\nmatch = { vendor = \"0658\", serial = \"A3X9\" }\n\
                 containers = [\"app\"]\nnode = \"/dev/zwave\"\n"
            );
        }
        let arguments = "x --device ttyUSB0 --container Home/app --node /dev/a";
        let text = plan_of(arguments, &[], &inventory).unwrap().text;
        let end = "containers = [\"home/app\"]\nnode = \"/dev/a\"\n";
        assert!(text.ends_with(end), "{text}");
        for (wrong, word) in [
            ("x --device ttyUSB7 --container app", "ttyplugd ports"),
            (
                "x --device ttyUSB0 --container a:b",
                "no name of a container",
            ),
            ("x/y --device ttyUSB0 --container app", "not a port name"),
            (
                "x --device ttyUSB0 --container app --node x",
                "absolute path",
            ),
            ("null --device ttyUSB0 --container app", "--node"),
        ] {
            refused(wrong, &[], &inventory, &[word]);
        }
    }

    #[test]
    fn a_device_that_no_container_may_have_or_whose_name_two_have_is_refused() {
        let (mut first, mut second) = (device("ttyUSB0", "A3X9"), device("ttyUSB1", "B7Y2"));
        second.links.extend(first.links.iter().cloned());
        let link = "x --device by-id/usb-A3X9-if00 --container app";
        let both = inventory(&[first.clone(), second], &[]);
        refused(link, &[], &both, &["/dev/ttyUSB0 and /dev/ttyUSB1"]);
        first
            .properties
            .insert("TTYPLUGD_IGNORE".into(), "1".into());
        refused(link, &[], &inventory(&[first], &[]), &["TTYPLUGD_IGNORE"]);
    }

    #[test]
    fn a_name_that_another_file_or_a_label_defines_is_refused_with_where() {
        let stick = device("ttyUSB0", "A3X9");
        let label = ("ttyplugd.port.other.match", "vendor=0658");
        let labelled = container("labelled", &[label]);
        let of_label = inventory(std::slice::from_ref(&stick), &[labelled]);
        let add = "other --device ttyUSB0 --container app";
        refused(
            add,
            &[],
            &of_label,
            &["ttyplugd.port.other.match", "labelled"],
        );
        let alone = inventory(&[stick], &[]);
        for file in [
            "/etc/config.toml",
            "/etc/conf.d/a.toml",
            "/etc/conf.d/z.toml",
        ] {
            refused(add, &[(file, OTHER)], &alone, &[file]);
        }
        // Its own file is another matter.
        let own = ("/etc/conf.d/other.toml", OTHER);
        plan_of(add, &[own], &alone).unwrap();
    }

    #[test]
    fn a_node_that_another_port_of_the_container_has_is_refused() {
        let both = [device("ttyUSB0", "A3X9"), device("ttyUSB1", "B7Y2")];
        let app = [container("app", &[])];
        let file = [("/etc/config.toml", OTHER)];
        // Plugged in or not, and whether the container exists or not.
        for (devices, containers) in [(&both[..], &app[..]), (&both[..1], &app), (&both, &[])] {
            let inventory = inventory(devices, containers);
            for node in ["/dev/other", "/dev/other/0"] {
                let add = format!("a --device ttyUSB0 --container app --node {node}");
                refused(&add, &file, &inventory, &["port other", "--node"]);
            }
            let elsewhere = "a --device ttyUSB0 --container b --node /dev/other";
            plan_of(elsewhere, &file, &inventory).unwrap();
        }
        let enabled = container("app", &[("ttyplugd.enable", "true")]);
        let inventory = inventory(&both, &[enabled]);
        let add = "a --device ttyUSB0 --container app --node /dev/ttyUSB1";
        refused(add, &[], &inventory, &["ttyUSB1", "--node"]);
        let own = "a --device ttyUSB0 --container app --node /dev/ttyUSB0";
        assert_eq!(plan_of(own, &[], &inventory).unwrap().warnings, [""; 0]);
    }

    #[test]
    fn an_invalid_label_of_the_container_is_a_warning() {
        let labelled = container("app", &[("ttyplugd.enabel", "true")]);
        let inventory = inventory(&[device("ttyUSB0", "A3X9")], &[labelled]);
        let plan = plan_of("a --device ttyUSB0 --container app", &[], &inventory).unwrap();
        assert_eq!(plan.users.len(), 1);
        assert!(plan.warnings[0].contains("ttyplugd.enabel"), "{plan:?}");
    }
}
