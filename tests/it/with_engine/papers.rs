//! The documentation, read by the programs that show it. These tests need no engine, but programs
//! that `make test` installs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use ttyplugd::config::labels::{self, PortRequests};
use ttyplugd::config::settings::LabelPolicy;

use crate::compose::services;
use crate::docs::pages;
use crate::papers::{blocks, catalog, read};
use crate::testbed::run;

#[test]
fn journalctl_reads_every_entry_of_the_catalog() {
    let root = TempDir::new().unwrap();
    let directory = root.path().join("usr/lib/systemd/catalog");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/ttyplugd.catalog"),
        directory.join("ttyplugd.catalog"),
    )
    .unwrap();
    let root = format!("--root={}", root.path().display());
    let updated = Command::new("journalctl")
        .args([&root, "--update-catalog"])
        .output()
        .expect("journalctl, of systemd, runs");
    // It says so and goes on where it does not understand an entry.
    assert!(updated.status.success(), "{updated:?}");
    assert!(updated.stderr.is_empty(), "{updated:?}");
    let listed = run("journalctl", &[&root, "--list-catalog"]);
    for (id, entry) in catalog() {
        let subject = entry
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("Subject: ");
        assert!(
            listed.contains(&format!("{id} ttyplugd: {subject}")),
            "{id} is not in\n{listed}"
        );
    }
}

#[test]
fn groff_has_nothing_to_say_about_the_manual_pages() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut seen = 0;
    for page in fs::read_dir(pages).unwrap() {
        let page = page.unwrap().path();
        // As man(1) would call it, with all warnings and nothing printed.
        let output = Command::new("groff")
            .args(["-mandoc", "-ww", "-z", "-Tutf8"])
            .arg(&page)
            .output()
            .expect("groff, of groff-base, runs");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "{}", page.display());
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} pages");
}

#[test]
fn promtool_finds_the_alerts_to_be_what_their_tests_expect() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/metrics");
    let file = |name: &str| examples.join(name).to_string_lossy().into_owned();
    run("promtool", &["check", "config", &file("prometheus.yml")]);
    run("promtool", &["test", "rules", &file("alerts_test.yml")]);
}

/// The compose files of examples/.
fn compose_files() -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let directories = fs::read_dir(examples).unwrap();
    let files = directories.map(|entry| entry.unwrap().path().join("compose.yaml"));
    let files: Vec<_> = files.filter(|file| file.exists()).collect();
    assert!(files.len() >= 5, "{files:?}");
    files
}

#[test]
fn every_service_of_the_examples_that_has_a_port_has_what_it_takes_and_no_wider_right() {
    for file in compose_files() {
        let mut served = 0;
        for service in services(&file) {
            let place = format!("{} of {}", service.name, file.display());
            let wishes = labels::port_requests(&service.labels(), LabelPolicy::Container, &[]);
            let wishes = wishes.unwrap_or_else(|error| panic!("{place}: {error}"));
            if wishes == PortRequests::default() {
                continue;
            }
            served += 1;
            assert_eq!(service.text("runtime"), "ttyplug", "{place}");
            for key in [
                "devices",
                "device_cgroup_rules",
                "privileged",
                "cap_drop",
                "security_opt",
            ] {
                assert!(!service.keys.contains_key(key), "{place}: {key}");
            }
            for port in &wishes.own {
                let node = port.node.path.as_ref();
                let node = node.unwrap_or_else(|| panic!("{place}: {} has no node", port.name));
                let told = service.environment();
                assert!(
                    told.values().any(|value| value == node.as_str()),
                    "{place}: its application is not told of {node}: {told:?}"
                );
            }
        }
        assert!(served > 0, "{} has no port", file.display());
    }
}

#[test]
fn every_compose_file_that_a_page_shows_has_labels_that_are_understood() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("compose.yaml");
    let texts: Vec<_> = pages().iter().map(|page| read(page)).collect();
    let shown = texts.iter().flat_map(|text| blocks(text, "yaml"));
    let mut seen = 0;
    for block in shown.filter(|block| block.contains("services:")) {
        fs::write(&file, block).unwrap();
        for service in services(&file) {
            let wishes = labels::port_requests(&service.labels(), LabelPolicy::Container, &[]);
            assert_ne!(wishes, Ok(PortRequests::default()), "{block}");
            wishes.unwrap_or_else(|error| panic!("{error}\n{block}"));
            assert_eq!(service.text("runtime"), "ttyplug", "{block}");
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen}");
}

#[test]
fn the_applications_are_built_on_their_base_images_and_answer_on_port_6769() {
    for (directory, base) in [
        ("node", "node:20.10-buster-slim"),
        ("python", "python:3.11-slim-buster"),
    ] {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let example = example.join(directory);
        let dockerfile = fs::read_to_string(example.join("Dockerfile")).unwrap();
        let lines: Vec<_> = dockerfile.lines().collect();
        for line in [&format!("FROM {base}"), "EXPOSE 6769"] {
            assert!(lines.contains(&line), "{directory}: no {line}");
        }
        // Everything that it copies is there.
        for line in lines.iter().filter_map(|line| line.strip_prefix("COPY ")) {
            let files: Vec<_> = line.split(' ').collect();
            for file in &files[..files.len() - 1] {
                assert!(example.join(file).exists(), "{directory}: {file}");
            }
        }
        for service in services(&example.join("compose.yaml")) {
            assert_eq!(service.list("ports"), ["6769:6769"], "{directory}");
            assert_eq!(service.list("group_add"), ["20"], "{directory}");
        }
    }
}
