//! The configuration file.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use ttyplugd::config::parse;
use ttyplugd_fuzz::bounded;

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once("\n---\n").unwrap_or((text, ""));
    let files = [("a.toml", first), ("b.toml", second)];
    let files = files.map(|(name, text)| (name.into(), text.to_owned()));
    match bounded(|| parse(&files)) {
        Ok(settings) => {
            let names = settings.ports.iter().map(|port| port.name.as_str());
            let unique: BTreeSet<&str> = names.collect();
            assert_eq!(unique.len(), settings.ports.len());
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let line = error.line.unwrap_or(1);
                let lines = files.iter().map(|(_, text)| text.split('\n').count());
                assert!(line >= 1 && line <= lines.max().unwrap_or(1), "{error}");
            }
        }
    }
});
