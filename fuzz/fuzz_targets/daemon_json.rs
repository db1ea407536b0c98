//! The edit of the engine's daemon.json: nothing but our entry changes, and it can be taken back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, from_str, json};
use ttyplugd::engine::daemon_json::{EngineFile, FileError, RUNTIME};
use ttyplugd_fuzz::bounded;

const PROGRAM: &str = "/usr/bin/ttyplug-runtime";

fuzz_target!(|text: &str| {
    let Ok(file) = bounded(|| EngineFile::parse(text)) else {
        return;
    };
    let before: Value = from_str(text).expect("it was parsed");
    let with = bounded(|| file.with(PROGRAM));
    let mut expected = before.clone();
    let own = &mut expected["runtimes"][RUNTIME];
    if own.is_null() {
        *own = json!({});
    }
    own["path"] = json!(PROGRAM);
    assert_eq!(from_str::<Value>(&with).expect("it is JSON"), expected);

    let registered = EngineFile::parse(&with).expect("it can be edited again");
    assert_eq!(registered.with(PROGRAM), with);
    match registered.without() {
        Err(error) => {
            assert_eq!(error, FileError::IsDefault);
            assert_eq!(before["default-runtime"], RUNTIME);
        }
        Ok(None) => panic!("it is not registered"),
        Ok(Some(without)) => {
            let to_reload = from_str(&without.to_reload).expect("it is JSON");
            assert_eq!(others(to_reload), others(before.clone()));
            let to_keep = without.to_keep.as_deref().unwrap_or("{}");
            assert_eq!(
                others(from_str(to_keep).expect("it is JSON")),
                others(before)
            );
        }
    }
});

/// The file without our entry, and without an empty list of runtimes.
fn others(mut file: Value) -> Value {
    let object = file.as_object_mut().expect("it is an object");
    if let Some(Value::Object(runtimes)) = object.get_mut("runtimes") {
        runtimes.remove(RUNTIME);
        if runtimes.is_empty() {
            object.remove("runtimes");
        }
    }
    file
}
