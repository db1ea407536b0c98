//! `ttyplugd status`: every port in every container, and every open that waits.

use std::path::Path;
use std::process::ExitCode;

use super::{block_on, plain, print, print_json};
use crate::api;
use crate::status::{HeldStatus, PortState, PortStatus, Status};

pub(super) fn run(run_dir: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let status = block_on(api::ask(run_dir))??;
    if as_json {
        print_json(&serde_json::to_value(&status)?)?;
    } else {
        print(&as_text(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(status: &Status) -> String {
    let mut rows =
        vec![["PORT", "CONTAINER", "NODE", "DEVICE", "STATE", "OPENS"].map(String::from)];
    rows.extend(status.ports.iter().map(row));
    let mut text = table(&rows);
    if status.ports.is_empty() {
        text = "No container is to have a port.\n".to_owned();
    }
    if !status.engine {
        text += "\nWaiting for the engine.\n";
    }
    for port in &status.ports {
        if let Some(cause) = &port.cause {
            let remedy = port.remedy.as_deref().unwrap_or_default();
            text += &format!(
                "\n{}: {}\n    {}\n",
                plain(&port.container),
                plain(cause),
                plain(remedy)
            );
        }
    }
    if !status.held.is_empty() {
        let mut rows = vec![["HELD OPEN", "CONTAINER", "BY", "FOR", "AT MOST"].map(String::from)];
        rows.extend(status.held.iter().map(held_row));
        text += &format!("\n{}", table(&rows));
    }
    text
}

fn row(port: &PortStatus) -> [String; 6] {
    let or_dash = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
    let state = match port.state {
        PortState::Ready => "ready",
        PortState::Waiting => "waiting",
        PortState::Failed => "failed",
    };
    [
        plain(&port.port),
        plain(&port.container),
        or_dash(&port.node),
        or_dash(&port.device),
        state.to_owned(),
        if port.holding { "held" } else { "not held" }.to_owned(),
    ]
}

fn held_row(held: &HeldStatus) -> [String; 5] {
    let seconds = |ms: u64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
    [
        plain(&held.path),
        plain(&held.container),
        format!("{} ({})", plain(&held.command), held.tid),
        seconds(held.waited_ms),
        held.left_ms
            .map_or("for ever".to_owned(), |left| seconds(held.waited_ms + left)),
    ]
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_a_row_per_port_and_per_held_open() {
        let port = PortStatus {
            port: "zwave".into(),
            container: "app\u{1b}[2J".into(),
            container_id: "1".repeat(64),
            node: Some("/dev/zwave".into()),
            device: None,
            state: PortState::Failed,
            cause: Some("a directory is in the way".into()),
            remedy: Some("remove it".into()),
            holding: true,
        };
        let held = HeldStatus {
            container: "app".into(),
            container_id: "1".repeat(64),
            path: "/dev/zwave".into(),
            tid: 7,
            command: "node".into(),
            waited_ms: 1500,
            left_ms: Some(58_500),
        };
        let text = as_text(&Status {
            schema: 1,
            version: "0".into(),
            engine: false,
            ports: vec![port],
            held: vec![held],
        });
        assert_eq!(
            text,
            "PORT   CONTAINER  NODE        DEVICE  STATE   OPENS\n\
             zwave  app\u{fffd}[2J    /dev/zwave  -       failed  held\n\
             \nWaiting for the engine.\n\
             \napp\u{fffd}[2J: a directory is in the way\n    remove it\n\
             \nHELD OPEN   CONTAINER  BY        FOR    AT MOST\n\
             /dev/zwave  app        node (7)  1.5 s  60.0 s\n"
        );
    }
}
