//! `ttyplugd status`: every port in every container, and every held open.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Context;

use crate::cli::block_on::block_on;
use crate::cli::client::{Watcher, fetch_status};
use crate::cli::output::{print, print_error, print_json, printable};
use crate::daemon::problems::NEXT_BOOT;
use crate::daemon::status::document::{HeldStatus, PortState, PortStatus, Status};
use crate::sys::async_fd::failing;
use crate::sys::date;
use crate::sys::localtime;

pub(super) fn run(run_dir: &Path, watch: bool, as_json: bool) -> anyhow::Result<ExitCode> {
    block_on(async {
        if watch {
            return follow(run_dir, as_json).await;
        }
        let status = fetch_status(run_dir).await?;
        if as_json {
            print_json(&serde_json::to_value(&status)?)
        } else {
            print(&as_text(&status, localtime::offset))
        }
    })??;
    Ok(ExitCode::SUCCESS)
}

/// Prints every change, until nobody reads it any more.
async fn follow(run_dir: &Path, as_json: bool) -> anyhow::Result<()> {
    let show = async {
        let mut watcher = Watcher::connect(run_dir).await?;
        loop {
            while let Some(status) = watcher.next().await {
                if as_json {
                    print(&format!("{}\n", serde_json::to_string(&status)?))?;
                } else {
                    clear()?;
                    print(&as_text(&status, localtime::offset))?;
                }
            }
            print_error("the daemon has ended; waiting for it to restart");
            watcher.reconnect().await?;
        }
    };
    tokio::select! {
        ended = show => ended,
        () = reader_gone() => Ok(()),
    }
}

/// Clears a terminal, so the next text replaces the previous one.
fn clear() -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    if output.is_terminal() {
        // Cursor home, and erase to the end of the display (ECMA-48, CUP and ED). Written directly,
        // because anstream would remove it together with the colours (NO_COLOR).
        output
            .write_all(b"\x1b[H\x1b[J")
            .context("cannot write to the terminal")?;
    }
    Ok(())
}

/// Waits until standard output is a pipe without a reader. Files and terminals always have one.
async fn reader_gone() {
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    match output.and_then(failing) {
        // The kernel reports a pipe without a reader as an error (poll(2), POLLERR).
        Ok(output) => drop(output.ready(tokio::io::Interest::ERROR).await),
        Err(_) => std::future::pending().await,
    }
}

/// `offset` is the difference between local time and UTC, in seconds.
fn as_text(status: &Status, offset: impl Fn(i64) -> i64) -> String {
    let local = |time: Option<i64>| {
        let time = time.map(|time| date::readable(time + offset(time)));
        time.unwrap_or_else(|| "-".into())
    };
    let failed = |port: &&PortStatus| port.state == PortState::Failed;
    let failures = status.ports.iter().filter(failed).map(failure);
    let notes = status.ports.iter().flat_map(notes);
    [
        engine_problem(status),
        state_problem(status),
        config_problem(status),
        port_table(status, &local),
        failures.collect(),
        notes.collect(),
        held_table(&status.held, &local),
    ]
    .concat()
}

fn engine_problem(status: &Status) -> String {
    match &status.engine_error {
        Some(error) => format!("The engine cannot be reached: {}\n\n", printable(error)),
        None if !status.engine => "Waiting for the engine.\n\n".to_owned(),
        None => String::new(),
    }
}

fn state_problem(status: &Status) -> String {
    match &status.state_error {
        Some(error) => format!("{}: {NEXT_BOOT}.\n\n", printable(error)),
        None => String::new(),
    }
}

fn config_problem(status: &Status) -> String {
    match &status.config_error {
        Some(error) => format!(
            "The configuration is invalid, and the previous one is in force: {}\n\n",
            printable(error)
        ),
        None => String::new(),
    }
}

fn port_table(status: &Status, local: &impl Fn(Option<i64>) -> String) -> String {
    if status.ports.is_empty() {
        return "No container has a port.\n".to_owned();
    }
    let head = [
        "PORT",
        "DEVICE",
        "CONTAINER",
        "NODE",
        "STATE",
        "SINCE",
        "HELD OPENS",
    ];
    let row = |port| port_row(port, &status.held, local);
    table(head, status.ports.iter().map(row))
}

/// Why a port does not work, and how to fix it.
fn failure(port: &PortStatus) -> String {
    format!(
        "\n{} in {}: {}\n    {}\n",
        or_dash(Some(&port.port)),
        printable(&port.container),
        printable(port.cause.as_deref().unwrap_or_default()),
        printable(port.fix.as_deref().unwrap_or_default())
    )
}

/// What is worth knowing of a port.
fn notes(port: &PortStatus) -> impl Iterator<Item = String> {
    port.notes.iter().map(|note| {
        let (name, container) = (or_dash(Some(&port.port)), printable(&port.container));
        format!("\n{name} in {container}: {}\n", printable(note))
    })
}

fn held_table(held: &[HeldStatus], local: &impl Fn(Option<i64>) -> String) -> String {
    if held.is_empty() {
        return String::new();
    }
    let head = ["HELD OPEN", "CONTAINER", "PID", "COMMAND", "SINCE", "UNTIL"];
    let rows = held.iter().map(|held| held_row(held, local));
    let only_thread = match held.iter().any(|held| held.only_thread) {
        true => ONLY_THREAD,
        false => "",
    };
    format!("\n{}{only_thread}", table(head, rows))
}

const ONLY_THREAD: &str = "\n* waits in its only thread and does nothing else: if it has other work, open \
                           the port in a thread, or set a shorter `hold`\n";

/// A text and its style.
type Cell = (String, Style);

fn port_row(
    port: &PortStatus,
    held: &[HeldStatus],
    local: &impl Fn(Option<i64>) -> String,
) -> [Cell; 7] {
    let (state, colour) = match port.state {
        PortState::Ready if port.bound => ("ready (bound)", AnsiColor::Green),
        PortState::Ready => ("ready", AnsiColor::Green),
        PortState::Waiting => ("waiting", AnsiColor::Yellow),
        PortState::Failed => ("failed", AnsiColor::Red),
    };
    let waits_for_port = |held: &&HeldStatus| {
        held.container_id == port.container_id && held.port.as_ref() == Some(&port.port)
    };
    let opens = match port.holding {
        true => held.iter().filter(waits_for_port).count().to_string(),
        false => "not held".to_owned(),
    };
    [
        unstyled(or_dash(Some(&port.port))),
        unstyled(or_dash(port.device.as_deref())),
        unstyled(printable(&port.container)),
        unstyled(or_dash(port.node.as_deref())),
        (state.to_owned(), colour.on_default()),
        unstyled(local(seconds(port.since.as_deref()))),
        unstyled(opens),
    ]
}

fn held_row(held: &HeldStatus, local: &impl Fn(Option<i64>) -> String) -> [Cell; 6] {
    let since = seconds(held.since.as_deref());
    let limit = held.left_ms.map(|left| (held.waited_ms + left) / 1000);
    let until = limit.map(|limit| {
        let limit = i64::try_from(limit).ok();
        local(since.zip(limit).map(|(since, limit)| since + limit))
    });
    [
        printable(&held.path),
        printable(&held.container),
        held.pid.unwrap_or(held.tid).to_string(),
        match held.only_thread {
            true => format!("{} *", printable(&held.command)),
            false => printable(&held.command),
        },
        local(since),
        until.unwrap_or_else(|| "forever".to_owned()),
    ]
    .map(unstyled)
}

fn unstyled(text: String) -> Cell {
    (text, Style::new())
}

fn or_dash(text: Option<&str>) -> String {
    let text = text.filter(|text| !text.is_empty());
    printable(text.unwrap_or("-"))
}

fn seconds(date: Option<&str>) -> Option<i64> {
    date::parse(date?)
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [Cell; N]>) -> String {
    let head = head.map(|word| unstyled(word.to_owned()));
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].0.chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, style)) in row.iter().enumerate() {
            // No spaces at the end of a line.
            let width = if column + 1 == N { 0 } else { widths[column] };
            let space = if column == 0 { "" } else { "  " };
            text += &format!("{space}{style}{cell:<width$}{style:#}");
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, state: PortState) -> PortStatus {
        PortStatus {
            port: name.into(),
            container: "app\u{1b}[2J".into(),
            container_id: "1".repeat(64),
            engine: None,
            stopped: false,
            node: Some("/dev/zwave".into()),
            device: Some("ttyUSB0".into()),
            state,
            since: Some("2026-11-25T00:29:48Z".into()),
            cause: None,
            fix: None,
            notes: Vec::new(),
            holding: true,
            bound: false,
        }
    }

    fn held(left_ms: Option<u64>) -> HeldStatus {
        HeldStatus {
            container: "app".into(),
            container_id: "1".repeat(64),
            engine: None,
            port: Some("zwave".into()),
            path: "/dev/zwave".into(),
            tid: 8,
            command: "no\nde".into(),
            pid: Some(7),
            only_thread: left_ms.is_none(),
            since: Some("2026-11-25T23:59:58Z".into()),
            waited_ms: 1500,
            left_ms,
        }
    }

    #[test]
    fn the_text_has_a_row_per_port_and_per_held_open() {
        let failed = PortStatus {
            device: None,
            cause: Some("a directory is in the way".into()),
            fix: Some("remove it".into()),
            ..port("meter", PortState::Failed)
        };
        let unheld = PortStatus {
            since: None,
            holding: false,
            ..port("ttyUSB0", PortState::Waiting)
        };
        let bound = PortStatus {
            bound: true,
            notes: vec!["its mode was\u{7} changed".into()],
            ..port("bound", PortState::Ready)
        };
        let text = as_text(
            &Status {
                schema: 1,
                version: "0".into(),
                engine: true,
                engine_error: Some("it is\u{7} gone".into()),
                engines: Vec::new(),
                state_error: None,
                config_error: Some("config.toml:1: it is\u{7} wrong".into()),
                reloads: Some(1),
                ports: vec![port("zwave", PortState::Ready), failed, unheld, bound],
                held: vec![held(Some(58_500)), held(None)],
            },
            |_| 3600,
        );
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "The engine cannot be reached: it is\u{fffd} gone\n\n\
             The configuration is invalid, and the previous one is in force: config.toml:1: it is\u{fffd} \
             wrong\n\n\
             PORT     DEVICE   CONTAINER  NODE        STATE          SINCE                HELD OPENS\n\
             zwave    ttyUSB0  app\u{fffd}[2J    /dev/zwave  ready          2026-11-25 01:29:48  2\n\
             meter    -        app\u{fffd}[2J    /dev/zwave  failed         2026-11-25 01:29:48  0\n\
             ttyUSB0  ttyUSB0  app\u{fffd}[2J    /dev/zwave  waiting        -                    not held\n\
             bound    ttyUSB0  app\u{fffd}[2J    /dev/zwave  ready (bound)  2026-11-25 01:29:48  0\n\
             \nmeter in app\u{fffd}[2J: a directory is in the way\n    remove it\n\
             \nbound in app\u{fffd}[2J: its mode was\u{fffd} changed\n\
             \nHELD OPEN   CONTAINER  PID  COMMAND  SINCE                UNTIL\n\
             /dev/zwave  app        7    no\u{fffd}de    2026-11-26 00:59:58  2026-11-26 01:00:58\n\
             /dev/zwave  app        7    no\u{fffd}de *  2026-11-26 00:59:58  forever\n\
             \n* waits in its only thread and does nothing else: if it has other work, open the port in a \
             thread, or set a shorter `hold`\n"
        );
        // The colours remain.
        assert!(text.contains("\u{1b}[32mready"), "{text:?}");
    }

    #[test]
    fn a_status_without_ports_says_so() {
        let empty = Status {
            schema: 1,
            version: "0".into(),
            engine: false,
            engine_error: None,
            engines: Vec::new(),
            state_error: None,
            config_error: None,
            reloads: Some(0),
            ports: Vec::new(),
            held: Vec::new(),
        };
        let text = as_text(&empty, |_| 0);
        assert_eq!(
            text,
            "Waiting for the engine.\n\nNo container has a port.\n"
        );
    }
}
