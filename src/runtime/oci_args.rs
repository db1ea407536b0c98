//! The command line of an OCI runtime, as far as the wrapper has to understand it. Pure.
//!
//! Everything unknown is passed on: a new verb, a new option, those of another runtime.

use std::path::PathBuf;

/// What a runtime is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `create` or `run`: a container comes to be from the bundle in this directory.
    Create {
        bundle: Option<PathBuf>,
        container: Container,
    },
    /// `kill` with a signal that asks a program to end.
    AskToEnd { container: Container },
    /// `update` with resources from a file.
    Update { resources: Resources },
    /// Anything else.
    Other,
}

/// A container among all of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    /// The directory in which the runtime keeps the containers of this engine, or of one of its
    /// namespaces (runc(8), --root). Empty if it is the default one.
    pub root: String,
}

/// The file of an `update`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// `-` for standard input.
    pub file: String,
    /// Which argument ends with its name.
    argument: usize,
}

impl Resources {
    /// The arguments with another file in its place.
    pub fn replaced(&self, arguments: &[String], file: &str) -> Vec<String> {
        let mut arguments = arguments.to_vec();
        if let Some(argument) = arguments.get_mut(self.argument) {
            let option = argument.strip_suffix(self.file.as_str());
            *argument = format!("{}{file}", option.unwrap_or_default());
        }
        arguments
    }
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
    let (global, rest) = options(arguments);
    let Some((verb, of_verb)) = rest.split_first() else {
        return Verb::Other;
    };
    let (options, rest) = options(of_verb);
    let container = |id: &String| Container {
        id: id.clone(),
        root: value(&global, &["root"]).unwrap_or_default().to_owned(),
    };
    match (verb.as_str(), rest) {
        ("create" | "run", [id, ..]) => Verb::Create {
            bundle: value(&options, &["bundle", "b"]).map(PathBuf::from),
            container: container(id),
        },
        ("kill", [id]) => Verb::AskToEnd {
            container: container(id),
        },
        ("kill", [id, signal, ..]) if asks_to_end(signal) => Verb::AskToEnd {
            container: container(id),
        },
        ("update", _) => match resources(arguments, arguments.len() - of_verb.len()) {
            Some(resources) => Verb::Update { resources },
            None => Verb::Other,
        },
        _ => Verb::Other,
    }
}

/// The file of resources among the arguments from this one on (runc-update(8); crun(1), update).
fn resources(arguments: &[String], from: usize) -> Option<Resources> {
    let names = ["--resources", "-resources", "--r", "-r"];
    let mut numbered = arguments.iter().enumerate().skip(from);
    numbered.find_map(|(at, argument)| {
        let (option, file, argument) = match argument.split_once('=') {
            Some((option, file)) => (option, file.to_owned(), at),
            None => (argument.as_str(), arguments.get(at + 1)?.clone(), at + 1),
        };
        names
            .contains(&option)
            .then_some(Resources { file, argument })
    })
}

/// The value of an option; the last one counts.
fn value<'a>(options: &[(&str, Option<&'a str>)], names: &[&str]) -> Option<&'a str> {
    let found = options.iter().rfind(|(name, _)| names.contains(name));
    found.and_then(|(_, value)| *value)
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

/// Checks by the output of `--version` that the runtime passes seccomp listeners on: runc does since
/// 1.1, with libseccomp 2.5 (runc, CHANGELOG, 1.1.0), and crun since 0.19.
///
/// # Errors
/// Why it does not.
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
        let container = |root: &str| Container {
            id: "ID".into(),
            root: root.into(),
        };
        let create = |root: &str, bundle: Option<&str>| Verb::Create {
            bundle: bundle.map(PathBuf::from),
            container: container(root),
        };
        let ask_to_end = |root: &str| Verb::AskToEnd {
            container: container(root),
        };
        for (line, expected) in [
            (
                "--root /run/r --log /b/log.json --log-format json --systemd-cgroup create \
                 --bundle /b --pid-file /b/init.pid ID",
                create("/run/r", Some("/b")),
            ),
            ("create --bundle=/b ID", create("", Some("/b"))),
            ("create -b /b --no-pivot ID", create("", Some("/b"))),
            ("--debug run ID", create("", None)),
            ("--root=/x run --detach -- ID", create("/x", None)),
            ("kill ID", ask_to_end("")),
            ("--root /x kill ID 15", ask_to_end("/x")),
            ("kill --all ID SIGTERM", ask_to_end("")),
            ("update --memory 1 ID", Verb::Other),
            ("update --resources", Verb::Other),
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
    fn the_file_of_an_update_can_be_another_one() {
        for (line, file, expected) in [
            (
                "--root /r --systemd-cgroup update --resources=/f ID",
                "/f",
                "--root /r --systemd-cgroup update --resources=/new ID",
            ),
            ("update --resources - ID", "-", "update --resources /new ID"),
            ("update -r ID ID", "ID", "update -r /new ID"),
            (
                "update --cpus 1 -r=/f ID",
                "/f",
                "update --cpus 1 -r=/new ID",
            ),
        ] {
            let Verb::Update { resources } = parsed(line) else {
                panic!("{line}");
            };
            assert_eq!(resources.file, file, "{line}");
            let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
            let replaced = resources.replaced(&arguments, "/new").join(" ");
            assert_eq!(replaced, expected);
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
