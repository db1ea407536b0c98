//! Since when each port is in its state, and how long it took from a plug to the ready port. Pure:
//! times are milliseconds of the caller's clock.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::daemon::status::document::PortState;
use crate::model::NodePath;
use crate::model::inventory::{Container, ContainerId, ContainerState};

/// One port in one container, as it is now.
#[derive(Debug)]
pub struct Row<'a> {
    pub id: &'a ContainerId,
    pub container: &'a Container,
    pub port: &'a str,
    pub node: Option<&'a NodePath>,
    pub device: Option<&'a str>,
    pub state: PortState,
    /// The cause and the fix if it is not ready.
    pub why: Option<(&'a str, Cow<'a, str>)>,
}

/// Every port in every container, as it was last seen.
#[derive(Debug, Default)]
pub struct Timeline {
    ports: BTreeMap<ContainerId, BTreeMap<String, Entry>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    state: PortState,
    since: u64,
    /// When its device was plugged in; `None` once the port was ready or its container did not run.
    plugged: Option<u64>,
}

impl Entry {
    fn next(before: Option<Self>, row: &Row, now: u64, plugged: &BTreeSet<String>) -> Self {
        let since = before.filter(|before| before.state == row.state);
        let plugged = match row.device {
            Some(device) if plugged.contains(device) => Some(now),
            Some(_) => before.and_then(|before| before.plugged),
            None => None,
        };
        Self {
            state: row.state,
            since: since.map_or(now, |before| before.since),
            // A stopped or paused container gets no ports, however long that lasts.
            plugged: plugged.filter(|_| row.container.state == ContainerState::Running),
        }
    }
}

impl Timeline {
    /// Takes in all ports of a container and the devices that were plugged in just now. Returns, in
    /// milliseconds, how long each port took that has become ready after a plug.
    pub fn update(
        &mut self,
        now: u64,
        id: &ContainerId,
        rows: &[Row],
        plugged: &BTreeSet<String>,
    ) -> Vec<u64> {
        let mut old = self.ports.remove(id).unwrap_or_default();
        let mut took = Vec::new();
        let mut new = BTreeMap::new();
        for row in rows {
            let before = old.remove(row.port);
            let mut entry = Entry::next(before, row, now, plugged);
            if row.state == PortState::Ready {
                let was_ready = before.is_some_and(|before| before.state == PortState::Ready);
                let plugged = entry.plugged.take().filter(|_| !was_ready);
                took.extend(plugged.map(|plugged| now.saturating_sub(plugged)));
            }
            new.insert(row.port.to_owned(), entry);
        }
        if !new.is_empty() {
            self.ports.insert(id.clone(), new);
        }
        took
    }

    /// Forgets the containers without ports.
    pub fn retain(&mut self, has_ports: impl Fn(&ContainerId) -> bool) {
        self.ports.retain(|id, _| has_ports(id));
    }

    /// Since when a port is in its state.
    pub fn since(&self, id: &ContainerId, port: &str) -> Option<u64> {
        Some(self.ports.get(id)?.get(port)?.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::container;

    fn row<'a>(
        (id, container): &'a (ContainerId, Container),
        device: Option<&'a str>,
        state: PortState,
    ) -> Row<'a> {
        Row {
            id,
            container,
            port: "zwave",
            node: None,
            device,
            state,
            why: None,
        }
    }

    fn app(state: ContainerState) -> (ContainerId, Container) {
        let container = Container {
            state,
            ..container("app", &[])
        };
        (ContainerId::of_docker("1".repeat(64)), container)
    }

    fn plugged(sysname: &str) -> BTreeSet<String> {
        BTreeSet::from([sysname.to_owned()])
    }

    #[test]
    fn a_ports_state_dates_from_its_last_change() {
        let app = app(ContainerState::Running);
        let mut timeline = Timeline::default();
        let mut since = |now, state| {
            timeline.update(now, &app.0, &[row(&app, None, state)], &BTreeSet::new());
            timeline.since(&app.0, "zwave").unwrap()
        };
        assert_eq!(since(10, PortState::Waiting), 10);
        assert_eq!(since(20, PortState::Waiting), 10);
        assert_eq!(since(30, PortState::Failed), 30);
        assert_eq!(since(40, PortState::Waiting), 40);
        timeline.update(50, &app.0, &[], &BTreeSet::new());
        assert_eq!(timeline.since(&app.0, "zwave"), None);
    }

    #[test]
    fn the_time_from_a_plug_to_a_ready_port_is_taken_once() {
        use PortState::{Failed, Ready, Waiting};
        let (app, none) = (app(ContainerState::Running), BTreeSet::new());
        let mut timeline = Timeline::default();
        let mut took = |now, device, state, plugged: &BTreeSet<String>| {
            timeline.update(now, &app.0, &[row(&app, device, state)], plugged)
        };
        let usb = Some("ttyUSB0");
        assert!(took(100, None, Waiting, &plugged("ttyUSB9")).is_empty());
        assert!(took(200, usb, Waiting, &plugged("ttyUSB0")).is_empty());
        assert!(took(210, usb, Failed, &none).is_empty());
        assert_eq!(took(250, usb, Ready, &none), [50]);
        assert!(took(260, usb, Ready, &none).is_empty());
        // Unplugged and plugged in again before anything was seen: the port was ready all the time.
        assert!(took(270, usb, Ready, &plugged("ttyUSB0")).is_empty());
        // A new start of the container is no plug.
        assert!(took(280, usb, Waiting, &none).is_empty());
        assert!(took(290, usb, Ready, &none).is_empty());
        // Unplugged before it was ready.
        assert!(took(300, usb, Waiting, &plugged("ttyUSB0")).is_empty());
        assert!(took(310, None, Waiting, &none).is_empty());
        assert!(took(320, usb, Ready, &none).is_empty());
    }

    #[test]
    fn a_plug_while_the_container_does_not_run_is_not_timed() {
        for away in [ContainerState::Stopped, ContainerState::Paused] {
            let (away, back) = (app(away), app(ContainerState::Running));
            let usb = Some("ttyUSB0");
            let mut timeline = Timeline::default();
            let rows = [row(&away, usb, PortState::Waiting)];
            timeline.update(100, &away.0, &rows, &plugged("ttyUSB0"));
            let rows = [row(&back, usb, PortState::Ready)];
            let took = timeline.update(900, &back.0, &rows, &BTreeSet::new());
            assert!(took.is_empty());
        }
    }
}
