//! The operator's commands, and what they say.

use std::process::{Command, Output};

use crate::testbed::{Entry, PROGRAM, Recipe, Testbed, has_words};

use super::setup::{ZWAVE, stick};

fn said(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn ports_shows_what_is_plugged_in_and_a_port_to_paste() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let output = bed.ttyplugd(&["ports"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (node, by_id) = (port.host_node(), port.by_id());
    let by_id = by_id.rsplit('/').next().expect("it has a name");
    let words = [&node, "0658", "0200", "Z1", by_id, "cdc_acm"];
    has_words(&output.stdout, &words);
    has_words(&output.stdout, &["[[port]]"]);
    has_words(bed.json("ports").to_string(), &words);
}

/// The output of `ports` can be put into the file as it is.
#[test]
fn the_port_to_paste_is_a_configuration() {
    let bed = Testbed::new();
    stick(63).plug();
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
    let bed = Testbed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let port = stick(63);
    port.plug();
    let output = bed.ttyplugd(&["plan"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let words = ["zwave", "make-node", "/dev/zwave", &port.devnum(), "0660"];
    has_words(said(&output), &words);
    has_words(bed.json("plan").to_string(), &["/dev/zwave"]);
    assert_eq!(container.own_names(), [""; 0]);
    assert_eq!(Entry::at(&bed.file("state")), Entry::Absent);

    // When it has been done there is nothing left to do.
    let daemon = bed.daemon();
    container.has_port(&port);
    daemon.stop();
    let text = said(&bed.ttyplugd(&["plan"]));
    assert!(!text.contains("make-"), "{text}");
}

#[test]
fn check_says_when_there_is_no_engine() {
    let bed = Testbed::with_config(ZWAVE);
    let host = "unix:///nonexistent/docker.sock";
    let output = bed.command(&["check"]).env("DOCKER_HOST", host).output();
    let output = output.expect("timeout, of coreutils, runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    has_words(said(&output), &["/nonexistent/docker.sock"]);
}

#[test]
fn mistakes_in_the_configuration_are_named_with_their_place() {
    let bed = Testbed::new();
    let port = "[[port]]\n";
    let named = &format!("{port}name = \"x\"\n");
    let matched = &format!("{named}match = {{ vendor = \"1\" }}\n");
    for (right, mistake, words) in [
        ("", r#"labls = "off""#, &["labls", "labels"][..]),
        ("", r#"labels = "never""#, &["never"]),
        ("", "[[port]", &[]),
        (port, r#"nmae = "x""#, &["nmae", "name"]),
        (port, "name = 7", &[]),
        (port, "name = \"a b\"\nmatch = { vendor = \"1\" }", &["a b"]),
        (named, r#"match = { vender = "1" }"#, &["vender", "vendor"]),
        (named, r#"match = { vendor = "[" }"#, &["vendor"]),
        (named, "match = {}", &["match"]),
        (matched, r#"mode = "0999""#, &["0999"]),
        (matched, r#"node = "x""#, &["absolute"]),
        (matched, r#"node = "/etc/x""#, &["/dev"]),
        (matched, r#"node = "/dev/../x""#, &[".."]),
        (matched, r#"hold = "1 week""#, &["1 week"]),
        (matched, "owner = -1", &["-1"]),
        (matched, r#"containers = ["["]"#, &[]),
    ] {
        bed.configure(&format!("{right}{mistake}"));
        let place = format!("config.toml:{}", right.lines().count() + 1);
        for command in ["run", "check", "plan"] {
            let output = bed.ttyplugd(&[command]);
            // For `check` a mistake is a finding; the others cannot work with such a file.
            let code = if command == "check" { 1 } else { 2 };
            assert!(
                output.status.code() == Some(code) || output.status.code() == Some(2),
                "{command}: {mistake}\n{output:?}"
            );
            has_words(said(&output), &[&[place.as_str()], words].concat());
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
