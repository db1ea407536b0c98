//! The shell script that carries out a plan inside a container, and its arguments. Pure.
//!
//! The script is constant. Everything that a configuration, a label or a USB device supplied
//! reaches it as a positional parameter, which the shell never reads as code
//! (POSIX.1-2017, Shell Command Language, 2.5.1).

use std::collections::BTreeMap;

use crate::model::{NodePath, TEMPORARY_PREFIX};
use crate::plan::{Op, Plan};

/// Each operation enters its directory and then uses plain names in it, so that nobody can swap
/// a component of the path for a link in between. `cd -P` sets PWD to the real path (POSIX.1-2017,
/// cd, step 9), which has to be the one that was looked at from outside. Missing directories are
/// made one by one, each in the one above it that was entered in this way.
///
/// A node gets its number, owner and mode under a temporary name; mv then is one rename(2), since
/// both names are in one directory. mv would move *into* a directory, hence the check, and what
/// has appeared or changed its kind since the look from outside is left alone.
///
/// A failure skips what follows of the same port and lets the other ports go on.
const SCRIPT: &str = r#"
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
new=.ttyplugd.$$
status=0
failed=
fail() { status=1; failed=1; rm -f "./$new"; }
enter() {
  [ "$1" ] && if [ -d "$1" ]; then CDPATH= cd -P "$1"
  else enter "${1%/*}" && mkdir "./${1##*/}" && cd -P "./${1##*/}"; fi && [ "$PWD" = "$1" ]
}
place() {
  if [ -d "./$1" ] || { [ -f "./$1" ] && [ -s "./$1" ]; }; then
    echo "$1 is a directory or has content" >&2
    false
  else mv -f "./$new" "./$1"; fi
}
while [ $# -gt 0 ]; do
  case $1 in
  node)
    failed=
    enter "$2" && mknod -m 600 "./$new" c "$4" "$5" && chown "$6" "./$new" &&
      chmod "$7" "./$new" && place "$3" || fail
    shift 7 ;;
  link)
    [ "$failed" ] || { enter "$2" && ln -s "$4" "./$new" && place "$3"; } || fail
    shift 4 ;;
  remove)
    failed=
    enter "$2" && if [ "$4" "./$3" ]; then rm -f "./$3"; fi || fail
    shift 4 ;;
  sweep)
    failed=
    enter "$2" && rm -f "./$3" || fail
    shift 3 ;;
  esac
done
exit $status
"#;

/// The command that carries out `plan`. `real` has the real path of every directory that it
/// names, as found from outside.
///
/// `None` where a directory is missing in `real`, which is to say that nobody has looked at it.
pub fn command(plan: &Plan, real: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let mut argv: Vec<String> = ["/bin/sh", "-c", SCRIPT, "ttyplugd"]
        .map(str::to_owned)
        .into();
    for op in &plan.ops {
        match op {
            Op::Sweep { path } => {
                let (directory, name) = path.rsplit_once('/')?;
                argv.extend(["sweep", real.get(directory)?, name].map(str::to_owned));
            }
            Op::RemoveLink { path, .. } => argv.extend(
                ["remove", real_directory(real, path)?, path.name(), "-L"].map(str::to_owned),
            ),
            Op::RemoveNode { path, .. } => argv.extend(
                ["remove", real_directory(real, path)?, path.name(), "-c"].map(str::to_owned),
            ),
            Op::MakeNode {
                path,
                devnum,
                mode,
                uid,
                gid,
                ..
            } => argv.extend([
                "node".to_owned(),
                real_directory(real, path)?.to_owned(),
                path.name().to_owned(),
                devnum.major.to_string(),
                devnum.minor.to_string(),
                format!("{uid}:{gid}"),
                mode.to_string(),
            ]),
            Op::MakeLink { path, target, .. } => argv.extend(
                ["link", real_directory(real, path)?, path.name(), target].map(str::to_owned),
            ),
        }
    }
    Some(argv)
}

fn real_directory<'a>(real: &'a BTreeMap<String, String>, path: &NodePath) -> Option<&'a str> {
    real.get(path.directory()).map(String::as_str)
}

/// The programs that the script needs in the image, besides /bin/sh.
pub const PROGRAMS: [&str; 7] = ["chmod", "chown", "ln", "mkdir", "mknod", "mv", "rm"];

/// Where they are looked for, beside the image's own PATH.
pub const PROGRAM_DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Why a command in a container failed, in the operator's words, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub cause: String,
    pub fix: String,
}

/// Explains a failed command from what the engine, the shell or the tools in the image said.
/// The text comes from inside the container and is only ever shown.
pub fn explain(output: &str) -> Explained {
    let said = shorten(output);
    let has = |word: &str| output.contains(word);
    let (cause, fix) = if has("exec failed")
        || has("executable file not found")
        || has("/bin/sh") && has("no such file")
    {
        if has("ermission denied") || has("peration not permitted") {
            (
                "the engine refuses to execute /bin/sh in the container",
                "look for a security profile that forbids it",
            )
        } else {
            (
                "the image has no /bin/sh",
                "use an image with a shell, mknod, chown, chmod and mv",
            )
        }
    } else if has("not found") {
        (
            "the image lacks a program that is needed",
            "use an image that has mknod, chown, chmod, mv, ln, rm and mkdir",
        )
    } else if has("Read-only file system") {
        (
            "the directory is read-only",
            "mount a writable tmpfs there, or none",
        )
    } else if has("Operation not permitted") {
        (
            "the container may not make nodes",
            "leave it the capabilities MKNOD, CHOWN and FOWNER (cap_drop), and do not remap its users",
        )
    } else if has("No space left") {
        (
            "the container's /dev is full",
            "remove what fills it, or give it a larger tmpfs",
        )
    } else {
        ("a command in the container failed", "see what it said")
    };
    Explained {
        cause: match said.as_str() {
            "" => cause.to_owned(),
            said => format!("{cause} ({said})"),
        },
        fix: fix.to_owned(),
    }
}

/// One printable line of at most 300 characters, the same for the same failure: the number in a
/// temporary name is another one at each try.
fn shorten(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words =
        words
            .filter(|word| !word.is_empty())
            .map(|word| match word.split_once(TEMPORARY_PREFIX) {
                Some((before, after)) => {
                    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
                    format!("{before}{TEMPORARY_PREFIX}*{after}")
                }
                None => word.to_owned(),
            });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
    use std::path::Path;
    use std::process::{Command, Output};

    use crate::model::{DevNum, Mode};
    use crate::plan::Found;

    fn node(path: &str) -> Op {
        Op::MakeNode {
            port: "p".into(),
            path: path.parse().unwrap(),
            // The null device, which may be made and opened wherever this test may run.
            devnum: DevNum { major: 1, minor: 3 },
            mode: Mode(0o640),
            uid: 0,
            gid: 20,
            bind: false,
            replaces: Found::Nothing,
        }
    }

    fn link(path: &str, target: &str) -> Op {
        Op::MakeLink {
            path: path.parse().unwrap(),
            target: target.into(),
            replaces: Found::Nothing,
        }
    }

    /// Runs the script on the host with a directory in the place of /dev.
    fn run(dev: &Path, ops: Vec<Op>) -> Output {
        let plan = Plan {
            ops,
            ..Plan::default()
        };
        let dev = dev.to_str().unwrap();
        let real = ["/dev", "/dev/serial/by-id"]
            .map(|directory| (directory.to_owned(), directory.replacen("/dev", dev, 1)));
        let argv = command(&plan, &real.into()).unwrap();
        Command::new(&argv[0]).args(&argv[1..]).output().unwrap()
    }

    fn names(dev: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dev).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn hostile_names_are_names_and_never_code() {
        let dev = tempfile::tempdir().unwrap();
        let dev = dev.path().canonicalize().unwrap();
        let long = "x".repeat(255);
        let hostile = [
            "$(touch x)",
            "a b",
            ";rm",
            "`id`",
            "-rf",
            "*",
            "'",
            "\"",
            "\\n",
            &long,
            "&",
            "|x",
            "é",
        ];
        for name in hostile {
            let output = run(
                &dev,
                vec![
                    link(&format!("/dev/serial/by-id/{name}"), "../../node"),
                    link(&format!("/dev/{name}"), "node"),
                ],
            );
            assert!(output.status.success(), "{name}: {output:?}");
        }
        let mut expected: Vec<String> = hostile.map(str::to_owned).into();
        expected.sort();
        assert_eq!(names(&dev.join("serial/by-id")), expected);
        expected.push("serial".into());
        expected.sort();
        assert_eq!(names(&dev), expected);
    }

    #[test]
    fn a_node_has_its_number_owner_and_mode_and_replaces_what_was_there() {
        let dev = tempfile::tempdir().unwrap();
        let dev = dev.path().canonicalize().unwrap();
        std::fs::write(dev.join("port"), "").unwrap();
        let output = run(
            &dev,
            vec![node("/dev/port"), link("/dev/serial/by-id/x", "../../port")],
        );
        // Nodes can be made by root alone (mknod(2), EPERM), and unit tests run as anyone.
        if !nix::unistd::geteuid().is_root() {
            assert!(!output.status.success());
            return assert_eq!(names(&dev), ["port"]);
        }
        assert!(output.status.success(), "{output:?}");
        let made = std::fs::metadata(dev.join("serial/by-id/x")).unwrap();
        assert!(made.file_type().is_char_device());
        assert_eq!(
            (made.mode() & 0o7777, made.uid(), made.gid()),
            (0o640, 0, 20)
        );
        assert_eq!(names(&dev), ["port", "serial"]);
    }

    #[test]
    fn a_directory_in_the_way_fails_and_nothing_is_left_in_it() {
        let dev = tempfile::tempdir().unwrap();
        let dev = dev.path().canonicalize().unwrap();
        std::fs::create_dir(dev.join("port")).unwrap();
        symlink("port", dev.join("other")).unwrap();
        for name in ["/dev/port", "/dev/other"] {
            assert!(!run(&dev, vec![link(name, "x")]).status.success());
        }
        assert_eq!(names(&dev.join("port")), [""; 0]);
        assert_eq!(names(&dev), ["other", "port"]);
    }

    #[test]
    fn a_directory_that_became_a_link_is_not_entered() {
        let dev = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let dev = dev.path().canonicalize().unwrap();
        std::fs::create_dir(dev.join("serial")).unwrap();
        symlink(elsewhere.path(), dev.join("serial/by-id")).unwrap();
        let output = run(
            &dev,
            vec![link("/dev/serial/by-id/x", "y"), link("/dev/z", "y")],
        );
        assert!(!output.status.success());
        assert_eq!(names(elsewhere.path()), [""; 0]);

        // Nor is anything made below one.
        std::fs::remove_dir_all(dev.join("serial")).unwrap();
        symlink(elsewhere.path(), dev.join("serial")).unwrap();
        let output = run(&dev, vec![link("/dev/serial/by-id/x", "y")]);
        assert!(!output.status.success());
        assert_eq!(names(elsewhere.path()), [""; 0]);
    }

    #[test]
    fn what_has_changed_since_the_look_is_left_alone() {
        let dev = tempfile::tempdir().unwrap();
        let dev = dev.path().canonicalize().unwrap();
        std::fs::write(dev.join("log"), "content").unwrap();
        assert!(!run(&dev, vec![link("/dev/log", "x")]).status.success());
        let path = |name: &str| format!("/dev/{name}").parse().unwrap();
        let devnum = DevNum { major: 1, minor: 3 };
        symlink("x", dev.join("link")).unwrap();
        let output = run(
            &dev,
            vec![
                Op::RemoveNode {
                    path: path("log"),
                    devnum,
                    bound: false,
                },
                Op::RemoveLink {
                    path: path("log"),
                    target: "x".into(),
                },
                Op::RemoveLink {
                    path: path("link"),
                    target: "x".into(),
                },
                Op::RemoveNode {
                    path: path("none"),
                    devnum,
                    bound: false,
                },
            ],
        );
        assert!(output.status.success(), "{output:?}");
        assert_eq!(names(&dev), ["log"]);
    }

    #[test]
    fn a_failed_port_does_not_stop_the_next_one() {
        let dev = tempfile::tempdir().unwrap();
        let dev = dev.path().canonicalize().unwrap();
        std::fs::create_dir(dev.join("a")).unwrap();
        std::fs::write(dev.join("old"), "").unwrap();
        let output = run(
            &dev,
            vec![
                link("/dev/a", "x"),
                link("/dev/skipped", "a"),
                Op::Sweep {
                    path: "/dev/old".into(),
                },
                link("/dev/b", "x"),
            ],
        );
        assert!(!output.status.success());
        assert_eq!(names(&dev), ["a", "b"]);
    }

    #[test]
    fn failures_are_explained_with_a_fix() {
        for (said, expected) in [
            (
                "OCI runtime exec failed: exec failed: \"/bin/sh\": stat /bin/sh: no such file or directory",
                "no /bin/sh",
            ),
            ("ttyplugd: 16: mknod: not found", "lacks a program"),
            (
                "mknod: ./.ttyplugd.7: Operation not permitted",
                "may not make nodes",
            ),
            (
                "mkdir: can't create directory '/dev/x': Read-only file system",
                "read-only",
            ),
            ("", "a command in the container failed"),
        ] {
            assert!(explain(said).cause.contains(expected), "{said}");
        }
        assert_eq!(
            shorten("mknod: ./.ttyplugd.17: no"),
            "mknod: ./.ttyplugd.*: no"
        );
        assert_eq!(shorten("a\n\u{1b}[31m b\0c"), "a [31m b c");
        assert!(shorten(&"é".repeat(1000)).len() < 1000);
    }
}
