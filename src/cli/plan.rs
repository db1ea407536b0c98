//! `ttyplugd plan`: what the daemon would do now, without changing anything.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::block_on::block_on;
use crate::cli::options::ConfigFile;
use crate::cli::output::{print, print_config_errors, print_error, print_json, printable};
use crate::cli::snapshot::{engine_of, snapshot};
use crate::config::settings::Settings;
use crate::daemon::reconcile::preview;
use crate::model::inventory::{ContainerId, ContainerState};
use crate::model::problem::Problem;
use crate::plan::Op;

/// What the daemon would do in one container, and what it could not do.
struct ContainerPlan {
    id: ContainerId,
    name: String,
    ops: Vec<Op>,
    problems: Vec<Problem>,
}

pub(super) fn run(
    config: &ConfigFile,
    run_dir: &Path,
    state_dir: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let settings = match config.load() {
        Ok(settings) => settings,
        Err(errors) => return Ok(print_config_errors(&errors)),
    };
    let plans = block_on(container_plans(settings, run_dir, state_dir))??;
    if as_json {
        let containers: Vec<Value> = plans.iter().map(ContainerPlan::as_value).collect();
        print_json(&json!({ "schema": 1, "containers": containers }))?;
    } else if plans.is_empty() {
        print("No running container has a port.\n")?;
    } else {
        print(&plans.iter().map(ContainerPlan::as_text).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn container_plans(
    settings: Settings,
    run_dir: &Path,
    state_dir: &Path,
) -> anyhow::Result<Vec<ContainerPlan>> {
    let (engines, state) = snapshot(settings, run_dir, state_dir).await?;
    for error in &engines.errors {
        print_error(&format!("{error:#}"));
    }
    let mut containers = state.borrow().inventory.containers.clone();
    containers.retain(|_, container| container.state != ContainerState::Stopped);
    let mut plans = Vec::new();
    for (id, container) in containers {
        let Some(engine) = engine_of(&state, &id) else {
            continue;
        };
        let (ops, problems) = match preview(&engine, &state, &id).await {
            Ok(Some(previewed)) => (previewed.seen.plan.ops, previewed.seen.problems),
            Ok(None) => continue,
            Err(problem) => (Vec::new(), vec![problem]),
        };
        plans.push(ContainerPlan {
            id,
            name: container.name,
            ops,
            problems,
        });
    }
    Ok(plans)
}

impl ContainerPlan {
    fn as_text(&self) -> String {
        let mut lines = vec![format!("{} ({})", printable(&self.name), self.id.short())];
        for op in &self.ops {
            lines.push(format!("  {}", printable(&op.to_string())));
        }
        for problem in &self.problems {
            lines.push(format!("  problem: {}", printable(&problem.cause)));
            lines.push(format!("  fix:     {}", printable(&problem.fix)));
        }
        if self.ops.is_empty() && self.problems.is_empty() {
            lines.push("  nothing to do".to_owned());
        }
        lines.join("\n") + "\n"
    }

    fn as_value(&self) -> Value {
        let problem = |p: &Problem| json!({ "port": p.port, "cause": p.cause, "remedy": p.fix });
        let mut value = json!({
            "id": self.id.id,
            "name": self.name,
            "operations": self.ops.iter().map(operation).collect::<Vec<_>>(),
            "troubles": self.problems.iter().map(problem).collect::<Vec<_>>(),
        });
        if let Some(engine) = self.id.engine.unless_docker() {
            value["engine"] = engine.into();
        }
        value
    }
}

fn operation(op: &Op) -> Value {
    match op {
        Op::Sweep { path } => json!({ "action": "sweep", "path": path }),
        Op::RemoveLink { path, target } => {
            json!({ "action": "remove-link", "path": path, "target": target })
        }
        Op::RemoveNode {
            path,
            devnum,
            bound,
        } => {
            let action = if *bound { "unbind-node" } else { "remove-node" };
            json!({ "action": action, "path": path, "number": devnum })
        }
        Op::MakeNode {
            port,
            path,
            devnum,
            mode,
            uid,
            gid,
            bind,
            replaces,
        } => json!({
            "action": if *bind { "bind-node" } else { "make-node" },
            "port": port, "path": path, "number": devnum, "mode": mode.to_string(),
            "uid": uid, "gid": gid, "replaces": replaces.to_string(),
        }),
        Op::MakeLink {
            path,
            target,
            replaces,
        } => json!({
            "action": "make-link", "path": path, "target": target,
            "replaces": replaces.to_string(),
        }),
    }
}
