//! The log in a real journald.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::testbed::{PROGRAM, Recipe, Testbed, docker_host};

use super::setup::{ZWAVE, stick};

#[test]
fn log_lines_reach_the_journal_with_fields_of_their_own() {
    let bed = Testbed::with_config(ZWAVE);
    let port = stick(63);
    let container = Recipe::new("zwave").start();
    let mislabelled = Recipe::new("other").label("ttyplugd.enable=maybe").start();
    let journal = Command::new("timeout")
        .args(["60", "unshare", "--mount", "sh"])
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/with_engine/journal.sh"
        ))
        .args([bed.file(""), bed.file("stop")])
        .args([PROGRAM, "run", "--log-format", "journal"])
        .args(bed.file_options())
        .env("DOCKER_HOST", docker_host())
        .stdout(Stdio::piped())
        .spawn()
        .expect("timeout, of coreutils, runs");
    port.plug();
    container.has_port(&port);
    port.unplug();
    container.has_only(&[]);
    let id = container.inspect("{{.Id}}");
    fs::write(bed.file("stop"), "").expect("a file can be written");
    let output = journal.wait_with_output().expect("it is a child");
    assert!(output.status.success(), "{output:?}");

    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("journalctl prints JSON"))
        .collect();
    let find = |key: &str, value: &str| {
        let found = lines.iter().find(|line| line[key] == value);
        found.unwrap_or_else(|| panic!("no line with {key}={value} in\n{text}"))
    };
    let made = find("ACTION", "make");
    for (key, value) in [
        ("MESSAGE", "node made"),
        ("PORT", "zwave"),
        ("SERIAL_DEVICE", &port.sysname()),
        ("DEVICE_NUMBER", &port.devnum()),
        ("CONTAINER_NAME", "zwave"),
        ("CONTAINER_ID", &id),
        ("CONTAINER_PATH", "/dev/zwave"),
        // "notice": systemd.journal-fields(7), PRIORITY.
        ("PRIORITY", "5"),
    ] {
        assert_eq!(made[key], value, "{key} of {made}");
    }
    let text_of = |line: &Value, key: &str| line[key].as_str().map(String::from);
    let latency = text_of(made, "LATENCY_MS").map(|ms| ms.parse::<u64>());
    assert!(matches!(latency, Some(Ok(_))), "{made}");
    assert_eq!(text_of(made, "MESSAGE_ID").map(|id| id.len()), Some(32));
    assert_eq!(find("ACTION", "link")["LINK_TARGET"], "../../zwave");
    let removed = find("ACTION", "remove");
    assert_ne!(removed["MESSAGE_ID"], made["MESSAGE_ID"]);
    let problem = find("CONTAINER_NAME", mislabelled.name());
    assert_eq!(problem["PRIORITY"], "4");
    let remedy = text_of(problem, "REMEDY").unwrap_or_default();
    assert_ne!(remedy, "", "{problem}");
}
