//! `ttyplugd status` and the document behind it.

use serde_json::Value;

use crate::testbed::{Testbed, has_words, run, until};

use super::super::hold::{LONG, held_port, zwave};
use super::super::setup::setup;
use super::{blocked, get, more_ports, port};

/// The row of a port in the printed table, word by word.
fn row(text: &str, port: &str) -> Result<Vec<String>, String> {
    let words = |line: &str| line.split_whitespace().map(String::from).collect();
    let mut rows = text.lines().map(words);
    let row = rows.find(|row: &Vec<String>| row.first().is_some_and(|first| first == port));
    row.ok_or_else(|| text.into())
}

#[test]
fn the_table_has_ports_that_are_ready_waiting_failed_and_held() {
    let bed = Testbed::with_runtime(&[held_port(LONG), more_ports()].concat());
    let script = "mkdir /dev/blocked && touch /dev/blocked/x && exec opens threads /dev/meter 2";
    let (bed, _container, daemon, ready) = setup(bed, zwave().command(&["sh", "-c", script]));
    bed.holds(&["/dev/meter"; 2]);
    ready.plug();
    blocked().plug();
    let text = until("the table has it all", || {
        let output = bed.ttyplugd(&["status"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let state = |port| row(&text, port).map(|row| row[4].clone());
        let states = [state("zwave")?, state("meter")?, state("blocked")?];
        match states == ["ready", "waiting", "failed"] {
            true => Ok(text),
            false => Err(text),
        }
    });
    let columns = |port| row(&text, port).expect("it is there");
    let zwave = columns("zwave");
    assert_eq!(
        zwave[..4],
        ["zwave", &ready.sysname(), "zwave", "/dev/zwave"]
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
        let begins_there = |line: &str| line.get(states..).is_some_and(|l| l.starts_with(state));
        assert!(text.lines().any(begins_there), "{text}");
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
    let since = since.as_str().expect("it is a text");
    let since = run("date", &["-d", since, "+%s"]);
    let now = run("date", &["+%s"]);
    let number = |text: &str| text.parse::<i64>().expect("it is a number");
    let age = number(&now) - number(&since);
    assert!((0..60).contains(&age), "{since} {now}");
    daemon.stop();

    let output = bed.ttyplugd(&["status"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    has_words(&output.stderr, &["systemctl status ttyplugd"]);
}
