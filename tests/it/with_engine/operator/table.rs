//! `ttyplugd status` and the document behind it.

use serde_json::Value;

use crate::bed::{Bed, Port, SOON, eventually, run};

use super::super::hold::{held_port, stick, zwave};
use super::{get, more_ports, output, port};

/// The row of a port in the printed table, word by word.
fn row(text: &str, port: &str) -> Result<Vec<String>, String> {
    let words = |line: &str| line.split_whitespace().map(String::from).collect();
    let mut rows = text.lines().map(words);
    let row = rows.find(|row: &Vec<String>| row.first().is_some_and(|first| first == port));
    row.ok_or_else(|| text.into())
}

#[test]
fn the_table_has_ports_that_are_ready_waiting_failed_and_held() {
    let bed = Bed::with_runtime(&format!("{}{}", held_port("60s"), more_ports()));
    let daemon = bed.daemon();
    let script = "mkdir /dev/blocked && touch /dev/blocked/x && exec opens threads /dev/meter 2";
    let _container = zwave().command(&["sh", "-c", script]).start();
    bed.holds(&["/dev/meter"; 2]);
    let (ready, blocked) = (stick(63), Port::new(62));
    ready.plug();
    blocked.plug();
    let text = eventually(SOON, "the table has it all", || {
        let output = output(&bed, &["status"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let state = |port| row(&text, port).map(|row| row[4].clone());
        let states = [state("zwave")?, state("meter")?, state("blocked")?];
        (states == ["ready", "waiting", "failed"])
            .then(|| text.clone())
            .ok_or_else(|| text.clone())
    });
    let columns = |port| row(&text, port).expect("it is there");
    let zwave = columns("zwave");
    assert_eq!(
        zwave[..4],
        ["zwave", &Port::new(63).sysname(), "zwave", "/dev/zwave"]
    );
    assert_eq!(zwave[7], "0", "{text}");
    let meter = columns("meter");
    assert_eq!(meter[..4], ["meter", "-", "zwave", "/dev/meter"]);
    assert_eq!(meter[7], "2", "{text}");
    let open = columns("/dev/meter");
    assert_eq!(open[1], "zwave", "{text}");
    assert_eq!(open[3], "opens", "{text}");
    // All columns begin where their heads do.
    let head = text.lines().next().expect("there is a head");
    let states = head.find("STATE").expect("there is such a column");
    for state in ["ready", "waiting", "failed"] {
        assert!(
            text.lines().any(|line| line
                .get(states..)
                .is_some_and(|rest| rest.starts_with(state))),
            "{text}"
        );
    }
    // Two threads, and one process.
    let (_, document) = get(&bed, "/v1/status");
    let document: Value = serde_json::from_str(&document).expect("it is JSON");
    let held = document["held"].as_array().expect("it is a list");
    assert_eq!(held.len(), 2, "{document}");
    assert_eq!(held[0]["pid"], held[1]["pid"], "{document}");
    assert_ne!(held[0]["tid"], held[1]["tid"], "{document}");
    assert_eq!(held[0]["port"], "meter", "{document}");
    assert!(text.contains("/dev/blocked"), "{text}");
    // A time that `date` reads, and not in the future.
    let since = port(&document, "zwave").expect("it is there")["since"].clone();
    let since = run(
        "date",
        &["-d", since.as_str().expect("it is a text"), "+%s"],
    );
    let now = run("date", &["+%s"]);
    let number = |text: &str| text.parse::<i64>().expect("it is a number");
    assert!(
        (0..60).contains(&(number(&now) - number(&since))),
        "{since} {now}"
    );
    daemon.stop();

    let output = output(&bed, &["status"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("systemctl status ttyplugd"), "{said}");
}
