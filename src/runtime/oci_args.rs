//! The command line of an OCI runtime, as far as the wrapper has to understand it. Pure.
//!
//! What is not known is passed on: a new verb, a new option, another runtime's own.

use std::path::PathBuf;

/// What a runtime is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `create` or `run`: a container comes to be from the bundle in this directory.
    Create { bundle: Option<PathBuf>, id: String },
    /// `kill` with a signal that asks a program to end.
    AskToEnd { id: String },
    /// Anything else.
    Other,
}

/// Options before the verb, and of `create` and `run`, that have a value of their own
/// (runc(8), runc-create(8), runc-run(8); crun(1)).
const WITH_VALUE: [&str; 13] = [
    "root",
    "log",
    "log-format",
    "log-level",
    "criu",
    "rootless",
    "cgroup-manager",
    "bundle",
    "console-socket",
    "pid-file",
    "preserve-fds",
    "b",
    "config",
];

/// Reads a runtime's arguments, without its own name.
pub fn parse(arguments: &[String]) -> Verb {
    let (_, rest) = options(arguments);
    let Some((verb, rest)) = rest.split_first() else {
        return Verb::Other;
    };
    let (options, rest) = options(rest);
    match (verb.as_str(), rest) {
        ("create" | "run", [id, ..]) => {
            let bundle = options
                .iter()
                .rfind(|(name, _)| *name == "bundle" || *name == "b");
            Verb::Create {
                bundle: bundle.and_then(|(_, value)| *value).map(PathBuf::from),
                id: id.clone(),
            }
        }
        ("kill", [id]) => Verb::AskToEnd { id: id.clone() },
        ("kill", [id, signal, ..]) if asks_to_end(signal) => Verb::AskToEnd { id: id.clone() },
        _ => Verb::Other,
    }
}

fn asks_to_end(signal: &str) -> bool {
    let name = signal.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    matches!(name, "TERM" | "INT" | "QUIT" | "15" | "2" | "3")
}

/// The options at the beginning, with their values, and the arguments after them.
fn options(arguments: &[String]) -> (Vec<(&str, Option<&str>)>, &[String]) {
    let mut found = Vec::new();
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        if argument == "--" {
            return (found, after);
        }
        let Some(option) = argument
            .strip_prefix('-')
            .filter(|option| !option.is_empty())
        else {
            break;
        };
        let option = option.strip_prefix('-').unwrap_or(option);
        rest = after;
        match option.split_once('=') {
            Some((name, value)) => found.push((name, Some(value))),
            None if WITH_VALUE.contains(&option) => {
                found.push((option, after.first().map(String::as_str)));
                rest = after.get(1..).unwrap_or_default();
            }
            None => found.push((option, None)),
        }
    }
    (found, rest)
}

/// What `runc --version` says it is: good enough for listeners or not. runc passes listeners on
/// since 1.1, and needs libseccomp 2.5 for it (runc, CHANGELOG, 1.1.0); crun since 0.19.
///
/// # Errors
/// Why it is not.
pub fn can_notify(version: &str) -> Result<(), String> {
    let number = |prefix: &str| {
        let line = version.lines().find_map(|line| line.strip_prefix(prefix))?;
        let mut parts = line.trim().split(|c: char| !c.is_ascii_digit());
        let mut part = || parts.next()?.parse::<u32>().ok();
        Some((part()?, part()?))
    };
    if let Some(crun) = number("crun version ") {
        return match crun >= (0, 19) {
            true => Ok(()),
            false => Err(format!("crun {}.{} is older than 0.19", crun.0, crun.1)),
        };
    }
    let Some(runc) = number("runc version ") else {
        return Err("unknown runtime version".into());
    };
    if runc < (1, 1) {
        return Err(format!("runc {}.{} is older than 1.1", runc.0, runc.1));
    }
    match number("libseccomp: ") {
        Some(libseccomp) if libseccomp < (2, 5) => Err(format!(
            "libseccomp {}.{} is older than 2.5",
            libseccomp.0, libseccomp.1
        )),
        Some(_) => Ok(()),
        None => Err("runc was built without seccomp".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Verb {
        let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
        parse(&arguments)
    }

    #[test]
    fn the_engines_own_command_lines_are_understood() {
        let create = |bundle: Option<&str>| Verb::Create {
            bundle: bundle.map(PathBuf::from),
            id: "ID".into(),
        };
        for (line, expected) in [
            (
                "--root /run/r --log /b/log.json --log-format json --systemd-cgroup create \
                 --bundle /b --pid-file /b/init.pid ID",
                create(Some("/b")),
            ),
            ("create --bundle=/b ID", create(Some("/b"))),
            ("create -b /b --no-pivot ID", create(Some("/b"))),
            ("--debug run ID", create(None)),
            ("--root=/x run --detach -- ID", create(None)),
            ("kill ID", Verb::AskToEnd { id: "ID".into() }),
            ("--root /x kill ID 15", Verb::AskToEnd { id: "ID".into() }),
            ("kill --all ID SIGTERM", Verb::AskToEnd { id: "ID".into() }),
            ("kill ID KILL", Verb::Other),
            ("kill ID 9", Verb::Other),
            ("start ID", Verb::Other),
            ("features", Verb::Other),
            ("--version", Verb::Other),
            ("--log", Verb::Other),
            ("create", Verb::Other),
            ("-", Verb::Other),
            ("", Verb::Other),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
    }

    #[test]
    fn runtimes_that_cannot_pass_a_listener_on_are_known() {
        let runc = "runc version 1.1.5+ds1\ncommit: 1.1.5\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n";
        assert_eq!(can_notify(runc), Ok(()));
        assert_eq!(
            can_notify(&runc.replace("1.1.5", "1.0.3")),
            Err("runc 1.0 is older than 1.1".into())
        );
        assert!(can_notify(&runc.replace("2.5.4", "2.4.4")).is_err());
        assert!(can_notify("runc version 1.3.0\n").is_err());
        assert_eq!(can_notify("crun version 1.21\ncommit: x\n"), Ok(()));
        assert!(can_notify("crun version 0.18\n").is_err());
        assert!(can_notify("").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_arguments_make_the_parser_panic(arguments: Vec<String>) {
            let _ = parse(&arguments);
        }
    }
}
