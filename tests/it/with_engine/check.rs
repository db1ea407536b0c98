//! `ttyplugd check` on a real machine: what it finds, and that it changes nothing.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Bed, Container, Entry, PROGRAM, Port, RUNTIME, Recipe, SOON, eventually, run};

use super::ZWAVE;

/// Gives the right to open the test ttys.
const RULE: [&str; 2] = ["--device-cgroup-rule", "c 4:* rmw"];

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

/// The exit code and every finding of one run.
struct Checked {
    code: i32,
    findings: Vec<Value>,
}

fn check(bed: &Bed) -> Checked {
    let value = bed.json("check");
    let output = bed.ttyplugd(&["check"]);
    Checked {
        code: output.status.code().expect("it ends by itself"),
        findings: value["findings"].as_array().expect("it is one").clone(),
    }
}

impl Checked {
    /// The findings of a kind, each in one text.
    fn of(&self, code: &str) -> Vec<String> {
        let of_code = self.findings.iter().filter(|f| f["code"] == code);
        of_code.map(Value::to_string).collect()
    }

    /// There is one finding of the kind, of that level, with all of these words.
    #[track_caller]
    fn has(&self, level: &str, code: &str, words: &[&str]) {
        let fits = |text: &String| {
            let level = format!("\"level\":\"{level}\"");
            text.contains(&level) && words.iter().all(|word| text.contains(word))
        };
        let found = self.of(code);
        assert!(
            found.iter().any(fits),
            "{level} {code} {words:?}: {:#?}",
            self.findings
        );
    }

    #[track_caller]
    fn lacks(&self, code: &str) {
        assert_eq!(self.of(code), [""; 0], "{code}");
    }
}

/// A program on the host that has a file open and does nothing with it.
struct Opener(Child);

impl Opener {
    fn start(path: &Path) -> Self {
        let file = File::open(path).expect("it can be opened");
        let child = Command::new("sleep").arg("1000").stdin(file).spawn();
        Self(child.expect("sleep, of coreutils, runs"))
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a command in the container keep a path open.
fn keep_open(container: &Container, path: &str) {
    let script = format!("exec sleep 1000 <{path}");
    let command = [
        "exec",
        "-d",
        "-u",
        "0",
        container.name(),
        "/bin/sh",
        "-c",
        &script,
    ];
    run("docker", &command);
}

#[test]
fn check_is_content_where_everything_works_and_changes_nothing() {
    let bed = Bed::with_runtime(ZWAVE);
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave")
        .with(&RULE)
        .with(&["--runtime", "ttyplug"])
        .start();
    container.gets("/dev/zwave", &port.entry());
    container.has_exactly(&[
        "serial/by-id/usb-Test_T63-if00",
        "serial/by-path/pci-0000:00:14.0-usb-0:63:1.0",
        "zwave",
    ]);
    let before = (
        container.own_names(),
        fs::read(bed.file("state/owned.json")).ok(),
    );

    let output = bed.ttyplugd(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("\nno errors, no warnings\n"), "{text}");
    let version = run("docker", &["version", "--format", "{{.Server.Version}}"]);
    assert!(text.contains(&version), "{text}");

    let value = bed.json("check");
    assert_eq!((&value["ok"], &value["errors"]), (&true.into(), &0.into()));
    for finding in value["findings"].as_array().expect("it is one") {
        for key in ["level", "code", "subject", "what", "why", "remedy"] {
            assert!(finding[key].is_string(), "{key}: {finding}");
        }
    }
    let after = (
        container.own_names(),
        fs::read(bed.file("state/owned.json")).ok(),
    );
    assert_eq!(before, after);
    daemon.stop();
}

#[test]
fn check_says_that_no_daemon_runs_and_makes_no_file() {
    let bed = Bed::with_config(ZWAVE);
    let _container = Recipe::new("zwave").with(&RULE).start();
    stick(63).plug();
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    checked.has("error", "service-down", &["ttyplugd"]);
    assert_eq!(Entry::at(&bed.file("state")), Entry::Absent);
    assert_eq!(Entry::at(&bed.file("run")), Entry::Absent);
}

/// The answer of a real daemon, with another version in it.
#[test]
fn check_says_that_the_daemon_is_of_another_version() {
    let bed = Bed::with_config(ZWAVE);
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let own = env!("CARGO_PKG_VERSION");
    check(&bed).has("note", "service", &[own]);
    let status = Command::new(PROGRAM)
        .args(["status", "--json", "--run-dir"])
        .arg(bed.file("run"))
        .output()
        .expect("it runs");
    daemon.stop();

    let status = String::from_utf8_lossy(&status.stdout).replace(own, "0.0.1");
    let answer = format!("HTTP/1.0 200 OK\r\n\r\n{status}");
    let _ = fs::remove_file(bed.file("run/api.sock"));
    let listener = UnixListener::bind(bed.file("run/api.sock")).expect("a socket can be made");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    check(&bed).has(
        "warning",
        "service-version",
        &["0.0.1", own, "systemctl restart"],
    );
}

#[test]
fn check_names_a_missing_right_with_the_line_that_gives_it() {
    let bed = Bed::with_config(&format!("grant = \"off\"\n{ZWAVE}"));
    let _daemon = bed.daemon();
    let _container = Recipe::new("zwave").start();
    stick(63).plug();
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    checked.has(
        "error",
        "right-missing",
        &["zwave", "device_cgroup_rules", "c 4:* rmw"],
    );
}

/// cgroup v1 shows the rules that are in force, and lets them be taken away; with cgroup v2 they
/// are a program in the kernel (tests/golden/check has what systemd tells there).
#[test]
fn check_says_that_a_right_is_not_in_force_any_more() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").with(&RULE).start();
    stick(63).plug();
    check(&bed).lacks("right-not-in-force");
    let id = container.inspect("{{.Id}}");
    let deny = format!("/sys/fs/cgroup/devices/docker/{id}/devices.deny");
    if Path::new(&deny).exists() {
        fs::write(deny, "c 4:* rmw").expect("root can write to it");
        check(&bed).has("error", "right-not-in-force", &["docker restart zwave"]);
    }
}

#[test]
fn check_names_the_runtime_that_the_engine_does_not_know() {
    let held = format!("{ZWAVE}hold = \"60s\"\n");
    let bed = Bed::with_runtime(&held);
    let container = Recipe::new("zwave")
        .with(&RULE)
        .with(&["--runtime", "ttyplug"])
        .create();
    check(&bed).has("note", "runtime", &["is registered", RUNTIME]);

    // A container that was created for it never starts again.
    bed.forget_runtime();
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    checked.has(
        "error",
        "runtime-missing",
        &["zwave", "ttyplugd runtime enable"],
    );
    drop(container);

    // One whose port asks for held opens starts without them.
    let _container = Recipe::new("zwave").with(&RULE).create();
    check(&bed).has("warning", "runtime-missing", &["zwave", "runtime: ttyplug"]);

    // One that has never asked for it needs to know.
    bed.configure(ZWAVE);
    let checked = check(&bed);
    checked.lacks("runtime-missing");
    checked.has("note", "runtime", &["not registered"]);
}

#[test]
fn check_names_the_program_that_has_a_port_open() {
    let bed = Bed::with_config(ZWAVE);
    let daemon = bed.daemon();
    let (one, other) = (
        Recipe::new("zwave").with(&RULE),
        Recipe::new("other").with(&RULE),
    );
    let (one, other) = (one.start(), other.start());
    let port = stick(63);
    port.plug();
    one.gets("/dev/zwave", &port.entry());
    keep_open(&one, "/dev/zwave");
    let settled = |expected: &str| {
        eventually(SOON, expected, || {
            let checked = check(&bed);
            let found = checked.of(expected);
            (!found.is_empty())
                .then_some(())
                .ok_or_else(|| format!("{:#?}", checked.findings))
        });
    };
    // Its own container has it open, which is right.
    check(&bed).lacks("port-held");

    let opener = Opener::start(Path::new(&port.host_node()));
    settled("port-held");
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    let pid = format!("(pid {})", opener.0.id());
    checked.has(
        "error",
        "port-held",
        &[&port.host_node(), "sleep", &pid, "kill"],
    );
    drop(opener);
    check(&bed).lacks("port-held");

    // A node that somebody made in a container that is not to have the port.
    other.sh(&format!("mknod /dev/mine c 4 {}", port.minor()));
    keep_open(&other, "/dev/mine");
    settled("port-held");
    check(&bed).has("error", "port-held", &["in container other"]);

    // Both are to have it.
    bed.configure(&ZWAVE.replace("[\"zwave\"]", "[\"zwave\", \"other\"]"));
    check(&bed).has("warning", "port-shared", &["other and zwave"]);
    daemon.stop();
}

#[test]
fn check_says_that_a_user_is_not_in_the_nodes_group() {
    let bed = Bed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let gid = port.node().gid.to_string();
    let user = |more: &[&str]| {
        Recipe::new("zwave")
            .with(&RULE)
            .with(&["-u", "1000:1000"])
            .with(more)
    };
    let container = user(&[]).start();
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    let line = format!("group_add: [\\\"{gid}\\\"]");
    checked.has(
        "error",
        "no-access",
        &["zwave", "user 1000", "/dev/zwave", &line],
    );
    drop(container);
    let _container = user(&["--group-add", &gid]).start();
    check(&bed).lacks("no-access");
}

#[test]
fn check_tells_of_a_stale_node_and_leaves_it_alone() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").with(&RULE).start();
    stick(63).plug();
    check(&bed).lacks("stale-node");
    // 188 is the number of ttyUSB, and this machine has none.
    container.sh("mknod /dev/ttyUSB7 c 188 7");
    let before = container.at("/dev/ttyUSB7");
    check(&bed).has("warning", "stale-node", &["zwave", "/dev/ttyUSB7", "188:7"]);
    assert_eq!(container.at("/dev/ttyUSB7"), before);
}

/// The one that a script serves so far, before it gets its label.
#[test]
fn check_tells_of_a_stale_node_where_no_port_is_to_be() {
    let bed = Bed::with_config(ZWAVE);
    let rule = ["--device-cgroup-rule", "c 188:* rmw"];
    let container = Recipe::new("own").with(&rule).start();
    container.sh("mknod /dev/ttyUSB7 c 188 7");
    let before = container.at("/dev/ttyUSB7");
    // What is mounted there is not of its /dev.
    let directory = tempfile::tempdir().expect("a directory can be made");
    run(
        "mknod",
        &[
            &directory.path().join("7").to_string_lossy(),
            "c",
            "188",
            "7",
        ],
    );
    let mount = format!("{}:/dev/host", directory.path().display());
    let _other = Recipe::new("other")
        .with(&rule)
        .with(&["-v", &mount])
        .start();

    let checked = check(&bed);
    checked.has(
        "warning",
        "stale-node",
        &["own", "/dev/ttyUSB7", "188:7", "[[port]]"],
    );
    assert_eq!(checked.of("stale-node").len(), 1, "{:#?}", checked.findings);
    assert_eq!(container.at("/dev/ttyUSB7"), before);
}

#[test]
fn check_names_ports_that_quarrel() {
    let twice = ZWAVE
        .replace("zwave\"\nmatch", "other\"\nmatch")
        .replace("Z1", "M1");
    let bed = Bed::with_config(&format!("{ZWAVE}{twice}"));
    let first = Recipe::new("zwave").with(&RULE).start();
    let same = "usb-Same_Adapter-if00";
    let (one, two) = (stick(63), Port::new(62).with("ID_SERIAL_SHORT", "M1"));
    let (one, two) = (one.with("TEST_BY_ID", same), two.with("TEST_BY_ID", same));
    one.plug();
    two.plug();
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    checked.has("error", "ports-quarrel", &["/dev/zwave", "other"]);
    checked.has("warning", "link-shared", &[same]);
    let ports = bed.json("ports");
    let ports = ports["ports"].as_array().expect("it is one");
    let identity = |node: &str| {
        let port = ports.iter().find(|port| port["node"] == node);
        port.map(|port| port["identity"].clone())
            .expect("it is there")
    };
    assert_eq!(identity(&one.host_node()), "shared");
    assert_eq!(identity(&two.host_node()), "shared");

    // At run time the first by name has the node.
    let daemon = bed.daemon();
    let container = Recipe::new("zwave-2").label("ttyplugd.enable=true").start();
    container.gets(&two.host_node(), &two.entry());
    assert_eq!(first.at("/dev/zwave"), two.entry());
    daemon.logs(&["/dev/zwave", "zwave", "other"]);
}

/// Every container is looked at beside the others.
#[test]
fn many_containers_are_checked_in_a_moment() {
    let bed = Bed::with_config(&ZWAVE.replace("[\"zwave\"]", "[\"many-*\"]"));
    let _daemon = bed.daemon();
    stick(63).plug();
    let many: Vec<_> = (0..12)
        .map(|n| Recipe::new(&format!("many-{n}")).with(&RULE).start())
        .collect();
    let begin = Instant::now();
    let output = bed.ttyplugd(&["check"]);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    for container in &many {
        assert!(text.contains(container.name()), "{text}");
    }
}

/// While a container is being created the engine answers no question about it (moby,
/// daemon/start.go, containerStart holds the container's lock).
#[test]
fn a_container_that_hangs_keeps_check_no_longer_than_one_call_may_take() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (slow, go_on) = (
        directory.path().join("slow"),
        directory.path().join("go-on"),
    );
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" create \"*)\n  touch {dir}/begun\n  \
         until [ -e {dir}/go-on ]; do sleep 0.1; done\nesac\nexec runc \"$@\"\n",
        dir = directory.path().display()
    );
    fs::write(&slow, script).expect("a file can be written");
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let bed = Bed::with_runtime_in_front_of(
        slow.to_str().expect("it is UTF-8"),
        &format!(
            "grant = \"off\"\n{}",
            ZWAVE.replace("[\"zwave\"]", "[\"zwave\", \"good\"]")
        ),
    );
    let _good = Recipe::new("good").start();
    stick(63).plug();
    let hanging = Recipe::new("zwave")
        .with(&["--runtime", "ttyplug"])
        .create();
    let start = Command::new("docker")
        .args(["start", "zwave"])
        .stdout(Stdio::null())
        .spawn();
    let mut start = start.expect("docker runs");
    eventually(SOON, "the runtime has begun", || {
        let begun = directory.path().join("begun").exists();
        begun.then_some(()).ok_or_else(String::new)
    });

    let begin = Instant::now();
    let output = bed.ttyplugd(&["check"]);
    let took = begin.elapsed();
    fs::write(go_on, "").expect("a file can be written");
    let ended = start.wait().expect("it is a child");
    assert!(ended.success(), "{ended}");
    drop(hanging);
    assert!(took < Duration::from_secs(20), "{took:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("container good: its device cgroup"), "{text}");
}

#[test]
fn a_device_without_a_serial_number_is_matched_by_its_place() {
    let bed = Bed::new();
    Port::new(63).without("ID_SERIAL_SHORT").plug();
    let output = Command::new(PROGRAM)
        .arg("ports")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("no serial number"), "{text}");
    assert!(text.contains("match = { by-path = "), "{text}");
    assert_eq!(
        bed.json("ports")["ports"][0]["snippet"]
            .as_str()
            .map(|s| s.contains("by-path")),
        Some(true)
    );
}
