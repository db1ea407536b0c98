//! Composes the status: every port in every container, and every held open.

use std::borrow::Cow;

use crate::daemon::state::State;
use crate::daemon::status::document::{EngineStatus, HeldStatus, PortState, PortStatus, Status};
use crate::daemon::timeline::Row;
use crate::hold::ContainerPorts;
use crate::hold::changes::KnownOpen;
use crate::model::NodePath;
use crate::model::inventory::{Container, ContainerId, ContainerState, EngineName};
use crate::model::problem::Problem;
use crate::plan::assign::{Assignment, Conflict};
use crate::sys::clock::Now;

pub mod document;

/// Updates the timeline of every container, with the devices that were plugged in since the last
/// time.
pub fn note_all(state: &mut State) {
    let plugged = std::mem::take(&mut state.plugged);
    let mut timeline = std::mem::take(&mut state.timeline);
    let now = state.clock.now().clock;
    timeline.retain(|id| state.assigned.by_container.contains_key(id));
    for id in state.assigned.by_container.keys() {
        for took in timeline.update(now, id, &rows_of(state, id), &plugged) {
            state.metrics.plug_to_ready.observe(took);
        }
    }
    state.timeline = timeline;
}

/// Updates the timeline of one container.
pub fn note(state: &mut State, id: &ContainerId) {
    let mut timeline = std::mem::take(&mut state.timeline);
    let now = state.clock.now().clock;
    for took in timeline.update(now, id, &rows_of(state, id), &state.plugged) {
        state.metrics.plug_to_ready.observe(took);
    }
    state.timeline = timeline;
}

/// All ports of one container.
fn rows_of<'a>(state: &'a State, id: &'a ContainerId) -> Vec<Row<'a>> {
    let assignment = state.assigned.by_container.get(id);
    let container = state.inventory.containers.get(id);
    let (Some(assignment), Some(container)) = (assignment, container) else {
        return Vec::new();
    };
    let row = |port, node, device, port_state| {
        let (port_state, why) = explain(state, id, container, port, device, port_state);
        Row {
            id,
            container,
            port,
            node,
            device,
            state: port_state,
            why,
        }
    };
    match assignment {
        Err(_) => vec![row("", None, None, PortState::Failed)],
        Ok(assignment) => rows_of_assignment(state, id, assignment, row),
    }
}

fn rows_of_assignment<'a>(
    state: &State,
    id: &ContainerId,
    assignment: &'a Assignment,
    row: impl Fn(&'a str, Option<&'a NodePath>, Option<&'a str>, PortState) -> Row<'a>,
) -> Vec<Row<'a>> {
    let wants = assignment.wants.iter().map(|want| {
        let port_state = match state.is_ready(id, want) {
            true => PortState::Ready,
            false => PortState::Waiting,
        };
        row(&want.port, Some(&want.node), Some(&want.device), port_state)
    });
    let absent = assignment.absent.iter().map(|absent| {
        let node = absent.node.as_ref();
        row(&absent.port, node, None, PortState::Waiting)
    });
    let refused = assignment
        .conflicts
        .iter()
        .filter_map(|conflict| match conflict {
            Conflict::Node { port, node, .. } => {
                Some(row(port, Some(node), None, PortState::Failed))
            }
            Conflict::NotOffered { port, .. } => Some(row(port, None, None, PortState::Failed)),
            Conflict::Link { .. } => None,
        });
    wants.chain(absent).chain(refused).collect()
}

type Why<'a> = Option<(&'a str, Cow<'a, str>)>;

/// A port that is not ready has failed if there is a problem, and waits otherwise. Returns its state,
/// the cause and the fix.
fn explain<'a>(
    state: &'a State,
    id: &ContainerId,
    container: &Container,
    port: &str,
    device: Option<&str>,
    port_state: PortState,
) -> (PortState, Why<'a>) {
    if port_state == PortState::Ready {
        return (port_state, None);
    }
    let concerns_it = |problem: &&Problem| {
        problem
            .port
            .as_deref()
            .is_none_or(|concerned| concerned == port)
    };
    let mut problems = state.problems.of_container(id);
    if let Some(problem) = problems.find(concerns_it) {
        let why = (problem.cause.as_str(), problem.fix.as_str().into());
        return (PortState::Failed, Some(why));
    }
    if device.is_none_or(|device| state.inventory.leaving.contains(device)) {
        return (port_state, Some(UNPLUGGED));
    }
    if container.state == ContainerState::Stopped {
        let fix = match id.engine.command() {
            Some(command) => format!("start it: {command} start {}", container.name),
            None => "start it".to_owned(),
        };
        return (port_state, Some(("its container does not run", fix.into())));
    }
    (port_state, None)
}

const UNPLUGGED: (&str, Cow<str>) = (
    "its device is not plugged in",
    Cow::Borrowed("plug it in; see which devices are present: ttyplugd ports"),
);

/// Composes the document.
pub fn status(state: &State, now: Now) -> Status {
    let rows = state.assigned.by_container.keys();
    let mut rows: Vec<Row> = rows.flat_map(|id| rows_of(state, id)).collect();
    rows.sort_by_key(|row| (&row.container.name, row.id, row.port));
    let ports = rows.into_iter().map(|row| port_status(state, row, now));
    let held = state.held.by_container();
    let held = held.flat_map(|(id, opens)| held_status(state, id, opens, now));
    Status {
        schema: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: state.engines.any_has_listed(),
        engine_error: state.engines.error(),
        engines: engines(state),
        state_error: state.problems.of_known().map(str::to_owned),
        config_error: state.config_error.clone(),
        reloads: Some(state.reloads),
        ports: ports.collect(),
        held: held.collect(),
    }
}

/// Those that are followed, unless that is Docker alone.
fn engines(state: &State) -> Vec<EngineStatus> {
    let all = state.engines.all();
    let all = all.map(|(name, answers, error)| EngineStatus {
        name: name.to_string(),
        answers,
        error: error.map(str::to_owned),
    });
    let mut all: Vec<EngineStatus> = all.collect();
    // One that was looked for and is not there.
    all.retain(|engine| engine.answers || engine.error.is_some());
    match all.as_slice() {
        [only] if only.name == EngineName::DOCKER.as_str() => Vec::new(),
        _ => all,
    }
}

fn port_status(state: &State, row: Row, now: Now) -> PortStatus {
    let since = state.timeline.since(row.id, row.port);
    let notes = notes(state, &row);
    let (cause, fix) = row.why.unzip();
    PortStatus {
        port: row.port.to_owned(),
        container: row.container.name.clone(),
        container_id: row.id.id.clone(),
        engine: row.id.engine.unless_docker().map(str::to_owned),
        stopped: row.container.state == ContainerState::Stopped,
        node: row.node.map(ToString::to_string),
        device: row.device.map(str::to_owned),
        state: row.state,
        since: since.map(|at| now.date_of(at)),
        cause: cause.map(str::to_owned),
        fix: fix.map(Cow::into_owned),
        notes,
        holding: state.held.has_keeper(row.id),
        bound: row.node.is_some_and(|node| state.is_bound(row.id, node)),
    }
}

/// What was noted of a port, and what is missing of one that is ready.
fn notes(state: &State, row: &Row) -> Vec<String> {
    let is_ready = row.state == PortState::Ready;
    let missing = state
        .problems
        .of_container(row.id)
        .filter(|problem| is_ready && problem.port.as_deref() == Some(row.port));
    let missing = missing.map(|problem| format!("{}; {}", problem.cause, problem.fix));
    let noted = state.notes(row.id, row.port).into_iter();
    noted.chain(missing).collect()
}

fn held_status<'a>(
    state: &State,
    id: &ContainerId,
    opens: impl Iterator<Item = &'a KnownOpen>,
    now: Now,
) -> impl Iterator<Item = HeldStatus> {
    let ports = match state.assigned.by_container.get(id) {
        Some(Ok(assignment)) => assignment.ports(|_, _| false),
        _ => ContainerPorts::default(),
    };
    let port_of = move |path: &String| {
        let port = ports.ports.iter().find(|port| port.names.contains(path));
        port.map(|port| port.port.clone())
    };
    let container = state.inventory.containers.get(id);
    let name = container.map_or(String::new(), |container| container.name.clone());
    opens.map(move |KnownOpen { open: held, at }| {
        let ago = now.clock.saturating_sub(*at);
        let waited_ms = held.waited_ms.saturating_add(ago);
        HeldStatus {
            container: name.clone(),
            container_id: id.id.clone(),
            engine: id.engine.unless_docker().map(str::to_owned),
            port: port_of(&held.path),
            path: held.path.clone(),
            tid: held.tid,
            command: held.command.clone(),
            pid: held.pid,
            only_thread: held.only_thread,
            since: Some(now.date_of(now.clock.saturating_sub(waited_ms))),
            waited_ms,
            left_ms: held.left_ms.map(|left| left.saturating_sub(ago)),
        }
    })
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
            containers: [(ContainerId::of_docker("1".repeat(64)), app)].into(),
            ..Inventory::default()
        };
        let mut state = State::new(
            settings,
            inventory,
            Store::read(Path::new("/none"), Path::new("/none")),
        );
        state.assigned = assign(
            &state.settings,
            &state.inventory,
            state.store.known.last_devices(),
        );
        let now = Now { clock: 0, unix: 0 };
        let status = status(&state, now);
        let [port] = status.ports.as_slice() else {
            panic!("not one port: {status:#?}");
        };
        assert_eq!((port.state, port.stopped), (PortState::Waiting, true));
        assert_eq!(port.fix.as_deref(), Some("start it: docker start app"));
    }
}
