//! The shell script that carries out a plan in a container, and its arguments. Pure.
//!
//! The script is constant. Names from a configuration, a label or a USB device reach it as
//! positional parameters, which the shell never parses as code (POSIX.1-2017, Shell Command Language, 2.5.1).
//! It is executed only where its programs and directories are root's alone (`root_only`).

use std::collections::BTreeMap;

use crate::model::inventory::EngineName;
use crate::model::{NodePath, TEMPORARY_PREFIX};
use crate::plan::{Op, Plan};

/// Each operation enters its directory and then uses plain names in it: nobody can replace a
/// component of the path by a link in between. `cd -P` sets PWD to the real path (POSIX.1-2017,
/// cd, step 9), which has to be the one that was seen from the host. Missing directories are made
/// one by one, each in the entered one above it.
///
/// A node gets its number and mode, and then its owner, under a temporary name. Where nothing is in
/// the way, ln gives it its own name by one link(2): programs that wait for a node in inotify(7) see
/// IN_CREATE then, as if it had been made there. Where it replaces something, or root lacks the
/// capability FOWNER (proc(5), /proc/sys/fs/protected_hardlinks), mv does so by one rename(2), since
/// both names are in one directory. Both would put it *into* a directory, so the script checks for
/// one, and for a file with content. A link is made complete, and needs a temporary name only to
/// replace something.
///
/// The engine may begin a command long after it was asked to, when nobody knows of it any more: a shim may
/// start one after the other (containerd 1.6, runtime/v2/runc/task/service.go, `Start`). The script then does
/// nothing. It reads the time itself; where the container does not show it, it goes on.
///
/// After a failure the script skips the rest of the same port and goes on with the other ports. The
/// exit status is that of the first step that failed, see [`Step`]. A shell returns 126 or 127 for a command
/// that it cannot execute or find (POSIX.1-2017, Shell Command Language, 2.8.2).
///
/// At its end it prints `done`, which the daemon reads some milliseconds before the engine reports
/// the exit.
const SCRIPT: &str = r#"
PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
new=.ttyplugd.$$
until=$1
shift
{ read -r now idle </proc/uptime; } 2>/dev/null && [ "${now%.*}" -gt "$until" ] && exit 20
status=0
failed=
step() {
  number=$1
  shift
  "$@"
  case $? in
  0) ;;
  126 | 127) return 10 ;;
  *) return "$number" ;;
  esac
}
fail() {
  failed=$?
  [ "$failed" -ge 10 ] || failed=11
  [ "$status" != 0 ] || status=$failed
  rm -f "./$new"
}
enter() {
  if [ -d "$1" ]; then cd -P "$1"
  else [ "$1" ] && enter "${1%/*}" && step 12 mkdir "./${1##*/}" && cd -P "./${1##*/}"; fi &&
    [ "$PWD" = "$1" ]
}
is_free() { [ ! -e "./$1" ] && [ ! -L "./$1" ]; }
place() {
  if [ -d "./$1" ] || { [ -f "./$1" ] && [ -s "./$1" ]; }; then
    echo "$1 is a directory or has content" >&2
    return 16
  fi
  if is_free "$1" && ln "./$new" "./$1" 2>/dev/null; then step 19 rm -f "./$new"
  else step 17 mv -f "./$new" "./$1"; fi
}
make_link() {
  if is_free "$1"; then step 18 ln -s "$2" "./$1"
  else step 18 ln -s "$2" "./$new" && place "$1"; fi
}
while [ $# -gt 0 ]; do
  case $1 in
  node)
    failed=
    enter "$2" && step 13 mknod -m "$7" "./$new" c "$4" "$5" &&
      step 14 chown -h "$6" "./$new" && place "$3" || fail
    shift 7 ;;
  link)
    [ "$failed" ] || { enter "$2" && make_link "$3" "$4"; } || fail
    shift 4 ;;
  remove)
    failed=
    enter "$2" && if [ "$4" "./$3" ]; then step 19 rm -f "./$3"; fi || fail
    shift 4 ;;
  sweep)
    failed=
    enter "$2" && step 19 rm -f "./$3" || fail
    shift 3 ;;
  esac
done
[ $status != 0 ] || echo done
exit $status
"#;

/// A part of the script, which no other command has.
pub const MARK: &str = "new=.ttyplugd.$$";

/// The fix where only the container can be the cause.
pub const LOOK_IN_DEV: &str = "check what the container does in its /dev";

/// A step of the script that can fail, with its number in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Find = 10,
    Enter = 11,
    Mkdir = 12,
    Mknod = 13,
    Chown = 14,
    Check = 16,
    Mv = 17,
    Ln = 18,
    Rm = 19,
    Begin = 20,
}

impl Step {
    const ALL: [Self; 10] = [
        Self::Find,
        Self::Enter,
        Self::Mkdir,
        Self::Mknod,
        Self::Chown,
        Self::Check,
        Self::Mv,
        Self::Ln,
        Self::Rm,
        Self::Begin,
    ];

    fn cause_and_fix(self) -> (&'static str, &'static str) {
        let occupied = LOOK_IN_DEV;
        let full = "make the directory writable, and free space in it";
        match self {
            Self::Find => (
                "the image lacks a program",
                "use an image that has mknod, chown, mv, ln, rm and mkdir",
            ),
            Self::Enter => ("a directory was replaced or cannot be entered", occupied),
            Self::Mkdir => ("cannot make a directory", full),
            Self::Mknod => (
                "cannot make the node",
                "let the container keep the capability MKNOD (cap_drop), a writable /dev and the \
                 host's users",
            ),
            Self::Chown => (
                "cannot set the node's owner",
                "let the container keep the capability CHOWN (cap_drop)",
            ),
            Self::Check => ("a directory or a file with content is in the way", occupied),
            Self::Mv => ("cannot rename the entry into place", full),
            Self::Ln => ("cannot make the link", full),
            Self::Rm => ("cannot remove the entry", full),
            Self::Begin => (
                "the engine began the command too late",
                "wait; ttyplugd tries again",
            ),
        }
    }
}

/// The command that carries out `plan`. `real` maps every directory of the plan to its real path, as
/// seen from the host. It may begin up to `until`, in seconds since boot (proc(5), /proc/uptime). `None`
/// if a directory is missing in `real`.
pub fn command(plan: &Plan, real: &BTreeMap<String, String>, until: u64) -> Option<Vec<String>> {
    let mut argv: Vec<String> = ["/bin/sh", "-c", SCRIPT, "ttyplugd", &until.to_string()]
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

/// How much of a command line tells whether it is that of a command.
pub const COMMAND_LINE: u64 = 8 << 10;

/// Whether a process in the container, by its command line, may be that of a command: its shell, a program
/// that this has started, or a runtime that is about to become it (runc, libcontainer, `runc init`; crun,
/// `crun exec`).
pub fn may_be_command(command_line: &[u8]) -> bool {
    let mut arguments = command_line.split(|byte| *byte == 0);
    let program = arguments.next().unwrap_or_default();
    let rest: Vec<&[u8]> = arguments.collect();
    let temporary = format!("./{TEMPORARY_PREFIX}");
    let makes_one = |argument: &&[u8]| argument.starts_with(temporary.as_bytes());
    let is_runc = matches!(rest[..], [b"init", b""] | [b"init"]);
    let is_crun = program.ends_with(b"crun") && rest.contains(&&b"exec"[..]);
    is_runc || is_crun || rest.contains(&SCRIPT.as_bytes()) || rest.iter().any(makes_one)
}

fn real_directory<'a>(real: &'a BTreeMap<String, String>, path: &NodePath) -> Option<&'a str> {
    real.get(path.directory()).map(String::as_str)
}

/// The programs that the script needs in the image, besides /bin/sh.
pub const PROGRAMS: [&str; 6] = ["chown", "ln", "mkdir", "mknod", "mv", "rm"];

/// The script's PATH. The image's own may have directories in which its application can write.
pub const PROGRAM_DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether an exit status is the script's own.
pub fn is_own_status(status: i64) -> bool {
    status == 0 || step_of(status).is_some()
}

/// Whether the engine has begun the command too late.
pub fn began_too_late(status: i64) -> bool {
    step_of(status) == Some(Step::Begin)
}

fn step_of(status: i64) -> Option<Step> {
    Step::ALL.into_iter().find(|step| *step as i64 == status)
}

/// The cause of a failure and its fix, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub cause: String,
    pub fix: String,
}

fn not_executed(engine: &EngineName) -> String {
    let log = engine.log();
    format!(
        "if /bin/sh is missing or denied, use an image with it and a security profile that allows it; \
         otherwise {log}"
    )
}

/// Explains a failed command by its exit status. Its output comes from the container: it is shown,
/// and nothing depends on it.
pub fn explain(status: i64, output: &str, engine: &EngineName) -> Explained {
    let (cause, fix) = match (step_of(status), status) {
        (Some(step), _) => step.cause_and_fix(),
        // The engine could not execute the command (moby, daemon/exec.go, `ContainerExecStart`).
        (None, 126 | 127) => (
            "the engine could not execute /bin/sh in the container",
            &*not_executed(engine),
        ),
        (None, 0) => ("the container undid it immediately", LOOK_IN_DEV),
        // Killed by a signal (POSIX.1-2017, Shell Command Language, 2.8.2).
        (None, 129..) => (
            "the command in the container was killed",
            "check the container's memory limit and the kernel's log",
        ),
        (None, _) => (
            "the command in the container failed",
            "check the output of the command",
        ),
    };
    let cause = match shorten(output).as_str() {
        _ if status == 0 => cause.to_owned(),
        "" => format!("{cause} (exit status {status})"),
        said => format!("{cause} ({said})"),
    };
    Explained {
        cause,
        fix: fix.to_owned(),
    }
}

/// Makes one printable line of at most 300 characters. It replaces the number in a temporary name,
/// which differs at each try: equal failures have equal texts.
pub fn shorten(text: &str) -> String {
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
    use crate::sys::child::find;

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

    /// The command with a directory of the host in the place of /dev.
    fn argv(dev: &Path, ops: Vec<Op>) -> Vec<String> {
        let plan = Plan {
            ops,
            ..Plan::default()
        };
        let dev = dev.to_str().unwrap();
        let real = ["/dev", "/dev/serial/by-id"]
            .map(|directory| (directory.to_owned(), directory.replacen("/dev", dev, 1)));
        command(&plan, &real.into(), u64::MAX >> 1).unwrap()
    }

    /// Runs the script on the host.
    fn run(dev: &Path, ops: Vec<Op>) -> Output {
        let argv = argv(dev, ops);
        Command::new(&argv[0]).args(&argv[1..]).output().unwrap()
    }

    /// The shells of this machine that may be an image's /bin/sh.
    fn shells() -> Vec<Vec<&'static str>> {
        let mut shells = vec![
            vec!["/bin/sh"],
            vec!["dash"],
            vec!["bash", "--posix"],
            vec!["busybox", "sh"],
        ];
        shells.retain(|shell| find(Path::new(shell[0])).is_some());
        shells
    }

    /// The step that fails, which is the same in every shell, and the error output.
    fn failed(dev: &Path, ops: &[Op]) -> (Step, String) {
        failed_below(&[], dev, ops)
    }

    /// The same when `program` executes the shell.
    fn failed_below(program: &[&str], dev: &Path, ops: &[Op]) -> (Step, String) {
        let runs = shells().into_iter().map(|shell| {
            let argv = argv(dev, ops.to_vec());
            let shell = [program, &shell].concat();
            let mut command = Command::new(shell[0]);
            let output = command.args(&shell[1..]).args(&argv[1..]).output().unwrap();
            let step = step_of(output.status.code().unwrap().into());
            let step = step.unwrap_or_else(|| panic!("{shell:?}: {output:?}"));
            (step, String::from_utf8(output.stderr).unwrap())
        });
        let mut runs: Vec<_> = runs.collect();
        runs.dedup_by_key(|(step, _)| *step);
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
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
    fn a_command_is_known_by_its_command_line() {
        let script = format!("/bin/sh\0-c\0{SCRIPT}\0ttyplugd\0node\0/dev\0");
        assert!(script.len() < usize::try_from(COMMAND_LINE).unwrap() / 2);
        for (line, expected) in [
            (&*script, true),
            ("runc\0init\0", true),
            ("ln\0./.ttyplugd.17\0./zwave\0", true),
            ("/usr/bin/crun\0--root\0/run/crun\0exec\0id\0", true),
            ("/sbin/init\0", false),
            ("app\0init\0now\0", false),
            ("dotnet\0exec\0app.dll\0", false),
            ("sh\0-c\0sleep 1\0", false),
            ("", false),
        ] {
            assert_eq!(may_be_command(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_command_that_is_begun_too_late_does_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let dev = directory.path().canonicalize().unwrap();
        for shell in shells() {
            let ends = |until: &str, clock: &str| {
                let mut argv = argv(&dev, vec![link("/dev/x", "y")]);
                argv[2] = argv[2].replace("/proc/uptime", clock);
                until.clone_into(&mut argv[4]);
                let mut command = Command::new(shell[0]);
                let output = command.args(&shell[1..]).args(&argv[1..]).output().unwrap();
                assert!(output.stderr.is_empty(), "{shell:?}: {output:?}");
                let made = std::fs::remove_file(dev.join("x")).is_ok();
                (step_of(output.status.code().unwrap().into()), made)
            };
            let (until, later) = (dev.join("until"), dev.join("later"));
            std::fs::write(&until, "17.99 3.20\n").unwrap();
            std::fs::write(&later, "18.00 3.20\n").unwrap();
            assert_eq!(ends("17", until.to_str().unwrap()), (None, true));
            assert_eq!(
                ends("17", later.to_str().unwrap()),
                (Some(Step::Begin), false)
            );
            assert_eq!(ends("0", "/proc/uptime"), (Some(Step::Begin), false));
            // Where it cannot know.
            assert_eq!(ends("0", "/proc/none"), (None, true));
        }
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
            assert_eq!(output.stdout, b"done\n");
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
    fn an_entry_that_has_changed_its_kind_is_left_alone() {
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
    fn the_exit_status_is_that_of_the_step_that_failed() {
        let directory = tempfile::tempdir().unwrap();
        let dev = directory.path().canonicalize().unwrap();
        std::fs::create_dir(dev.join("directory")).unwrap();
        std::fs::write(dev.join("file"), "content").unwrap();
        symlink("directory", dev.join("serial")).unwrap();
        // Nobody can make anything in /proc, not even root.
        let (proc, none) = (Path::new("/proc"), Path::new("/proc/none"));
        let sweep = |name: &str| Op::Sweep {
            path: format!("/dev/{name}"),
        };
        for (dev, op, step) in [
            (&*dev, link("/dev/serial/by-id/x", "y"), Step::Enter),
            (none, link("/dev/x", "y"), Step::Mkdir),
            (proc, node("/dev/x"), Step::Mknod),
            (&dev, link("/dev/directory", "y"), Step::Check),
            (&dev, link("/dev/file", "y"), Step::Check),
            (proc, link("/dev/x", "y"), Step::Ln),
            (&dev, sweep("directory"), Step::Rm),
        ] {
            assert_eq!(failed(dev, &[op]).0, step);
        }
        // The first of several.
        let (step, said) = failed(&dev, &[link("/dev/file", "y"), sweep("directory")]);
        assert_eq!(step, Step::Check);
        assert!(said.lines().count() >= 2, "{said}");
    }

    #[test]
    fn the_exit_status_tells_which_capability_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let dev = directory.path().canonicalize().unwrap();
        let mut op = node("/dev/x");
        if let Op::MakeNode { uid, .. } = &mut op {
            *uid = 1000;
        }
        // Only root has any to do without.
        if !nix::unistd::geteuid().is_root() {
            return assert_eq!(failed(&dev, &[op]).0, Step::Mknod);
        }
        for (capability, step) in [("mknod", Step::Mknod), ("chown", Step::Chown)] {
            let without = format!("--bounding-set=-{capability}");
            let failed = failed_below(&["setpriv", &without], &dev, &[op.clone()]);
            assert_eq!(failed.0, step, "{capability}: {}", failed.1);
            assert_eq!(names(&dev), [""; 0]);
        }
    }

    #[test]
    fn a_name_that_is_too_long_fails_when_it_is_put_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let dev = directory.path().canonicalize().unwrap();
        let long = "x".repeat(256);
        let is_root = nix::unistd::geteuid().is_root();
        let node = [
            "node",
            dev.to_str().unwrap(),
            &long,
            "1",
            "3",
            "0:20",
            "0640",
        ];
        let link = ["link", dev.to_str().unwrap(), &long, "y"];
        for (op, step) in [
            (&node[..], if is_root { Step::Mv } else { Step::Mknod }),
            (&link, Step::Ln),
        ] {
            let mut argv = argv(&dev, Vec::new());
            argv.extend(op.iter().map(|&word| word.to_owned()));
            let output = Command::new(&argv[0]).args(&argv[1..]).output().unwrap();
            let failed = step_of(output.status.code().unwrap().into());
            assert_eq!(failed, Some(step), "{output:?}");
            assert_eq!(names(&dev), [""; 0]);
        }
    }

    /// Its own name is one more link to the node, which root may make of a node of its own alone
    /// where hard links are protected.
    #[test]
    fn a_node_of_another_user_is_put_in_place_without_the_capability_to_link_it() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for shell in shells() {
            let directory = tempfile::tempdir().unwrap();
            let dev = directory.path().canonicalize().unwrap();
            let mut op = node("/dev/port");
            if let Op::MakeNode { uid, .. } = &mut op {
                *uid = 1000;
            }
            let argv = argv(&dev, vec![op]);
            let mut command = Command::new("setpriv");
            command.arg("--bounding-set=-fowner").args(&shell);
            let output = command.args(&argv[1..]).output().unwrap();
            assert!(output.status.success(), "{shell:?}: {output:?}");
            assert!(output.stderr.is_empty(), "{shell:?}: {output:?}");
            let made = std::fs::symlink_metadata(dev.join("port")).unwrap();
            assert_eq!((made.uid(), made.nlink()), (1000, 1));
            assert_eq!(names(&dev), ["port"]);
        }
    }

    #[test]
    fn a_missing_program_has_a_status_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let dev = directory.path().canonicalize().unwrap();
        let mut argv = argv(&dev, vec![link("/dev/x", "y")]);
        let path = format!("PATH={}\n", PROGRAM_DIRECTORIES.join(":"));
        argv[2] = argv[2].replace(&path, "PATH=/none\n");
        assert_ne!(argv[2], SCRIPT);
        // busybox has its own programs in it.
        for shell in shells().into_iter().filter(|shell| shell[0] != "busybox") {
            let mut command = Command::new(find(Path::new(shell[0])).unwrap());
            let output = command.args(&shell[1..]).args(&argv[1..]).output().unwrap();
            let step = step_of(output.status.code().unwrap().into());
            assert_eq!(step, Some(Step::Find), "{shell:?}: {output:?}");
        }
    }

    #[test]
    fn failures_are_explained_by_their_status_and_show_the_output() {
        for (status, said, expected) in [
            (
                10,
                "sh: 16: mknod: not found",
                "the image lacks a program (sh: 16: mknod: not found)",
            ),
            (13, "not found", "cannot make the node (not found)"),
            (
                126,
                "",
                "the engine could not execute /bin/sh in the container (exit status 126)",
            ),
            (
                137,
                "",
                "the command in the container was killed (exit status 137)",
            ),
            (1, "", "the command in the container failed (exit status 1)"),
            (0, "done", "the container undid it immediately"),
        ] {
            assert_eq!(explain(status, said, &EngineName::DOCKER).cause, expected);
        }
        assert_eq!(
            shorten("mknod: ./.ttyplugd.17: no"),
            "mknod: ./.ttyplugd.*: no"
        );
        assert_eq!(shorten("a\n\u{1b}[31m b\0c"), "a [31m b c");
        assert!(shorten(&"é".repeat(1000)).len() < 1000);
    }
}
