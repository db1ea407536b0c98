//! What an operator reads says what the program does: every key, label, command, option and kind
//! of message is in it, and nothing that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ttyplugd::config::{self, Settings};
use ttyplugd::hold::DEFAULT_HOLD;
use ttyplugd::port::Look;
use ttyplugd::selector::MATCH_KEYS;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Settings {
    let file = (PathBuf::from("config.toml"), text.to_owned());
    config::parse(&[file]).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

/// The keys that the program names when it is shown one that it does not know.
fn known_keys(place: &str) -> Vec<String> {
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
    let default = Look::default();
    assert_eq!(port.look.mode, default.mode);
    assert_eq!(port.look.owner, default.owner);
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
    for key in MATCH_KEYS {
        assert!(text.contains(key), "{key} is not in packaging/config.toml");
    }
}

/// The kinds of message, by their MESSAGE_ID, as src/logging.rs names them.
fn kinds() -> BTreeMap<String, String> {
    let text = read("src/logging.rs");
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
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(&path).unwrap();
            let calls = text.split(&named).skip(1);
            messages.extend(calls.map(|rest| rest.split(");").next().unwrap().to_owned()));
        }
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
