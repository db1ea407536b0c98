//! What can be said of the ports without looking into a container.

use super::codes;
use super::finding::Report;
use crate::daemon::state::World;
use crate::model::device::Device;
use crate::model::identity::identity;
use crate::model::match_key::{BY_PATH, MatchKey};
use crate::model::port::Port;
use crate::plan::assign::shared_links;

impl Report {
    pub(super) fn ports(&mut self, world: &World) {
        for port in &world.settings.ports {
            let subject = format!("port {}", port.name);
            self.device_of(&subject, port, world);
            self.users_of(&subject, port, world);
            if port.known_names().is_empty() {
                let what = "has neither a `node` nor a link that is known, so that opens of it are \
                            held only once its device has been seen";
                let fix = "give it a `node`, e.g. /dev/NAME";
                self.note(codes::PORT_UNKNOWN_NAME, &subject, what, fix);
            }
        }
        for (link, devices) in shared_links(&world.inventory.devices) {
            self.warning(
                codes::LINK_SHARED,
                link.as_str(),
                format!(
                    "is claimed by {}; the last one that was plugged in has it",
                    devices.join(" and ")
                ),
                "match these devices by by-path: ttyplugd ports",
            );
        }
    }

    fn device_of(&mut self, subject: &str, port: &Port, world: &World) {
        let devices: Vec<&Device> = world
            .inventory
            .devices
            .values()
            .filter(|device| port.device.matches(device))
            .collect();
        match devices.as_slice() {
            [] => self.warning(
                codes::PORT_ABSENT,
                subject,
                format!("no device that is plugged in matches {}", port.device),
                "plug it in, or compare with `ttyplugd ports`",
            ),
            [device] => {
                self.note(codes::PORT, subject, format!("is {}", device.node), "");
                self.identity_of(subject, port, device, world);
            }
            several => {
                let nodes: Vec<&str> = several.iter().map(|d| d.node.as_str()).collect();
                self.warning(
                    codes::PORT_AMBIGUOUS,
                    subject,
                    format!("several devices match: {}", nodes.join(", ")),
                    "add `serial` or `by-path` to its match, so that the choice is yours; \
                     `ttyplugd ports` shows them",
                );
            }
        }
    }

    /// A match that spells out a place is right for a device that nothing else tells apart.
    fn identity_of(&mut self, subject: &str, port: &Port, device: &Device, world: &World) {
        let is_place = |key| matches!(key, MatchKey::ByPath | MatchKey::Sysname);
        if port.device.globs().any(|(key, _)| is_place(key)) {
            return;
        }
        let weakness = identity(device, &world.inventory.devices).weakness();
        let place = device.link_names(BY_PATH).next();
        if let (Some(weakness), Some(place)) = (weakness, place) {
            let what = format!("cannot be told from a second one: {weakness}");
            let fix = format!("before there are two: match = {{ by-path = {place:?} }}");
            self.note(codes::PORT_IDENTITY, subject, what, fix);
        }
    }

    fn users_of(&mut self, subject: &str, port: &Port, world: &World) {
        let name = port.name.as_str();
        let shares = world.assigned.by_container.iter();
        let users: Vec<&str> = shares
            .filter_map(|(id, assignment)| {
                let has = assignment
                    .as_ref()
                    .is_ok_and(|assignment| assignment.has(name));
                let container = world.inventory.containers.get(id)?;
                has.then_some(container.name.as_str())
            })
            .collect();
        if users.is_empty() {
            self.warning(
                codes::PORT_UNUSED,
                subject,
                "no container is to have it",
                format!(
                    "compare its `containers` with `docker ps --all`, or set the label \
                     ttyplugd.port.{name}.use=true on a container"
                ),
            );
        } else {
            let what = format!("is for {}", users.join(", "));
            self.note(codes::PORT, subject, what, "");
        }
    }
}
