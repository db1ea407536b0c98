use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const PROGRAM: &str = "/usr/bin/ttyplug-runtime";

fn with(text: &str) -> String {
    EngineFile::parse(text).unwrap().with(PROGRAM)
}

fn without(text: &str) -> Without {
    EngineFile::parse(text).unwrap().without().unwrap().unwrap()
}

fn error(text: &str) -> FileError {
    EngineFile::parse(text).unwrap_err()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_entry_is_set_in_the_style_of_the_file() {
    for (before, after) in [
        (
            "{\n    \"log-driver\": \"journald\"\n}\n",
            "{\n    \"log-driver\": \"journald\",\n    \"runtimes\": {\n        \
             \"ttyplug\": { \"path\": \"/usr/bin/ttyplug-runtime\" }\n    }\n}\n",
        ),
        (
            "{\n\t\"runtimes\": {\n\t\t\"nvidia\": {\"path\": \"x\"}\n\t},\n\t\"debug\": true\n}",
            "{\n\t\"runtimes\": {\n\t\t\"nvidia\": {\"path\": \"x\"},\n\t\t\
             \"ttyplug\": { \"path\": \"/usr/bin/ttyplug-runtime\" }\n\t},\n\t\"debug\": true\n}",
        ),
        (
            "{\"debug\": true}",
            "{\"debug\": true, \"runtimes\": {\"ttyplug\": { \"path\": \"/usr/bin/ttyplug-runtime\" }}}",
        ),
        (
            "{}\n",
            "{\"runtimes\": {\"ttyplug\": { \"path\": \"/usr/bin/ttyplug-runtime\" }}}\n",
        ),
    ] {
        assert_eq!(with(before), after);
        assert_eq!(without(after).to_keep.as_deref(), Some(before));
    }
}

#[test]
fn further_names_of_the_wrapper_are_known_and_stay() {
    let text = r#"{"runtimes": {"ttyplug": {"path": "/usr/bin/ttyplug-runtime"},
        "holds": {"path": "/opt/ttyplug-runtime", "runtimeArgs": ["--runtime", "crun"]},
        "bare": {"path": "ttyplug-runtime"}, "runc-2": {"path": "/usr/bin/runc"},
        "like": {"path": "/usr/bin/not-ttyplug-runtime"}, "new": {"runtimeType": "x"}}}"#;
    let parsed = EngineFile::parse(text).unwrap();
    assert_eq!(parsed.others(), ["bare", "holds"]);
    let kept = without(text).to_keep.unwrap();
    assert_eq!(
        EngineFile::parse(&kept).unwrap().others(),
        ["bare", "holds"]
    );
}

#[test]
fn a_file_that_is_all_ours_goes_and_any_other_stays() {
    let new = new_file(PROGRAM);
    assert_eq!(value(&new)["runtimes"][RUNTIME]["path"], PROGRAM);
    assert_eq!(without(&new).to_keep, None);
    let touched = format!("{new}\n");
    assert_eq!(without(&touched).to_keep.as_deref(), Some("{\n}\n\n"));
}

#[test]
fn the_engine_is_made_to_forget_by_a_file_that_has_runtimes() {
    let without = without(&with("{ \"debug\": true }"));
    assert_eq!(value(&without.to_reload)["runtimes"], serde_json::json!({}));
    assert_eq!(without.to_keep.as_deref(), Some("{ \"debug\": true }"));
}

#[test]
fn another_path_is_replaced_and_arguments_stay() {
    let text = r#"{"runtimes": {"ttyplug": {"runtimeArgs": ["--run-dir", "/x"], "path":"/old"}}}"#;
    let file = EngineFile::parse(text).unwrap();
    assert_eq!(
        file.registration().unwrap(),
        &Registration {
            path: "/old".into(),
            runtime_args: vec!["--run-dir".into(), "/x".into()]
        }
    );
    assert_eq!(file.with(PROGRAM), text.replace("/old", PROGRAM));
}

#[test]
fn a_name_is_known_however_it_is_written() {
    let text = r#"{"runtimes": {"\u0074typlug": {"path": "/old"}}}"#;
    let file = EngineFile::parse(text).unwrap();
    assert_eq!(file.registration().unwrap().path, "/old");
    // A string is not taken for what it looks like.
    let text = r#"{"a": "{\"runtimes\": {\"ttyplug\": {\"path\": \"/old\"}}}"}"#;
    assert_eq!(EngineFile::parse(text).unwrap().registration(), None);
}

#[test]
fn what_the_engine_would_not_understand_is_not_edited() {
    let no_json = [
        "",
        "# a comment\n{}",
        "{ \"debug\": true, } ",
        "{ // no\n}",
        "{} {}",
    ];
    for text in no_json {
        assert!(matches!(error(text), FileError::NoJson(_)), "{text}");
    }
    for (text, expected) in [
        ("[]", FileError::NoObject("it")),
        ("\"{}\"", FileError::NoObject("it")),
        ("{\"runtimes\": null}", FileError::NoObject("`runtimes`")),
        ("{\"runtimes\": []}", FileError::NoObject("`runtimes`")),
        (
            "{\"runtimes\": {}, \"runtimes\": {}}",
            FileError::Twice("runtimes"),
        ),
        (
            "{\"runtimes\": {\"ttyplug\": {\"path\": \"a\"}, \"ttyplug\": {\"path\": \"b\"}}}",
            FileError::Twice("ttyplug"),
        ),
        ("{\"runtimes\": {\"ttyplug\": 1}}", FileError::NoRuntime),
        (
            "{\"runtimes\": {\"ttyplug\": {\"runtimeType\": \"x\"}}}",
            FileError::NoRuntime,
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn the_default_runtime_is_not_taken_out() {
    let text = with("{\"default-runtime\": \"ttyplug\"}");
    let file = EngineFile::parse(&text).unwrap();
    assert_eq!(file.without(), Err(FileError::IsDefault));
}

#[test]
fn what_an_engine_was_started_with_says_which_file_it_reads() {
    let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
    for (line, file, runtimes) in [
        ("dockerd -H fd://", DEFAULT_FILE, false),
        ("dockerd --config-file /a --add-runtime x=y", "/a", true),
        ("dockerd --add-runtime=x=y --config-file=/a", "/a", true),
        (
            "dockerd --config-files /b --config-file",
            DEFAULT_FILE,
            false,
        ),
    ] {
        assert_eq!(
            named_file(&words(line)).unwrap_or(DEFAULT_FILE),
            file,
            "{line}"
        );
        assert_eq!(has_runtimes(&words(line)), runtimes, "{line}");
    }
}

/// White space as people and editors write it.
fn space() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        2 => Just(" ".to_owned()),
        2 => "\n {0,4}",
        1 => "\r\n\t{0,2}",
        1 => "[ \t\r\n]{0,3}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("\"runc\"".to_owned()),
        any::<String>().prop_map(|text| quoted(&format!("x{text}"))),
        Just(r#""\u0041\"\\}{""#.to_owned()),
    ];
    let scalar = prop_oneof![
        any::<String>().prop_map(|text| quoted(&text)),
        any::<i32>().prop_map(|number| number.to_string()),
        Just("-0.5e+3".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just(r#""\\\"}],:{[""#.to_owned()),
    ];
    let member_name = name.clone();
    let values = scalar.prop_recursive(3, 16, 4, move |inner| {
        let padded = (space(), inner.clone(), space()).prop_map(|(a, value, b)| a + &value + &b);
        let members = object(vec((member_name.clone(), inner), 0..4).boxed());
        prop_oneof![
            vec(padded, 1..4).prop_map(|items| format!("[{}]", items.join(","))),
            members,
        ]
    });
    let runtimes = object(vec((name.clone(), values.clone()), 1..4).boxed());
    let members = vec((name, values), 0..4);
    let document = (members, proptest::option::of((0..5_usize, runtimes))).prop_map(
        |(mut members, runtimes)| {
            if let Some((place, value)) = runtimes {
                members.insert(place.min(members.len()), ("\"runtimes\"".into(), value));
            }
            members
        },
    );
    (space(), object(document.boxed()), space()).prop_map(|(a, object, b)| a + &object + &b)
}

/// An object of these members, with any white space wherever there may be some.
fn object(members: BoxedStrategy<Vec<(String, String)>>) -> BoxedStrategy<String> {
    let spaced = members.prop_flat_map(|members| {
        let count = members.len();
        (
            Just(members),
            vec([space(), space(), space(), space()], count),
            space(),
        )
    });
    spaced
        .prop_map(|(members, spaces, end)| {
            let members = members.iter().zip(&spaces).map(|((name, value), spaces)| {
                let [a, b, c, d] = spaces;
                format!("{a}{name}{b}:{c}{value}{d}")
            });
            let members: Vec<_> = members.collect();
            // White space behind the last member is the last member's own.
            let end = if members.is_empty() {
                end
            } else {
                String::new()
            };
            format!("{{{}{end}}}", members.join(","))
        })
        .boxed()
}

proptest! {
    #[test]
    fn taking_out_what_was_put_in_gives_the_same_text(text in text()) {
        prop_assert_eq!(without(&with(&text)).to_keep, Some(text));
    }

    #[test]
    fn everything_but_our_entry_means_what_it_meant(text in text()) {
        let mut expected = value(&text);
        expected["runtimes"][RUNTIME]["path"] = PROGRAM.into();
        let edited = with(&text);
        prop_assert_eq!(value(&edited), expected.clone());
        prop_assert_eq!(with(&edited), edited.clone());
        let runtimes = expected["runtimes"].as_object_mut().unwrap();
        runtimes.remove(RUNTIME);
        prop_assert_eq!(value(&without(&edited).to_reload), expected);
    }

    #[test]
    fn no_text_makes_the_editor_panic(text: String) {
        let _ = EngineFile::parse(&text);
    }

    /// One with much of what JSON is made of.
    #[test]
    fn no_almost_json_makes_the_editor_panic(text in "[{}\\[\\]\",:\\\\ \na0]{0,24}") {
        if let Ok(file) = EngineFile::parse(&text) {
            prop_assert!(EngineFile::parse(&file.with(PROGRAM)).is_ok());
        }
    }
}
