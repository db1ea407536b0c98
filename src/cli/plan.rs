//! `ttyplugd plan`: what the daemon would do now, without doing it.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::options::ConfigFile;
use crate::cli::output::{plain, print, print_json, refuse};
use crate::cli::survey::{block_on, survey};
use crate::daemon::reconcile::preview;
use crate::model::inventory::ContainerState;
use crate::model::problem::Problem;
use crate::plan::Op;

struct Row {
    id: String,
    name: String,
    ops: Vec<Op>,
    problems: Vec<Problem>,
}

pub(super) fn run(config: &ConfigFile, state: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let settings = match config.load() {
        Ok(settings) => settings,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let rows = block_on(async {
        let (engine, world) = survey(settings, state).await?;
        let containers = world.borrow().inventory.containers.clone();
        let mut rows = Vec::new();
        for (id, container) in containers {
            if container.state == ContainerState::Stopped {
                continue;
            }
            let (ops, problems) = match preview(&engine, &world, &id).await {
                Ok(Some(previewed)) => (previewed.seen.plan.ops, previewed.seen.problems),
                Ok(None) => continue,
                Err(problem) => (Vec::new(), vec![problem]),
            };
            rows.push(Row {
                id: id.0,
                name: container.name,
                ops,
                problems,
            });
        }
        anyhow::Ok(rows)
    })??;
    if as_json {
        let containers: Vec<Value> = rows.iter().map(as_value).collect();
        print_json(&json!({ "schema": 1, "containers": containers }))?;
    } else if rows.is_empty() {
        print("No running container is to have a port.\n")?;
    } else {
        print(&rows.iter().map(as_text).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(row: &Row) -> String {
    let id = row.id.get(..12).unwrap_or(&row.id);
    let mut lines = vec![format!("{} ({id})", plain(&row.name))];
    for op in &row.ops {
        lines.push(format!("  {}", plain(&op.to_string())));
    }
    for problem in &row.problems {
        lines.push(format!("  in the way: {}", plain(&problem.cause)));
        lines.push(format!("              {}", plain(&problem.fix)));
    }
    if row.ops.is_empty() && row.problems.is_empty() {
        lines.push("  nothing to do".to_owned());
    }
    lines.join("\n") + "\n"
}

fn as_value(row: &Row) -> Value {
    let problems: Vec<Value> = row
        .problems
        .iter()
        .map(|t| json!({ "port": t.port, "cause": t.cause, "remedy": t.fix }))
        .collect();
    json!({
        "id": row.id,
        "name": row.name,
        "operations": row.ops.iter().map(operation).collect::<Vec<_>>(),
        "troubles": problems,
    })
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
            "action": if *bind { "bind-node" } else { "make-node" }, "port": port, "path": path, "number": devnum,
            "mode": mode.to_string(), "uid": uid, "gid": gid, "replaces": replaces.to_string(),
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
