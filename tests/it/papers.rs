//! What an operator reads says what the program does: every key, label, command, option and kind
//! of message is in it, and nothing that there is not.

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
