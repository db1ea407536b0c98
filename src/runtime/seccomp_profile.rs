//! The edit that makes a container's seccomp profile notify its supervisor of opens of serial
//! ports. Pure.
//!
//! The profile is the one that the engine has already resolved for this container. It is edited
//! only where that cannot change what is allowed: the supervisor always answers "continue", and the
//! kernel then makes all of its own checks.

use serde_json::{Value, json};

use crate::model::Holds;

/// Why a profile is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untouched {
    #[error("the seccomp profile already has a listener")]
    OtherListener,
    #[error("the seccomp profile already has a special rule for open or openat")]
    OtherRule,
    #[error("the seccomp profile does not allow openat")]
    Denied,
    #[error("the seccomp profile is malformed")]
    Malformed,
    #[error("unknown machine architecture")]
    UnknownArchitecture,
}

/// Bits of open(2)'s flags that decide (asm-generic/fcntl.h). They are the same on x86, arm,
/// aarch64 and riscv, but for [`O_DIRECTORY`] and [`O_DIRECT`].
const O_ACCMODE: u64 = 0o3;
const O_WRONLY: u64 = 0o1;
const O_RDWR: u64 = 0o2;
const O_CREAT: u64 = 0o100;
const O_NOCTTY: u64 = 0o400;
const O_NONBLOCK: u64 = 0o4000;
const O_PATH: u64 = 0o10_000_000;

/// On arm and aarch64 each is the other (asm/fcntl.h). Neither is used with a serial port: it is no
/// directory, and refuses direct I/O.
const O_DIRECTORY: u64 = 0o200_000;
const O_DIRECT: u64 = 0o40_000;

/// What is no open of a serial port, although it is for reading alone.
const OTHER: u64 = O_CREAT | O_DIRECTORY | O_DIRECT | O_PATH;

/// The system calls and the number of the argument that has the flags.
const CALLS: [(&str, u64); 2] = [("open", 1), ("openat", 2)];

/// Flags that decide, as rules that exclude each other. Each pair is a mask and what the masked
/// flags are then. A filter may compare an argument only once per rule (libseccomp,
/// seccomp_rule_add(3)), hence several.
struct Rules {
    ask: &'static [(u64, u64)],
    /// All other flags.
    let_pass: &'static [(u64, u64)],
}

/// As serial libraries open ports: for reading and writing, not to create anything, and without
/// becoming its session's terminal or without waiting for the carrier.
const SERIAL: Rules = Rules {
    ask: &[
        (O_NOCTTY | O_CREAT | O_ACCMODE, O_NOCTTY | O_RDWR),
        (
            O_NONBLOCK | O_NOCTTY | O_CREAT | O_ACCMODE,
            O_NONBLOCK | O_RDWR,
        ),
    ],
    let_pass: &[
        (O_CREAT, O_CREAT),
        (O_CREAT | O_WRONLY, O_WRONLY),
        (O_CREAT | O_ACCMODE, 0),
        (O_NONBLOCK | O_NOCTTY | O_CREAT | O_ACCMODE, O_RDWR),
    ],
};

/// As any program does: for reading and writing, not to create anything; or for reading alone with
/// one of the flags of a terminal, as stty(1). Most programs read files without these.
const WIDE: Rules = Rules {
    ask: &[
        (O_CREAT | O_ACCMODE, O_RDWR),
        (O_NOCTTY | OTHER | O_ACCMODE, O_NOCTTY),
        (O_NONBLOCK | O_NOCTTY | OTHER | O_ACCMODE, O_NONBLOCK),
    ],
    let_pass: &[
        (O_CREAT, O_CREAT),
        (O_CREAT | O_WRONLY, O_WRONLY),
        (O_DIRECTORY | O_CREAT | O_ACCMODE, O_DIRECTORY),
        (O_DIRECT | O_DIRECTORY | O_CREAT | O_ACCMODE, O_DIRECT),
        (OTHER | O_ACCMODE, O_PATH),
        (O_NONBLOCK | O_NOCTTY | OTHER | O_ACCMODE, 0),
    ],
};

impl Rules {
    fn of(holds: Holds) -> &'static Self {
        match holds {
            Holds::Serial => &SERIAL,
            Holds::Wide => &WIDE,
        }
    }
}

const ALLOW: &str = "SCMP_ACT_ALLOW";
const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// Edits `linux`, the section of that name in a bundle's config.json: the runtime passes the filter's
/// listener to the socket `listener`.
///
/// # Errors
/// Why nothing was changed.
pub fn notify_of_serial_opens(
    linux: &mut serde_json::Map<String, Value>,
    holds: Holds,
    listener: &str,
    machine: &str,
) -> Result<(), Untouched> {
    let mut seccomp = match linux.get("seccomp") {
        None | Some(Value::Null) => unconfined(machine)?,
        Some(profile) => profile.clone(),
    };
    edit(&mut seccomp, Rules::of(holds), listener)?;
    linux.insert("seccomp".into(), seccomp);
    Ok(())
}

/// A filter that allows everything, for all that this machine's kernel can run: a program of an
/// architecture that a filter does not name is killed (libseccomp, seccomp_attr_set(3),
/// SCMP_FLTATR_ACT_BADARCH).
fn unconfined(machine: &str) -> Result<Value, Untouched> {
    let architectures = match machine {
        "x86_64" => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        "aarch64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        "arm" => json!(["SCMP_ARCH_ARM"]),
        _ => return Err(Untouched::UnknownArchitecture),
    };
    Ok(json!({ "defaultAction": ALLOW, "architectures": architectures, "syscalls": [] }))
}

fn edit(seccomp: &mut Value, opens: &Rules, listener: &str) -> Result<(), Untouched> {
    let profile = seccomp.as_object_mut().ok_or(Untouched::Malformed)?;
    let set = |key: &str| profile.get(key).is_some_and(|v| !v.is_null() && v != "");
    if set("listenerPath") || set("listenerMetadata") {
        return Err(Untouched::OtherListener);
    }
    let default_allows = profile.get("defaultAction") == Some(&json!(ALLOW));
    let rules = match profile.get("syscalls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(rules)) => rules.clone(),
        Some(_) => return Err(Untouched::Malformed),
    };

    // Both names leave the rules that allow them whatever their arguments are: libseccomp drops
    // a conditional rule beside such a one without a word (src/db.c, db_rule_add).
    let mut named = Vec::new();
    let mut edited = Vec::new();
    for mut rule in rules {
        let object = rule.as_object_mut().ok_or(Untouched::Malformed)?;
        let action = object.get("action");
        if action == Some(&json!(NOTIFY)) {
            // The runtime refuses it without a listener, and ours would allow the call.
            return Err(Untouched::OtherListener);
        }
        let plain = action == Some(&json!(ALLOW)) && empty(object.get("args"));
        let names = object.get_mut("names").and_then(Value::as_array_mut);
        let names = names.ok_or(Untouched::Malformed)?;
        let before = names.len();
        names.retain(|name| {
            let ours = CALLS.iter().find(|(call, _)| name == call);
            named.extend(ours.map(|(call, _)| *call));
            ours.is_none()
        });
        if names.len() < before && !plain {
            return Err(Untouched::OtherRule);
        }
        if !names.is_empty() {
            edited.push(rule);
        }
    }
    let mut asked = false;
    for (call, argument) in CALLS {
        if !default_allows && !named.contains(&call) {
            continue;
        }
        asked = true;
        let rule = |action| move |flags: &_| rule(call, action, argument, *flags);
        edited.extend(opens.ask.iter().map(rule(NOTIFY)));
        if !default_allows {
            edited.extend(opens.let_pass.iter().map(rule(ALLOW)));
        }
    }
    if !asked {
        return Err(Untouched::Denied);
    }
    profile.insert("syscalls".into(), Value::Array(edited));
    profile.insert("listenerPath".into(), json!(listener));
    Ok(())
}

/// Takes our edit out of a profile, if `is_ours` says so of its listener: the calls that notified it are
/// allowed again. Returns whether there was one.
pub fn notify_no_more(
    linux: &mut serde_json::Map<String, Value>,
    is_ours: impl Fn(&str) -> bool,
) -> bool {
    let Some(profile) = linux.get_mut("seccomp").and_then(Value::as_object_mut) else {
        return false;
    };
    let listener = profile.get("listenerPath").and_then(Value::as_str);
    if !listener.is_some_and(is_ours) {
        return false;
    }
    profile.remove("listenerPath");
    let default_allows = profile.get("defaultAction") == Some(&json!(ALLOW));
    if let Some(rules) = profile.get_mut("syscalls").and_then(Value::as_array_mut) {
        for (call, argument) in CALLS {
            let before = rules.len();
            rules.retain(|its| !is_of_edit(its, call, argument));
            if rules.len() < before && !default_allows {
                rules.push(json!({ "names": [call], "action": ALLOW }));
            }
        }
    }
    true
}

/// Whether a rule is one of those that [`edit`] makes of a call.
fn is_of_edit(its: &Value, call: &str, argument: u64) -> bool {
    [SERIAL, WIDE].iter().any(|opens| {
        let is = |action, flags: &_| *its == rule(call, action, argument, *flags);
        opens.ask.iter().any(|flags| is(NOTIFY, flags))
            || opens.let_pass.iter().any(|flags| is(ALLOW, flags))
    })
}

fn empty(args: Option<&Value>) -> bool {
    match args {
        None | Some(Value::Null) => true,
        Some(Value::Array(args)) => args.is_empty(),
        Some(_) => false,
    }
}

fn rule(call: &str, action: &str, argument: u64, (mask, flags): (u64, u64)) -> Value {
    json!({
        "names": [call],
        "action": action,
        "args": [{
            "index": argument, "value": mask, "valueTwo": flags, "op": "SCMP_CMP_MASKED_EQ",
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LISTENER: &str = "/run/ttyplugd/k/1";

    fn edited(profile: Value) -> Result<Value, Untouched> {
        edited_for(Holds::Wide, profile)
    }

    fn edited_for(holds: Holds, profile: Value) -> Result<Value, Untouched> {
        let mut linux = json!({ "seccomp": profile, "other": [1, { "x": null }] });
        let before = linux.clone();
        let linux = linux.as_object_mut().unwrap();
        match notify_of_serial_opens(linux, holds, LISTENER, "x86_64") {
            Ok(()) => {
                assert_eq!(linux["other"], before["other"]);
                Ok(linux["seccomp"].clone())
            }
            Err(why) => {
                assert_eq!(*linux, *before.as_object().unwrap(), "changed and refused");
                Err(why)
            }
        }
    }

    /// What a profile says about a call, as libseccomp compiles disjoint rules.
    fn action(profile: &Value, call: &str, flags: u64) -> String {
        let mut actions = Vec::new();
        for rule in profile["syscalls"].as_array().unwrap() {
            if !rule["names"].as_array().unwrap().contains(&json!(call)) {
                continue;
            }
            let fits = match rule["args"].as_array() {
                None => true,
                Some(args) => args.iter().all(|arg| {
                    flags & arg["value"].as_u64().unwrap() == arg["valueTwo"].as_u64().unwrap()
                }),
            };
            if fits {
                actions.push(rule["action"].as_str().unwrap().to_owned());
            }
        }
        assert!(actions.len() <= 1, "{call} {flags:o} has {actions:?}");
        let default = profile["defaultAction"].as_str().unwrap();
        actions.pop().unwrap_or_else(|| default.to_owned())
    }

    fn is_asked(holds: Holds, flags: u64) -> bool {
        let with = |bits| flags & bits != 0;
        let is_wide = holds == Holds::Wide;
        let of_terminal = with(O_NOCTTY | O_NONBLOCK);
        match flags & O_ACCMODE {
            O_RDWR => !with(O_CREAT) && (is_wide || of_terminal),
            0 => is_wide && of_terminal && !with(OTHER),
            _ => false,
        }
    }

    #[test]
    fn exactly_serial_opens_notify_and_everything_else_stays_allowed() {
        let defaults = ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"];
        let each = |holds| defaults.map(|default| (holds, default));
        for (holds, default) in [Holds::Serial, Holds::Wide].map(each).concat() {
            let profile = edited_for(holds, json!({
                "defaultAction": default,
                "syscalls": [
                    { "names": ["open", "openat", "openat2", "read"], "action": ALLOW },
                    { "names": ["clone"], "action": ALLOW, "args": [
                        { "index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
                ],
            }))
            .unwrap();
            assert_eq!(profile["listenerPath"], LISTENER);
            // Every combination of the bits that decide, and of some that do not.
            const BITS: [u32; 13] = [0, 1, 6, 8, 11, 12, 14, 16, 17, 19, 21, 32, 63];
            for chosen in 0..1 << BITS.len() {
                let bits = BITS.iter().enumerate();
                let flags = bits.map(|(n, bit)| (chosen >> n & 1) << bit).sum();
                let expected = if is_asked(holds, flags) {
                    NOTIFY
                } else {
                    ALLOW
                };
                for call in ["open", "openat"] {
                    assert_eq!(action(&profile, call, flags), expected, "{call} {flags:o}");
                }
            }
            assert_eq!(action(&profile, "openat2", 0), ALLOW);
            assert_eq!(action(&profile, "read", 0), ALLOW);
        }
    }

    #[test]
    fn a_container_without_a_profile_gets_one_that_allows_all_the_rest() {
        for absent in [Value::Null, json!({})] {
            let mut linux = match &absent {
                Value::Null => json!({}),
                _ => json!({ "seccomp": null }),
            };
            let section = linux.as_object_mut().unwrap();
            notify_of_serial_opens(section, Holds::Wide, LISTENER, "aarch64").unwrap();
            let profile = &linux["seccomp"];
            assert_eq!(profile["defaultAction"], ALLOW);
            assert!(!profile["architectures"].as_array().unwrap().is_empty());
            assert_eq!(action(profile, "openat", O_RDWR | O_NOCTTY), NOTIFY);
            assert_eq!(action(profile, "unlink", 0), ALLOW);
        }
        let mut linux = json!({});
        let section = linux.as_object_mut().unwrap();
        let unknown = notify_of_serial_opens(section, Holds::Wide, LISTENER, "z80");
        assert_eq!(
            (unknown, linux),
            (Err(Untouched::UnknownArchitecture), json!({}))
        );
    }

    #[test]
    fn a_profile_with_special_rules_is_left_alone() {
        let rule = |action: &str, args: Value| {
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                { "names": ["open"], "action": ALLOW },
                { "names": ["openat"], "action": action, "args": args },
            ]})
        };
        for (profile, why) in [
            (rule("SCMP_ACT_ERRNO", json!([])), Untouched::OtherRule),
            (rule("SCMP_ACT_LOG", json!(null)), Untouched::OtherRule),
            (
                rule(
                    ALLOW,
                    json!([{ "index": 2, "value": 0, "op": "SCMP_CMP_EQ" }]),
                ),
                Untouched::OtherRule,
            ),
            (
                json!({ "defaultAction": ALLOW, "listenerPath": "/x" }),
                Untouched::OtherListener,
            ),
            (
                json!({ "defaultAction": ALLOW, "listenerMetadata": "x" }),
                Untouched::OtherListener,
            ),
            (
                json!({ "defaultAction": ALLOW, "syscalls": [
                    { "names": ["mount"], "action": NOTIFY },
                ]}),
                Untouched::OtherListener,
            ),
            (
                json!({ "defaultAction": "SCMP_ACT_ERRNO" }),
                Untouched::Denied,
            ),
            (
                json!({ "defaultAction": ALLOW, "syscalls": 7 }),
                Untouched::Malformed,
            ),
            (
                json!({ "defaultAction": ALLOW, "syscalls": [7] }),
                Untouched::Malformed,
            ),
            (
                json!({ "defaultAction": ALLOW, "syscalls": [{ "names": "open" }] }),
                Untouched::Malformed,
            ),
            (json!([]), Untouched::Malformed),
        ] {
            assert_eq!(edited(profile.clone()), Err(why), "{profile}");
        }
    }

    #[test]
    fn the_edit_can_be_taken_out_and_be_made_again() {
        let is_ours = |listener: &str| listener == LISTENER;
        for default in ["SCMP_ACT_ERRNO", ALLOW] {
            let original = match default {
                ALLOW => json!([{ "names": ["mount"], "action": "SCMP_ACT_ERRNO" }]),
                _ => json!([
                    { "names": ["read"], "action": ALLOW },
                    { "names": ["open"], "action": ALLOW },
                    { "names": ["openat"], "action": ALLOW },
                ]),
            };
            let original = json!({ "defaultAction": default, "syscalls": original });
            for holds in [Holds::Serial, Holds::Wide] {
                let profile = edited_for(holds, original.clone()).unwrap();
                let mut linux = json!({ "seccomp": profile });
                let linux = linux.as_object_mut().unwrap();
                assert!(!notify_no_more(linux, |_| false));
                assert_eq!(linux["seccomp"], profile);
                assert!(notify_no_more(linux, is_ours));
                assert_eq!(linux["seccomp"], original);
                assert!(!notify_no_more(linux, is_ours));
            }
        }
        let denied = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": ["openat"], "action": ALLOW }],
        });
        let mut linux = json!({ "seccomp": edited(denied.clone()).unwrap() });
        assert!(notify_no_more(linux.as_object_mut().unwrap(), is_ours));
        assert_eq!(linux["seccomp"], denied);
    }

    #[test]
    fn a_call_that_was_denied_stays_denied() {
        let profile = edited(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": ["openat"], "action": ALLOW }],
        }))
        .unwrap();
        assert_eq!(
            action(&profile, "open", O_RDWR | O_NOCTTY),
            "SCMP_ACT_ERRNO"
        );
        assert_eq!(action(&profile, "openat", O_RDWR | O_NOCTTY), NOTIFY);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop_oneof!["open", "openat", "names", "SCMP_ACT_ALLOW", ".*"].prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let key = prop_oneof!["names", "action", "args", "syscalls", "defaultAction", ".*"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map(key, inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_profile_is_edited_or_left_as_it_was(profile in json_value()) {
            let _ = edited(profile);
        }

        #[test]
        fn what_the_editor_does_not_know_is_kept(extra in json_value()) {
            let profile = edited(json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "flags": extra.clone(),
                "syscalls": [
                    { "names": ["openat", "close"], "action": ALLOW, "comment": extra.clone() },
                ],
            })).unwrap();
            prop_assert_eq!(&profile["flags"], &extra);
            prop_assert_eq!(&profile["syscalls"][0]["comment"], &extra);
        }
    }
}
