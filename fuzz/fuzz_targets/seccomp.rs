//! The edit of a seccomp profile: it never allows more than before, and changes nothing but what
//! happens to `open` and `openat`.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, from_str, json};
use ttyplugd::model::Holds;
use ttyplugd::runtime::seccomp_profile::notify_of_serial_opens;
use ttyplugd_fuzz::bounded;

/// What a filter can do, from the strictest on. A call that is notified of goes on as if it were
/// allowed: the keeper always answers so.
const ACTIONS: [&[&str]; 7] = [
    &["SCMP_ACT_KILL_PROCESS"],
    &["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"],
    &["SCMP_ACT_TRAP"],
    &["SCMP_ACT_ERRNO"],
    &["SCMP_ACT_TRACE"],
    &["SCMP_ACT_LOG"],
    &["SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"],
];

fuzz_target!(|text: &str| {
    let Ok(Value::Object(before)) = from_str::<Value>(text) else {
        return;
    };
    let mut after = before.clone();
    let edited =
        bounded(|| notify_of_serial_opens(&mut after, Holds::Wide, "/run/ttyplugd/k/1", "x86_64"));
    if edited.is_err() {
        return assert_eq!(after, before);
    }
    assert_eq!(
        without_profile(after.clone()),
        without_profile(before.clone())
    );
    let unconfined = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [] });
    let before = match before.get("seccomp") {
        None | Some(Value::Null) => &unconfined,
        Some(profile) => profile,
    };
    let after = &after["seccomp"];
    if *before != unconfined {
        assert_eq!(without_rules(after), without_rules(before));
    }
    for call in names(before).union(&["open", "openat"].into()) {
        for flags in flags() {
            let (old, new) = (actions(before, call, flags), actions(after, call, flags));
            let (Some(old), Some(new)) = (old, new) else {
                continue;
            };
            // Which of several rules counts is libseccomp's matter: neither becomes laxer.
            assert!(
                new.first() <= old.first(),
                "{call} {flags:o}: {old:?} {new:?}"
            );
            assert!(
                new.last() <= old.last(),
                "{call} {flags:o}: {old:?} {new:?}"
            );
        }
    }
});

fn without_profile(mut linux: Map<String, Value>) -> Map<String, Value> {
    linux.remove("seccomp");
    linux
}

fn without_rules(profile: &Value) -> Value {
    let mut profile = profile.clone();
    let object = profile.as_object_mut().expect("it was edited");
    for key in ["syscalls", "listenerPath", "listenerMetadata"] {
        object.remove(key);
    }
    profile
}

fn names(profile: &Value) -> BTreeSet<&str> {
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    let names = rules.flat_map(|rule| rule["names"].as_array().into_iter().flatten());
    names.filter_map(Value::as_str).collect()
}

/// Every combination of the bits that decide, and some others.
fn flags() -> impl Iterator<Item = u64> {
    const BITS: [u32; 8] = [0, 1, 6, 8, 11, 12, 19, 63];
    let of = |number: u64| {
        (0..)
            .zip(BITS)
            .map(move |(at, bit)| (number >> at & 1) << bit)
    };
    (0..1 << BITS.len()).map(move |number| of(number).sum())
}

/// The actions of all rules that a call fits, in their order of [`ACTIONS`]; `None` for a profile
/// that no runtime accepts.
fn actions(profile: &Value, call: &str, flags: u64) -> Option<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    for rule in profile["syscalls"].as_array().into_iter().flatten() {
        let mut names = rule["names"].as_array()?.iter();
        if names.any(|name| name == call) && fits(&rule["args"], flags)? {
            found.insert(strictness(&rule["action"])?);
        }
    }
    if found.is_empty() {
        found.insert(strictness(&profile["defaultAction"])?);
    }
    Some(found)
}

fn strictness(action: &Value) -> Option<usize> {
    let action = action.as_str()?;
    ACTIONS.iter().position(|names| names.contains(&action))
}

/// Every argument has the same value here. Those of both calls are flags in one place only.
fn fits(conditions: &Value, argument: u64) -> Option<bool> {
    let mut fits = true;
    for condition in conditions.as_array().into_iter().flatten() {
        let value = condition["value"].as_u64()?;
        fits &= match condition["op"].as_str()? {
            "SCMP_CMP_NE" => argument != value,
            "SCMP_CMP_LT" => argument < value,
            "SCMP_CMP_LE" => argument <= value,
            "SCMP_CMP_EQ" => argument == value,
            "SCMP_CMP_GE" => argument >= value,
            "SCMP_CMP_GT" => argument > value,
            "SCMP_CMP_MASKED_EQ" => argument & value == condition["valueTwo"].as_u64()?,
            _ => return None,
        };
    }
    Some(fits)
}
