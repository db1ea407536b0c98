//! What reaches a real journald.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bed::{Bed, PROGRAM, Port, Recipe, docker_host};

use super::ZWAVE;

#[test]
fn log_lines_reach_the_journal_with_fields_of_their_own() {
    let bed = Bed::with_config(ZWAVE);
    let port = Port::new(63).with("ID_SERIAL_SHORT", "Z1");
    let container = Recipe::new("zwave").start();
    let mislabelled = Recipe::new("other").label("ttyplugd.enable=yes").start();
    let journal = Command::new("timeout")
        .args(["60", "unshare", "--mount", "sh"])
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/with_engine/journal.sh"
        ))
        .args([bed.file(""), bed.file("stop")])
        .args([PROGRAM, "run", "--log-format", "journal", "--config"])
        .arg(bed.file("config.toml"))
        .arg("--run-dir")
        .arg(bed.file("run"))
        .arg("--state-dir")
        .arg(bed.file("state"))
        .env("DOCKER_HOST", docker_host())
        .stdout(Stdio::piped())
        .spawn()
        .expect("timeout, of coreutils, runs");
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    port.unplug();
    container.has_exactly(&[]);
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
        ("SERIAL_DEVICE", port.sysname().as_str()),
        ("DEVICE_NUMBER", &port.devnum()),
        ("CONTAINER_NAME", "zwave"),
        ("CONTAINER_ID", &id),
        ("CONTAINER_PATH", "/dev/zwave"),
        // "notice": systemd.journal-fields(7), PRIORITY.
        ("PRIORITY", "5"),
    ] {
        assert_eq!(made[key], value, "{key} of {made}");
    }
    assert!(
        made["LATENCY_MS"]
            .as_str()
            .is_some_and(|ms| ms.parse::<u64>().is_ok())
    );
    assert_eq!(made["MESSAGE_ID"].as_str().map(str::len), Some(32));
    assert_eq!(find("ACTION", "link")["LINK_TARGET"], "../../zwave");
    let removed = find("ACTION", "remove");
    assert_ne!(removed["MESSAGE_ID"], made["MESSAGE_ID"]);
    let trouble = find("CONTAINER_NAME", mislabelled.name());
    assert_eq!(trouble["PRIORITY"], "4");
    assert!(
        trouble["REMEDY"]
            .as_str()
            .is_some_and(|remedy| !remedy.is_empty())
    );
}
