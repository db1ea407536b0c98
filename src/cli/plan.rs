//! `ttyplugd plan`: what the daemon would do now, without doing it.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{ConfigFile, block_on, complain, plain, print_json, survey};
use crate::inventory::ContainerState;
use crate::plan::Op;
use crate::reconcile::preview;
use crate::report::Trouble;

struct Row {
    id: String,
    name: String,
    ops: Vec<Op>,
    troubles: Vec<Trouble>,
}

pub(super) fn run(config: &ConfigFile, state: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let settings = match config.load() {
        Ok(settings) => settings,
        Err(errors) => return Ok(complain(&errors)),
    };
    let rows = block_on(async {
        let (engine, world) = survey(settings, state).await?;
        let containers = world.borrow().inventory.containers.clone();
        let mut rows = Vec::new();
        for (id, container) in containers {
            if container.state == ContainerState::Stopped {
                continue;
            }
            let (ops, troubles) = match preview(&engine, &world, &id).await {
                Ok(Some(preview)) => (preview.plan.ops, preview.troubles),
                Ok(None) => continue,
                Err(trouble) => (Vec::new(), vec![trouble]),
            };
            rows.push(Row {
                id: id.0,
                name: container.name,
                ops,
                troubles,
            });
        }
        anyhow::Ok(rows)
    })??;
    if as_json {
        let containers: Vec<Value> = rows.iter().map(as_value).collect();
        print_json(&json!({ "schema": 1, "containers": containers }))?;
    } else if rows.is_empty() {
        println!("No running container is to have a port.");
    } else {
        rows.iter().for_each(print);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(row: &Row) {
    println!(
        "{} ({})",
        plain(&row.name),
        row.id.get(..12).unwrap_or(&row.id)
    );
    for op in &row.ops {
        println!("  {}", plain(&op.to_string()));
    }
    for trouble in &row.troubles {
        println!("  in the way: {}", plain(&trouble.cause));
        println!("              {}", plain(&trouble.remedy));
    }
    if row.ops.is_empty() && row.troubles.is_empty() {
        println!("  nothing to do");
    }
}

fn as_value(row: &Row) -> Value {
    let troubles: Vec<Value> = row
        .troubles
        .iter()
        .map(|t| json!({ "port": t.port, "cause": t.cause, "remedy": t.remedy }))
        .collect();
    json!({
        "id": row.id,
        "name": row.name,
        "operations": row.ops.iter().map(operation).collect::<Vec<_>>(),
        "troubles": troubles,
    })
}

fn operation(op: &Op) -> Value {
    match op {
        Op::Sweep { path } => json!({ "action": "sweep", "path": path }),
        Op::RemoveLink { path, target } => {
            json!({ "action": "remove-link", "path": path, "target": target })
        }
        Op::RemoveNode { path, devnum } => {
            json!({ "action": "remove-node", "path": path, "number": devnum })
        }
        Op::MakeNode {
            port,
            path,
            devnum,
            mode,
            uid,
            gid,
            replaces,
        } => json!({
            "action": "make-node", "port": port, "path": path, "number": devnum,
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
