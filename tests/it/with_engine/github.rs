//! What GitHub reads of .github. These tests need no engine, but PyYAML.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::{Map, Value, json};
use ttyplugd::cli::Cli;

use crate::compose::yaml;
use crate::papers::read;

/// The one job that publishes.
const PUBLISHES: &str = "publish";

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".github")
        .join(directory);
    let files = fs::read_dir(directory).expect("it is there");
    let files: Vec<_> = files
        .map(|entry| entry.expect("it is there").path())
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn table(value: &Value) -> &Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("{value} is no table"))
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

/// All jobs of all workflows by their names.
fn jobs() -> Vec<(String, Value)> {
    let documents = files("workflows").into_iter().map(|file| yaml(&file));
    let jobs = documents.flat_map(|document| table(&document["jobs"]).clone());
    jobs.collect()
}

/// The words of all commands of a job.
fn commands(job: &Value) -> Vec<String> {
    let commands = list(&job["steps"])
        .iter()
        .filter_map(|step| step["run"].as_str());
    commands.map(String::from).collect()
}

/// A tag can be moved to another commit, and a commit cannot be changed.
#[test]
fn every_action_is_one_commit_of_a_version() {
    let mut number = 0;
    for file in files("workflows") {
        let text = fs::read_to_string(&file).expect("it is there");
        for line in text.lines().filter(|line| line.contains("uses:")) {
            let (_, commit) = line.split_once('@').expect(line);
            let (commit, version) = commit.split_once(" # v").expect(line);
            assert!(
                commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()),
                "{line}"
            );
            assert_eq!(version.split('.').count(), 3, "{line}");
            number += 1;
        }
    }
    assert!(number >= 8, "{number}");
}

#[test]
fn only_the_job_that_publishes_may_write_and_it_runs_nothing_of_the_repository() {
    for file in files("workflows") {
        let permissions = &yaml(&file)["permissions"];
        let nothing = table(permissions).is_empty();
        assert!(
            nothing || *permissions == json!({ "contents": "read" }),
            "{}",
            file.display()
        );
    }
    for (name, job) in jobs() {
        let steps = list(&job["steps"]);
        let checks_out = |step: &Value| step["uses"].to_string().contains("actions/checkout@");
        if name == PUBLISHES {
            let wanted = ["attestations", "contents", "id-token"];
            assert!(table(&job["permissions"]).keys().eq(wanted), "{job}");
            assert!(!steps.iter().any(checks_out), "{job}");
            continue;
        }
        let own = job["permissions"].as_object();
        assert!(
            own.is_none_or(|own| own.values().all(|right| right == "read")),
            "{job}"
        );
        for step in steps.iter().filter(|step| checks_out(step)) {
            assert_eq!(step["with"]["persist-credentials"], false, "{name}");
        }
    }
}

#[test]
fn every_job_has_a_time_limit_and_a_release_of_its_system() {
    for (name, job) in jobs() {
        let limit = job["timeout-minutes"].as_u64();
        assert!(limit.is_some_and(|minutes| minutes <= 120), "{name}");
        assert_eq!(job["runs-on"], "ubuntu-24.04", "{name}");
    }
}

/// What is between `${{` and `}}` is put into the script before the shell reads it.
#[test]
fn what_workflows_run_is_there_and_has_nothing_pasted_into_it() {
    let makefile = read("Makefile");
    let mut targets = BTreeSet::new();
    for command in jobs().iter().flat_map(|(_, job)| commands(job)) {
        assert!(!command.contains("${{"), "{command}");
        let words: Vec<_> = command.split_whitespace().collect();
        if let ["make", target, ..] = words[..] {
            assert!(makefile.contains(&format!("\n{target}:")), "{command}");
            targets.insert(target.to_owned());
        }
        if words[0].contains('/') {
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join(words[0])
                    .is_file(),
                "{command}"
            );
        }
    }
    let wanted = ["deny", "e2e", "release", "test", "test-applications"];
    assert!(targets.iter().map(String::as_str).eq(wanted), "{targets:?}");
}

/// The rules are GitHub's, "Syntax for issue forms" and "Syntax for GitHub's form schema".
#[test]
fn the_issue_forms_are_ones_and_ask_for_what_the_program_prints() {
    let mut asked = BTreeSet::new();
    for file in files("ISSUE_TEMPLATE") {
        let form = yaml(&file);
        if file.ends_with("config.yml") {
            continue;
        }
        assert!(
            form["name"].is_string() && form["description"].is_string(),
            "{form}"
        );
        let mut ids = BTreeSet::new();
        for field in list(&form["body"]) {
            if field["type"] == "markdown" {
                assert!(field["attributes"]["value"].is_string(), "{field}");
                continue;
            }
            assert!(
                ["textarea", "input"].contains(&field["type"].as_str().unwrap()),
                "{field}"
            );
            let label = field["attributes"]["label"]
                .as_str()
                .expect("a field has a label");
            assert!(ids.insert(field["id"].as_str().expect("a field has an id").to_owned()));
            if let Some(command) = label.strip_prefix("sudo ") {
                let parsed = Cli::try_parse_from(command.split(' '));
                assert!(parsed.is_ok(), "{command}");
                assert_eq!(field["validations"]["required"], true, "{field}");
                asked.insert(command.to_owned());
            }
        }
    }
    let wanted = ["ttyplugd check --json", "ttyplugd ports --json"];
    assert!(asked.iter().map(String::as_str).eq(wanted), "{asked:?}");
}
