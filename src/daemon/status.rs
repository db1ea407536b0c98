//! What the daemon tells of itself: every port in every container, and every open that waits.
//! Pure.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::daemon::problems::Reports;
use crate::daemon::state::World;
use crate::hold::ContainerPorts;
use crate::hold::protocol::HeldOpen;
use crate::model::NodePath;
use crate::model::inventory::{Container, ContainerId, ContainerState};
use crate::plan::assign::Conflict;
use crate::sys::clock::Now;

/// The document at `/v1/status`. Fields are added to it, never changed or taken away. Times are
/// in UTC, as RFC 3339 has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub schema: u32,
    /// The daemon's own version.
    pub version: String,
    /// Whether the engine has told which containers there are.
    pub engine: bool,
    /// Why it does not answer now.
    #[serde(default)]
    pub engine_error: Option<String>,
    pub ports: Vec<PortStatus>,
    pub held: Vec<HeldStatus>,
}

/// One port in one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    pub port: String,
    pub container: String,
    pub container_id: String,
    /// Whether the container does not run.
    #[serde(default)]
    pub stopped: bool,
    /// Its path in the container, where that is known.
    pub node: Option<String>,
    /// The device's sysname, while it is plugged in.
    pub device: Option<String>,
    pub state: PortState,
    /// Since when it has been in that state, as far back as this daemon has seen it.
    #[serde(default)]
    pub since: Option<String>,
    /// Why it is not ready, and what to do about it.
    pub cause: Option<String>,
    #[serde(rename = "remedy")]
    pub fix: Option<String>,
    /// Whether a keeper holds early opens in this container.
    pub holding: bool,
    /// Whether its node is one that is bound in, since the container could not open any on a file
    /// system of its own: its users are remapped.
    #[serde(default)]
    pub bound: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// Its node is in place and may be opened.
    Ready,
    /// Its device is not plugged in, or its container does not run.
    Waiting,
    /// Something is in the way.
    Failed,
}

/// An open that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    pub container: String,
    pub container_id: String,
    /// The port that it waits for, where the path is a name of one.
    #[serde(default)]
    pub port: Option<String>,
    pub path: String,
    /// The thread, in the host's numbers, and its name.
    pub tid: u32,
    pub command: String,
    /// The process that the thread belongs to.
    #[serde(default)]
    pub pid: Option<u32>,
    #[serde(default)]
    pub since: Option<String>,
    pub waited_ms: u64,
    /// `None` is for ever.
    pub left_ms: Option<u64>,
}

/// One port in one container, and where it is known from.
#[derive(Debug)]
pub struct Row<'a> {
    pub id: &'a ContainerId,
    pub container: &'a Container,
    pub port: &'a str,
    pub node: Option<&'a NodePath>,
    pub device: Option<&'a str>,
    pub state: PortState,
    /// Why it is not ready, and what to do about it.
    pub why: Option<(&'a str, Cow<'a, str>)>,
}

/// All ports in all containers, by container and port.
pub fn rows<'a>(world: &'a World, reports: &'a Reports) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for (id, assignment) in &world.assigned.by_container {
        let Some(container) = world.inventory.containers.get(id) else {
            continue;
        };
        let runs = container.state != ContainerState::Stopped;
        let mut add = |port, node, device: Option<&'a str>, state| {
            let concerns = |of: &Option<String>| of.as_deref().is_none_or(|of| of == port);
            let problem = reports.of(id).find(|problem| concerns(&problem.port));
            let problem = problem.map(|problem| (&*problem.cause, (&*problem.fix).into()));
            let (state, why) = match (state, problem) {
                (PortState::Ready, _) => (state, None),
                (_, Some(why)) => (PortState::Failed, Some(why)),
                (_, None) if device.is_none() => (state, Some(UNPLUGGED)),
                (_, None) if !runs => {
                    let fix = format!("start it: docker start {}", container.name);
                    (state, Some(("its container does not run", fix.into())))
                }
                (_, None) => (state, None),
            };
            rows.push(Row {
                id,
                container,
                port,
                node,
                device,
                state,
                why,
            });
        };
        let Ok(assignment) = assignment else {
            add("", None, None, PortState::Failed);
            continue;
        };
        for want in &assignment.wants {
            let state = match runs && world.is_ready(id, want) {
                true => PortState::Ready,
                false => PortState::Waiting,
            };
            add(&want.port, Some(&want.node), Some(&want.device), state);
        }
        for absent in &assignment.absent {
            add(&absent.port, absent.node.as_ref(), None, PortState::Waiting);
        }
        for conflict in &assignment.conflicts {
            if let Conflict::Node { port, node, .. } = conflict {
                add(port, Some(node), None, PortState::Failed);
            }
        }
    }
    rows.sort_by_key(|row| (&row.container.name, row.id, row.port));
    rows
}

const UNPLUGGED: (&str, Cow<str>) = (
    "its device is not plugged in",
    Cow::Borrowed("plug it in, or look at what is there: ttyplugd ports"),
);

/// Puts the document together.
pub fn status(world: &World, reports: &Reports, now: Now) -> Status {
    let port = |row: Row| PortStatus {
        port: row.port.to_owned(),
        container: row.container.name.clone(),
        container_id: row.id.0.clone(),
        stopped: row.container.state == ContainerState::Stopped,
        node: row.node.map(ToString::to_string),
        device: row.device.map(str::to_owned),
        state: row.state,
        since: world
            .timeline
            .since(row.id, row.port)
            .map(|at| now.date_of(at)),
        cause: row.why.as_ref().map(|(cause, _)| (*cause).to_owned()),
        fix: row.why.map(|(_, fix)| fix.into_owned()),
        holding: world.held.contains_key(row.id),
        bound: row.node.is_some_and(|node| world.is_bound(row.id, node)),
    };
    let held = world.held.iter().flat_map(|(id, heard)| {
        let ports = match world.assigned.by_container.get(id) {
            Some(Ok(assignment)) => assignment.ports(|_| false),
            _ => ContainerPorts::default(),
        };
        let port_of = move |path: &String| {
            let port = ports.ports.iter().find(|port| port.names.contains(path));
            port.map(|port| port.port.clone())
        };
        let container = world.inventory.containers.get(id);
        let name = container.map_or(String::new(), |container| container.name.clone());
        heard.held.iter().map(move |held| {
            // Times go on since the keeper has told them.
            let ago = now.clock.saturating_sub(heard.at);
            let waited_ms = held.waited_ms.saturating_add(ago);
            HeldStatus {
                container: name.clone(),
                container_id: id.0.clone(),
                port: port_of(&held.path),
                path: held.path.clone(),
                tid: held.tid,
                command: held.command.clone(),
                pid: held.pid,
                since: Some(now.date_of(now.clock.saturating_sub(waited_ms))),
                waited_ms,
                left_ms: held.left_ms.map(|left| left.saturating_sub(ago)),
            }
        })
    });
    Status {
        schema: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: world.listed,
        engine_error: reports.engine_error().map(str::to_owned),
        ports: rows(world, reports).into_iter().map(port).collect(),
        held: held.collect(),
    }
}

impl Status {
    /// Whether it tells what the other one does, but for the times that go on by themselves.
    pub fn tells_the_same(&self, other: &Self) -> bool {
        self.without_times() == other.without_times()
    }

    fn without_times(&self) -> Self {
        let mut status = self.clone();
        for held in &mut status.held {
            (held.waited_ms, held.left_ms) = (0, None);
        }
        status
    }
}

/// What a keeper has told, and when, by the daemon's clock.
#[derive(Debug)]
pub struct HeardHolds {
    pub at: u64,
    pub held: Vec<HeldOpen>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::fixtures::settings;
    use crate::model::fixtures::{container, device};
    use crate::model::inventory::Inventory;
    use crate::plan::assign::assign;
    use crate::store::Store;

    #[test]
    fn a_port_of_a_stopped_container_says_so_and_how_to_start_it() {
        let settings = settings(
            r#"
            [[port]]
            name = "zwave"
            node = "/dev/zwave"
            containers = ["app"]
            match = { vendor = "0658" }
            "#,
        );
        let app = Container {
            state: ContainerState::Stopped,
            ..container("app", &[])
        };
        let inventory = Inventory {
            devices: [("ttyUSB0".to_owned(), device("ttyUSB0", "A"))].into(),
            containers: [(ContainerId("1".repeat(64)), app)].into(),
        };
        let mut world = World::new(settings, inventory, Store::read(Path::new("/none")));
        world.assigned = assign(
            &world.settings,
            &world.inventory,
            world.store.last_devices(),
        );
        let now = Now { clock: 0, unix: 0 };
        let status = status(&world, &Reports::default(), now);
        let [port] = status.ports.as_slice() else {
            panic!("not one port: {status:#?}");
        };
        assert_eq!((port.state, port.stopped), (PortState::Waiting, true));
        assert_eq!(port.fix.as_deref(), Some("start it: docker start app"));
    }
}
