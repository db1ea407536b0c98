//! The operator's commands, and what they say.

use std::process::{Command, Output};

use crate::bed::{Bed, Entry, PROGRAM, Port, Recipe};

use super::ZWAVE;

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

fn said(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn ports_shows_what_is_plugged_in_and_a_port_to_paste() {
    let bed = Bed::new();
    stick(63).plug();
    let output = bed.ttyplugd(&["ports"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = said(&output);
    for word in [
        &stick(63).host_node(),
        "0658",
        "0200",
        "Z1",
        "usb-Test_T63-if00",
        "cdc_acm",
        "[[port]]",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json = bed.json("ports").to_string();
    for word in [
        &stick(63).host_node(),
        "0658",
        "0200",
        "Z1",
        "usb-Test_T63-if00",
        "cdc_acm",
    ] {
        assert!(json.contains(word), "{word}: {json}");
    }
}

/// What `ports` prints can be put into the file as it is.
#[test]
fn the_port_to_paste_is_a_configuration() {
    let bed = Bed::new();
    let port = stick(63);
    port.plug();
    let text = said(&bed.ttyplugd(&["ports"]));
    let begin = text.find("[[port]]").expect("there is one");
    let lines = text[begin..].lines().map(str::trim);
    let snippet: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let mut snippet = snippet.join("\n");
    if !snippet.contains("\ncontainers") {
        snippet.push_str("\ncontainers = [\"*\"]");
    }
    bed.configure(&snippet);
    let plan = bed.ttyplugd(&["plan"]);
    assert_eq!(plan.status.code(), Some(0), "{snippet}\n{plan:?}");
}

#[test]
fn plan_says_what_would_be_done_and_does_nothing() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    stick(63).plug();
    let output = bed.ttyplugd(&["plan"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = said(&output);
    for word in [
        "zwave",
        "make-node",
        "/dev/zwave",
        &stick(63).devnum(),
        "0660",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(bed.json("plan").to_string().contains("/dev/zwave"));
    assert_eq!(container.own_names(), [""; 0]);
    assert_eq!(Entry::at(&bed.file("state")), Entry::Absent);

    // When it has been done there is nothing left to do.
    let daemon = bed.daemon();
    container.gets(
        "/dev/serial/by-id/usb-Test_T63-if00",
        &Entry::link("../../zwave"),
    );
    daemon.stop();
    let text = said(&bed.ttyplugd(&["plan"]));
    assert!(!text.contains("make-"), "{text}");
}

#[test]
fn check_says_when_there_is_no_engine() {
    let bed = Bed::with_config(ZWAVE);
    let output = Command::new("timeout")
        .args(["60", PROGRAM, "check", "--config"])
        .arg(bed.file("config.toml"))
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .expect("timeout, of coreutils, runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        said(&output).contains("/nonexistent/docker.sock"),
        "{output:?}"
    );
}

#[test]
fn mistakes_in_the_configuration_are_named_with_their_place() {
    let bed = Bed::new();
    for (mistake, line, words) in [
        ("labls = \"off\"", 1, &["labls", "labels"][..]),
        ("labels = \"never\"", 1, &["never"]),
        ("[[port]]\nnmae = \"x\"", 2, &["nmae", "name"]),
        (
            "[[port]]\nname = \"x\"\nmatch = { vender = \"1\" }",
            3,
            &["vender", "vendor"],
        ),
        ("[[port]]\nname = 7", 2, &[]),
        (
            "[[port]]\nname = \"a b\"\nmatch = { vendor = \"1\" }",
            2,
            &["a b"],
        ),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"[\" }",
            3,
            &["vendor"],
        ),
        ("[[port]]\nname = \"x\"\nmatch = {}", 3, &["match"]),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"1\" }\nmode = \"0999\"",
            4,
            &["0999"],
        ),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"1\" }\nnode = \"x\"",
            4,
            &["absolute"],
        ),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"1\" }\nnode = \"/etc/x\"",
            4,
            &["/dev"],
        ),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"1\" }\nnode = \"/dev/../x\"",
            4,
            &[".."],
        ),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"1\" }\nhold = \"1 week\"",
            4,
            &["1 week"],
        ),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"1\" }\nowner = -1",
            4,
            &["-1"],
        ),
        (
            "[[port]]\nname = \"x\"\nmatch = { vendor = \"1\" }\ncontainers = [\"[\"]",
            4,
            &[],
        ),
        ("[[port]", 1, &[]),
    ] {
        bed.configure(mistake);
        for command in ["run", "check", "plan"] {
            let output = bed.ttyplugd(&[command]);
            let text = said(&output);
            // For `check` a mistake is a finding; the others cannot work with such a file.
            let code = if command == "check" { 1 } else { 2 };
            assert!(
                output.status.code() == Some(code) || output.status.code() == Some(2),
                "{command}: {mistake}\n{output:?}"
            );
            assert!(
                text.contains(&format!("config.toml:{line}")),
                "{mistake}\n{text}"
            );
            for word in words {
                assert!(text.contains(word), "{mistake}: {word}\n{text}");
            }
        }
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    for arguments in [
        &["frobnicate"][..],
        &["check", "--jsno"],
        &["run", "--config"],
        &[],
    ] {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["check", "--help"]] {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    }
}
