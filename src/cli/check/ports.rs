//! The ports of the configuration and of labels: their devices and containers.

use std::collections::BTreeSet;

use super::codes;
use super::finding::Report;
use crate::config::labels::port_requests;
use crate::daemon::state::State;
use crate::model::device::Device;
use crate::model::identity::identity;
use crate::model::inventory::{Container, ContainerId, EngineName, Inventory};
use crate::model::match_key::{BY_PATH, MatchKey};
use crate::model::port::Port;
use crate::model::{Hold, NodePath};
use crate::plan::assign::shared_links;

impl Report {
    pub(super) fn ports(&mut self, state: &State) {
        for port in &state.settings.ports {
            let subject = format!("port {}", port.name);
            let devices: Vec<&Device> = state.inventory.devices.values().collect();
            self.device_of(&subject, port, &devices, state);
            self.users_of(&subject, port, state);
            self.names_of(&subject, port, port.name.as_str(), state);
        }
        for (id, container) in &state.inventory.containers {
            self.ports_of_labels(id, container, state);
        }
        for (link, devices) in shared_links(&state.inventory.devices) {
            self.warning(
                codes::LINK_SHARED,
                link.as_str(),
                format!(
                    "is a link of {}; it points to the last one that was plugged in",
                    devices.join(" and ")
                ),
                "match these devices by by-path; see ttyplugd ports",
            );
        }
    }

    /// The ports that the labels of a container define. An invalid label, and a device that is not
    /// offered to labels, are findings of the container.
    fn ports_of_labels(&mut self, id: &ContainerId, container: &Container, state: &State) {
        let Some(Ok(assignment)) = state.assigned.by_container.get(id) else {
            return;
        };
        let (policy, defined) = (state.settings.labels, &state.settings.ports);
        let labels = container.counting_labels(policy);
        let requests = port_requests(&labels, policy, defined).unwrap_or_default();
        let devices = state.inventory.devices.values();
        let offered: Vec<&Device> = devices.filter(|device| device.is_offered()).collect();
        for port in requests
            .own
            .iter()
            .filter(|port| !assignment.refuses(port.name.as_str()))
        {
            let subject = format!("port {} of container {}", port.name, container.name);
            let key = format!("{}/{}", id.key(), port.name);
            self.device_of(&subject, port, &offered, state);
            self.names_of(&subject, port, &key, state);
        }
    }

    /// Which of `devices` is the port.
    fn device_of(&mut self, subject: &str, port: &Port, devices: &[&Device], state: &State) {
        let devices = devices.iter().copied();
        let devices: Vec<_> = devices.filter(|d| port.device.matches(d)).collect();
        match devices.as_slice() {
            [] => self.warning(
                codes::PORT_ABSENT,
                subject,
                format!("no plugged-in device matches {}", port.device),
                "plug it in, or compare its `match` with ttyplugd ports",
            ),
            [device] => {
                self.note(codes::PORT, subject, format!("is {}", device.node), "");
                self.identity_of(subject, port, device, state);
            }
            several => {
                let nodes: Vec<&str> = several.iter().map(|d| d.node.as_str()).collect();
                self.warning(
                    codes::PORT_AMBIGUOUS,
                    subject,
                    format!("several devices match: {}", nodes.join(", ")),
                    "add `serial` or `by-path` to its `match`; see ttyplugd ports",
                );
            }
        }
    }

    /// Whether the names are known by which early opens of it are held.
    fn names_of(&mut self, subject: &str, port: &Port, key: &str, state: &State) {
        let last = &state.assigned.last_devices;
        let had_any = last
            .ports
            .get(key)
            .is_some_and(|last| !last.nodes.is_empty());
        if port.hold == Some(Hold::Off) || port.known_node().is_some() || had_any {
            return;
        }
        let links: Vec<_> = last
            .names(key, port)
            .iter()
            .map(NodePath::to_string)
            .collect();
        let held = match links.as_slice() {
            [] => String::new(),
            links => format!("; those of {} are", links.join(", ")),
        };
        let what = format!(
            "the path of its node is not known until its device has been plugged in once, so early \
             opens of that are not held{held}"
        );
        let fix = "set its `node`, e.g. /dev/NAME";
        self.note(codes::PORT_UNKNOWN_NAME, subject, what, fix);
    }

    /// A match by place is right for a device that has no identity of its own.
    fn identity_of(&mut self, subject: &str, port: &Port, device: &Device, state: &State) {
        let is_place = |key| matches!(key, MatchKey::ByPath | MatchKey::Sysname);
        if port.device.globs().any(|(key, _)| is_place(key)) {
            return;
        }
        let weakness = identity(device, &state.inventory.devices).weakness();
        let place = device.link_names(BY_PATH).next();
        if let (Some(weakness), Some(place)) = (weakness, place) {
            let what = format!("its device is not unique: {weakness}");
            let fix =
                format!("before a second one is plugged in: match = {{ by-path = {place:?} }}");
            self.note(codes::PORT_IDENTITY, subject, what, fix);
        }
    }

    fn users_of(&mut self, subject: &str, port: &Port, state: &State) {
        let name = port.name.as_str();
        let shares = state.assigned.by_container.iter();
        let users: Vec<&str> = shares
            .filter_map(|(id, assignment)| {
                let has = assignment
                    .as_ref()
                    .is_ok_and(|assignment| assignment.has(name));
                let container = state.inventory.containers.get(id)?;
                has.then_some(container.name.as_str())
            })
            .collect();
        if users.is_empty() {
            self.warning(
                codes::PORT_UNUSED,
                subject,
                "no container has this port",
                format!(
                    "compare its `containers` with {}, or set the label \
                     ttyplugd.port.{name}.use=true on a container",
                    lists(&state.inventory)
                ),
            );
        } else {
            let what = format!("belongs to {}", users.join(", "));
            self.note(codes::PORT, subject, what, "");
        }
    }
}

/// The commands that list all containers.
fn lists(inventory: &Inventory) -> String {
    let engines = inventory.containers.keys().map(|id| &id.engine);
    let commands: BTreeSet<&str> = engines.filter_map(EngineName::command).collect();
    let lists = commands.iter().map(|command| format!("{command} ps --all"));
    match lists.collect::<Vec<_>>().join(" and ") {
        none if none.is_empty() => "the names of your containers".to_owned(),
        lists => lists,
    }
}
