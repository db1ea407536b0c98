//! The shipped configuration, the catalog and the manual pages say what the program does: they have
//! every key, label, command, option and kind of message, and none that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use ttyplugd::config;
use ttyplugd::config::labels;
use ttyplugd::config::settings::{LabelPolicy, Settings};
use ttyplugd::hold::DEFAULT_HOLD;
use ttyplugd::hold::held_opens::Reason;
use ttyplugd::model::Mode;
use ttyplugd::model::match_key::MatchKey;
use ttyplugd::model::port::NodeSpec;
use ttyplugd::model::problem::Failure;

use crate::tidy::code;

pub(crate) fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Settings {
    let file = (PathBuf::from("config.toml"), text.to_owned());
    config::parse(&[file]).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

/// The keys that the program names when it is shown one that it does not know.
pub(crate) fn known_keys(place: &str) -> Vec<String> {
    let file = (PathBuf::from("x"), format!("{place}\nQ = 1\n"));
    let errors = config::parse(&[file]).unwrap_err();
    let message = errors[0].to_string();
    let list = message.split_once("expected").expect(&message).1;
    let keys = list.split('`').skip(1).step_by(2).map(String::from);
    keys.collect()
}

/// The lines of code of the shipped configuration, without their marks.
fn code_of_the_configuration() -> String {
    let text = read("packaging/config.toml");
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with(' '));
    code.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_shipped_configuration_changes_nothing() {
    assert_eq!(parse(&read("packaging/config.toml")), Settings::default());
}

#[test]
fn the_shipped_configuration_has_every_key_with_its_default() {
    let code = code_of_the_configuration();
    let settings = parse(&code);
    assert_eq!(settings.labels, Settings::default().labels);
    let [port] = settings.ports.as_slice() else {
        panic!("not one port: {settings:#?}");
    };
    let default = NodeSpec::default();
    assert_eq!(port.node.mode, Some(Mode::DEFAULT));
    assert_eq!(port.node.owner, default.owner);
    assert_eq!(port.hold, Some(DEFAULT_HOLD));

    let top = known_keys("");
    let of_port = known_keys("[[port]]");
    assert!(top.contains(&"labels".into()), "{top:?}");
    assert!(of_port.contains(&"hold".into()), "{of_port:?}");
    for key in top.iter().filter(|key| *key != "port").chain(&of_port) {
        let line = format!("{key} = ");
        assert!(
            code.lines().any(|known| known.starts_with(&line)),
            "{key} is not in packaging/config.toml"
        );
    }
    let text = read("packaging/config.toml");
    for key in MatchKey::NAMES {
        assert!(text.contains(key), "{key} is not in packaging/config.toml");
    }
}

/// The kinds of message, by their MESSAGE_ID, as src/logging.rs names them.
fn kinds() -> BTreeMap<String, String> {
    let text = read("src/sys/logging.rs");
    let constants = text.split("pub const ").skip(1);
    let kinds: BTreeMap<_, _> = constants
        .filter_map(|rest| {
            let (name, rest) = rest.split_once(": &str = \"")?;
            Some((rest.split_once('"')?.0.to_owned(), name.to_owned()))
        })
        .collect();
    assert!(kinds.len() >= 10, "{kinds:?}");
    kinds
}

/// Everything that is logged with a kind: the text of each call, from the kind to its end.
fn messages(kind: &str) -> Vec<String> {
    let named = format!("message_id = kind::{kind},");
    let mut messages = Vec::new();
    for (_, text) in code() {
        let calls = text.split(&named).skip(1);
        messages.extend(calls.map(|rest| rest.split(");").next().unwrap().to_owned()));
    }
    assert!(!messages.is_empty(), "nothing is logged as {kind}");
    messages
}

/// The entries of the catalog, by their MESSAGE_ID.
pub(crate) fn catalog() -> BTreeMap<String, String> {
    let text = read("systemd/ttyplugd.catalog");
    let mut entries = BTreeMap::new();
    for entry in text.split("\n-- ").skip(1) {
        let (id, entry) = entry.split_once('\n').expect("an entry has lines");
        let before = entries.insert(id.to_owned(), entry.to_owned());
        assert_eq!(before, None, "{id} has two entries");
    }
    entries
}

#[test]
fn every_warning_and_every_error_has_a_kind() {
    let mut number = 0;
    for (file, text) in code() {
        for call in ["warn!(", "error!("] {
            for rest in text.split(call).skip(1) {
                let message = rest.split(");").next().unwrap();
                let has_kind = message.trim_start().starts_with("message_id = kind::");
                assert!(has_kind, "in src/{file}.rs: {call}{message}");
                number += 1;
            }
        }
    }
    assert!(number >= 20, "{number}");
}

#[test]
fn every_kind_of_message_has_one_entry_in_the_catalog() {
    let (kinds, entries) = (kinds(), catalog());
    let ids = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(ids(&entries), ids(&kinds), "{kinds:#?}");
}

#[test]
fn a_catalog_entry_names_only_fields_that_every_message_of_its_kind_has() {
    let kinds = kinds();
    for (id, entry) in catalog() {
        let kind = &kinds[&id];
        for field in entry.split('@').skip(1).step_by(2) {
            let field = field.to_lowercase();
            for message in messages(kind) {
                let words = message.split(|c: char| !c.is_alphanumeric() && c != '_');
                assert!(
                    words.into_iter().any(|word| word == field),
                    "@{field}@ of {kind} is not in {message}"
                );
            }
        }
    }
}

/// Every command with its options, e.g. `runtime enable`; clap's own are left out.
fn commands(command: &clap::Command, path: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for command in command.get_subcommands() {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        if command.has_subcommands() {
            found.extend(commands(command, &path));
        } else {
            let options = command.get_arguments().filter_map(clap::Arg::get_long);
            found.push((path, options.map(String::from).collect()));
        }
    }
    found
}

/// The entries of the lists in a manual page, without macros: an option is `--json`.
fn items(page: &str) -> Vec<String> {
    let entries = page.lines().filter_map(|line| line.strip_prefix(".It "));
    entries
        .map(|entry| {
            let words = entry.split(' ').filter(|word| {
                !["Cm", "Op", "Oo", "Oc", "Ar", "Ns", "Li", "|", ",", "Pa"].contains(word)
            });
            words.collect::<Vec<_>>().join(" ").replace("Fl ", "-")
        })
        .collect()
}

#[test]
fn the_manual_page_has_every_command_and_every_option() {
    let items = items(&read("man/ttyplugd.8"));
    let commands = commands(&ttyplugd::cli::Cli::command(), "");
    assert!(commands.len() >= 5, "{commands:?}");
    for (command, options) in commands {
        let entry = items
            .iter()
            .find(|item| **item == command || item.starts_with(&format!("{command} ")))
            .unwrap_or_else(|| panic!("`{command}` is not in {items:#?}"));
        for option in options {
            let written = format!("--{option}");
            assert!(
                entry.split(' ').any(|word| word == written),
                "`{command}` has --{option}, and its entry is {entry}"
            );
            let explained = |item: &String| item.split(' ').next() == Some(&written);
            assert!(
                items.iter().any(explained),
                "--{option} is not explained in {items:#?}"
            );
        }
    }
}

#[test]
fn the_manual_page_explains_no_option_that_there_is_not() {
    let commands = commands(&ttyplugd::cli::Cli::command(), "");
    let known: BTreeSet<_> = commands.iter().flat_map(|(_, options)| options).collect();
    let items = items(&read("man/ttyplugd.8"));
    for option in items.iter().filter_map(|item| item.strip_prefix("--")) {
        let name = option.split(' ').next().unwrap().to_owned();
        let is_claps_own = ["help", "version"].contains(&name.as_str());
        assert!(
            is_claps_own || known.contains(&name),
            "there is no --{name}"
        );
    }
}

#[test]
fn the_manual_page_has_every_kind_of_message() {
    let page = read("man/ttyplugd.8");
    for (id, kind) in kinds() {
        assert!(page.contains(&format!(".It Li {id} Ta ")), "{kind} {id}");
    }
}

#[test]
fn the_manual_page_of_the_configuration_has_every_key_and_label() {
    let page = read("man/ttyplugd.toml.5");
    let items = items(&page);
    let keys = [known_keys(""), known_keys("[[port]]")].concat();
    for key in keys
        .iter()
        .map(String::as_str)
        .chain(MatchKey::NAMES.iter().copied())
    {
        let named = |item: &String| item.split(' ').any(|word| word == key);
        assert!(items.iter().any(named), "{key} is not in {items:#?}");
    }
    for label in known_labels() {
        let named =
            page.contains(&format!("ttyplugd.{label}")) || page.contains(&format!(".{label}="));
        assert!(named, "the label {label} is not in man/ttyplugd.toml.5");
    }
}

/// The last words of the labels that the program names when it is shown one that it does not know.
pub(crate) fn known_labels() -> Vec<String> {
    let errors = ["Q", "port.x.Q"].map(|label| {
        let labels = BTreeMap::from([(format!("ttyplugd.{label}"), "1".to_owned())]);
        let requests = labels::port_requests(&labels, LabelPolicy::Container, &[]);
        requests.unwrap_err().to_string()
    });
    let lists = errors.iter().map(|error| {
        let (_, list) = error.split_once("known keys are ").expect(error);
        list.split(": ").next().unwrap()
    });
    let words = lists.flat_map(|list| list.split(", "));
    let words = words.filter(|word| !word.contains('"') && !word.contains(' '));
    words.map(String::from).collect()
}

#[test]
fn the_manual_page_of_the_runtime_has_every_option() {
    let items = items(&read("man/ttyplug-runtime.8"));
    let source = read("src/runtime/options.rs");
    let options = source.lines().filter_map(|line| {
        let (option, rest) = line.trim().strip_prefix("\"--")?.split_once('"')?;
        rest.starts_with(" => options.").then_some(option)
    });
    let options: Vec<_> = options.collect();
    assert!(options.contains(&"runtime"), "{options:?}");
    for option in options {
        let named = |item: &String| item.starts_with(&format!("--{option} "));
        assert!(items.iter().any(named), "--{option} is not in {items:#?}");
    }
}

#[test]
fn the_readme_has_every_command() {
    let readme = read("README.md");
    for (command, _) in commands(&ttyplugd::cli::Cli::command(), "") {
        let first = command.split(' ').next().unwrap();
        let row = format!("| `ttyplugd {first}");
        assert!(readme.contains(&row), "{command} is not in README.md");
    }
}

/// E.g. `00-install`.
fn is_scenario(word: &str) -> bool {
    word.split_once('-').is_some_and(|(number, rest)| {
        number.len() == 2
            && number.parse::<u8>().is_ok()
            && rest.starts_with(|c: char| c.is_ascii_lowercase())
    })
}

#[test]
fn every_test_that_a_page_names_is_there() {
    for (page, at_least) in [("docs/compose-and-engines.md", 25), ("SECURITY.md", 15)] {
        let text = read(page);
        let words = text.split('`').skip(1).step_by(2);
        let files: Vec<_> = words.filter_map(|word| Some((word, test(word)?))).collect();
        for (word, file) in &files {
            assert!(file.is_file(), "{page} names {word}");
        }
        assert!(
            files.len() >= at_least,
            "{page} names {} tests",
            files.len()
        );
    }
}

#[test]
fn the_papers_for_who_carries_it_on_lead_to_each_other() {
    let papers = ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"];
    for paper in papers {
        let text = read(paper);
        for other in papers.iter().filter(|other| **other != paper) {
            assert!(
                text.contains(&format!("]({other})")),
                "{paper} does not link {other}"
            );
        }
    }
}

/// The file of a test or scenario.
fn test(word: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    if is_scenario(word) {
        return Some(here.join(format!("e2e/scenarios/{word}.sh")));
    }
    word.starts_with("with_engine::")
        .then(|| here.join(format!("it/{}.rs", word.replace("::", "/"))))
}

#[test]
fn the_manual_page_has_every_cause_and_outcome_that_is_counted() {
    let page = read("man/ttyplugd.8");
    let causes = Failure::ALL.map(Failure::word);
    let outcomes = Reason::ALL.map(Reason::word);
    for word in causes.iter().chain(&outcomes) {
        let named = |line: &str| line.split(' ').any(|known| known == *word);
        assert!(page.lines().any(named), "{word} is not in man/ttyplugd.8");
    }
}

/// The blocks of a text that are fenced as this language.
pub(crate) fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = text.split(fence.as_str()).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn every_configuration_that_the_manual_page_shows_is_one() {
    let page = read("man/ttyplugd.toml.5");
    let examples = page.split(".Bd -literal -offset indent\n").skip(1);
    let examples: Vec<_> = examples
        .map(|rest| rest.split(".Ed").next().unwrap())
        .collect();
    assert!(examples.len() >= 4, "{examples:#?}");
    for example in examples {
        assert!(!parse(example).ports.is_empty(), "{example}");
    }
}

/// `make test-applications` runs the application with the package of tests/applications.
#[test]
fn the_node_application_has_the_package_that_is_tested() {
    let version = |file: &str| {
        let package: serde_json::Value = serde_json::from_str(&read(file)).unwrap();
        package["dependencies"]["serialport"].clone()
    };
    let tested = version("tests/applications/package.json");
    assert!(tested.is_string(), "{tested}");
    assert_eq!(version("examples/node/package.json"), tested);
}

/// docs/watch.py has drawn it from the program of that time.
#[test]
fn the_picture_of_status_has_the_columns_that_status_has() {
    let (source, picture) = (read("src/cli/status.rs"), read("docs/watch.svg"));
    let is_head = |word: &&str| {
        word.len() >= 3
            && word.chars().all(|c| c.is_ascii_uppercase() || c == ' ')
            && *word == word.trim()
    };
    let heads: BTreeSet<_> = source.split('"').filter(is_head).collect();
    assert!(heads.len() >= 9, "{heads:?}");
    for head in heads {
        assert!(picture.contains(head), "{head}: draw docs/watch.svg anew");
    }
}
