//! `ttyplugd check` on a real machine: what it finds, and that it changes nothing.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::testbed::{
    Container, Entry, Port, Process, RUNTIME, Recipe, Testbed, eventually, has_words, run, until,
};

use super::setup::{ENABLE, RULE, ZWAVE, meter, odd_runtime, setup, stick, unplugged_with};

/// The container "zwave" with the right to open its port from the beginning.
fn zwave() -> Recipe {
    Recipe::new("zwave").with(&RULE)
}

/// It runs, and the port is plugged in, but no daemon has seen either.
fn without_daemon(recipe: Recipe) -> (Testbed, Container, Port) {
    let bed = Testbed::with_config(ZWAVE);
    let container = recipe.start();
    let port = stick(63);
    port.plug();
    (bed, container, port)
}

/// The exit code and every finding of one run.
#[derive(Debug)]
struct Checked {
    code: i32,
    findings: Vec<Value>,
}

fn check(bed: &Testbed) -> Checked {
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
fn opener(path: &str) -> Process {
    let file = File::open(path).expect("it can be opened");
    Process::start(Command::new("sleep").arg("1000").stdin(file))
}

/// The entry of a port in the output of `ports`.
fn row<'a>(ports: &'a Value, port: &Port) -> &'a Value {
    let rows = ports["ports"].as_array().expect("it is one");
    let row = rows.iter().find(|row| row["node"] == port.host_node());
    row.unwrap_or_else(|| panic!("no {} in {ports}", port.host_node()))
}

#[test]
fn check_is_content_where_everything_works_and_changes_nothing() {
    let bed = Testbed::with_runtime(ZWAVE);
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let container = zwave().wrapped().start();
    container.has_only(&[&port]);
    let state = || {
        let record = fs::read(bed.file("run/owned.json"));
        (container.own_names(), record.expect("it was written"))
    };
    let before = state();

    let output = bed.ttyplugd(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("\nno errors, no warnings\n"), "{text}");
    let version = run("docker", &["version", "--format", "{{.Server.Version}}"]);
    has_words(&*text, &[&version]);

    let value = bed.json("check");
    assert_eq!((&value["ok"], &value["errors"]), (&true.into(), &0.into()));
    for finding in value["findings"].as_array().expect("it is one") {
        for key in ["level", "code", "subject", "what", "why", "remedy", "see"] {
            assert!(finding[key].is_string(), "{key}: {finding}");
        }
    }
    assert_eq!(before, state());
    daemon.stop();
}

#[test]
fn check_says_that_no_daemon_runs_and_makes_no_file() {
    let (bed, _container, _port) = without_daemon(zwave());
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    checked.has("error", "service-down", &["ttyplugd"]);
    assert_eq!(Entry::at(&bed.file("state")), Entry::Absent);
    assert_eq!(Entry::at(&bed.file("run")), Entry::Absent);
}

/// The answer of a real daemon, with another version in it.
#[test]
fn check_says_that_the_daemon_is_of_another_version() {
    let bed = Testbed::with_config(ZWAVE);
    let daemon = bed.daemon();
    daemon.logs(&["connected to the engine"]);
    let own = env!("CARGO_PKG_VERSION");
    check(&bed).has("note", "service", &[own]);
    let status = bed.ttyplugd(&["status", "--json"]);
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
    let (bed, _container, _daemon, port) = unplugged_with(&format!("grant = \"off\"\n{ZWAVE}"));
    port.plug();
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
    let (bed, container, _port) = without_daemon(zwave());
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
    let bed = Testbed::with_runtime(&held);
    let container = zwave().wrapped().create();
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
    let _container = zwave().create();
    check(&bed).has("warning", "runtime-missing", &["zwave", "runtime: ttyplug"]);

    // One that has never asked for it needs to know.
    bed.configure(ZWAVE);
    let checked = check(&bed);
    checked.lacks("runtime-missing");
    checked.has("note", "runtime", &["not registered"]);
}

#[test]
fn check_names_the_program_that_has_a_port_open() {
    let (bed, one, daemon, port) = setup(Testbed::with_config(ZWAVE), zwave());
    let other = Recipe::new("other").with(&RULE).start();
    port.plug();
    one.has_port(&port);
    let is_held = |what: &str| {
        let held = |checked: &Checked| !checked.of("port-held").is_empty();
        eventually(what, || check(&bed), held)
    };
    // Its own container has it open, which is right.
    one.sh_detached("exec sleep 1000 </dev/zwave");
    check(&bed).lacks("port-held");

    let opener = opener(&port.host_node());
    let checked = is_held("the host has it open");
    assert_eq!(checked.code, 1);
    let pid = format!("(pid {})", opener.pid());
    let words = [&port.host_node(), "sleep", &pid, "kill"];
    checked.has("error", "port-held", &words);
    drop(opener);
    check(&bed).lacks("port-held");

    // A node that somebody made in a container that is not to have the port.
    other.sh(&format!("mknod /dev/mine c 4 {}", port.minor()));
    other.sh_detached("exec sleep 1000 </dev/mine");
    let checked = is_held("another container has it open");
    checked.has("error", "port-held", &["in container other"]);

    // Both are to have it.
    bed.configure(&ZWAVE.replace("[\"zwave\"]", "[\"zwave\", \"other\"]"));
    check(&bed).has("warning", "port-shared", &["other and zwave"]);
    daemon.stop();
}

#[test]
fn check_says_that_a_user_is_not_in_the_nodes_group() {
    let user = || zwave().with(&["-u", "1000:1000"]);
    let (bed, container, port) = without_daemon(user());
    let gid = port.node().gid.to_string();
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    let line = format!("group_add: [\\\"{gid}\\\"]");
    checked.has(
        "error",
        "no-access",
        &["zwave", "user 1000", "/dev/zwave", &line],
    );
    drop(container);
    let container = user().with(&["--group-add", &gid]).start();
    check(&bed).lacks("no-access");
    drop(container);

    // As an init such as s6 does: groups are set anew with the user.
    let recipe = zwave().with(&["--group-add", &gid]);
    let container = recipe
        .command(&["su", "app", "-c", "echo dropped; sleep 1000 & wait"])
        .start();
    let dropped = || container.logs();
    eventually("it has changed its user", dropped, |said| {
        said.contains("dropped")
    });
    let owner = "owner = \\\"1000\\\"";
    check(&bed).has(
        "error",
        "no-access",
        &["user 1000", "has dropped it", owner],
    );
}

/// Group 20 is dialout on Debian, and 77 in the image.
#[test]
fn check_says_that_a_user_is_in_the_images_group_of_that_name() {
    let (bed, container, _port) =
        without_daemon(zwave().with(&["-u", "1000:1000", "--group-add", "77"]));
    bed.configure(&format!("{ZWAVE}group = \"20\"\n"));
    let words = ["where dialout is 77", "set group = \\\"dialout\\\""];
    check(&bed).has("error", "no-access", &words);
    drop(container);
    let added = zwave().with(&["-u", "1000:1000", "--group-add", "dialout"]);
    let _container = added.start();
    check(&bed).has("error", "no-access", &words);
}

#[test]
fn check_finds_of_ports_of_labels_what_it_finds_of_those_of_the_file() {
    let label = |text: &str| format!("ttyplugd.port.{text}");
    let (bed, _container, port) = without_daemon(
        zwave()
            .label(&label("absent.match=driver=none-such"))
            .label(&label("any.match=sysname=tty*"))
            .label(&label("any.node=/dev/any")),
    );
    let other = Port::new(62);
    other.plug();
    let checked = check(&bed);
    let of = |port: &str| format!("port {port} of container zwave");
    checked.has(
        "warning",
        "port-absent",
        &[&of("absent"), "driver=none-such"],
    );
    checked.has("note", "port-unknown-name", &[&of("absent"), "`node`"]);
    let both = [port.host_node(), other.host_node()];
    checked.has(
        "warning",
        "port-ambiguous",
        &[&of("any"), &both[0], &both[1]],
    );
}

#[test]
fn check_tells_of_a_stale_node_and_leaves_it_alone() {
    let (bed, container, _port) = without_daemon(zwave());
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
    let bed = Testbed::with_config(ZWAVE);
    let rule = ["--device-cgroup-rule", "c 188:* rmw"];
    let container = Recipe::new("own").with(&rule).start();
    container.sh("mknod /dev/ttyUSB7 c 188 7");
    let before = container.at("/dev/ttyUSB7");
    // A node in a mounted directory does not belong to its /dev.
    let directory = tempfile::tempdir().expect("a directory can be made");
    let node = directory.path().join("7");
    run("mknod", &[&*node.to_string_lossy(), "c", "188", "7"]);
    let mount = format!("{}:/dev/host", directory.path().display());
    let other = Recipe::new("other").with(&rule);
    let _other = other.with(&["-v", &mount]).start();

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
    let bed = Testbed::with_config(&format!("{ZWAVE}{twice}"));
    let first = zwave().start();
    let same = "usb-Same_Adapter-if00";
    let one = stick(63).with("TEST_BY_ID", same);
    let two = meter(62).with("TEST_BY_ID", same).at("/dev/zwave");
    one.plug();
    two.plug();
    let checked = check(&bed);
    assert_eq!(checked.code, 1);
    checked.has("error", "ports-quarrel", &["/dev/zwave", "other"]);
    checked.has("warning", "link-shared", &[same]);
    let ports = bed.json("ports");
    for port in [&one, &two] {
        assert_eq!(row(&ports, port)["identity"], "shared");
    }

    // At run time the first by name has the node.
    let daemon = bed.daemon();
    let container = Recipe::new("zwave-2").label(ENABLE).start();
    container.gets(&two.host_node(), &two.entry());
    assert_eq!(first.at("/dev/zwave"), two.entry());
    daemon.logs(&["/dev/zwave", "zwave", "other"]);
}

/// Every container is looked at beside the others.
#[test]
fn many_containers_are_checked_in_a_moment() {
    let bed = Testbed::with_config(&ZWAVE.replace("[\"zwave\"]", "[\"many-*\"]"));
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
    let names: Vec<_> = many.iter().map(Container::name).collect();
    has_words(&output.stdout, &names);
}

/// While a container is being created the engine answers no question about it (moby,
/// daemon/start.go, containerStart holds the container's lock).
#[test]
fn a_container_that_hangs_keeps_check_no_longer_than_one_call_may_take() {
    let (directory, runtime) =
        odd_runtime("touch $dir/begun; until [ -e $dir/go-on ]; do sleep 0.1; done");
    let both = ZWAVE.replace("[\"zwave\"]", "[\"zwave\", \"good\"]");
    let bed = Testbed::with_runtime_in_front_of(&runtime, &format!("grant = \"off\"\n{both}"));
    let _good = Recipe::new("good").start();
    stick(63).plug();
    let hanging = Recipe::new("zwave").wrapped().create();
    let mut start = Process::start(Command::new("docker").args(["start", "zwave"]));
    let begun = directory.path().join("begun");
    until("the runtime has begun", || begun.exists());

    let begin = Instant::now();
    let output = bed.ttyplugd(&["check"]);
    let took = begin.elapsed();
    fs::write(directory.path().join("go-on"), "").expect("a file can be written");
    let ended = start.end();
    assert!(ended.success(), "{ended}");
    drop(hanging);
    // Twice what a call to the engine may take.
    assert!(took < Duration::from_secs(20), "{took:?}");
    has_words(&output.stdout, &["container good: its device cgroup"]);
}

#[test]
fn a_device_without_a_serial_number_is_matched_by_its_place() {
    let bed = Testbed::new();
    let port = Port::new(63).without("ID_SERIAL_SHORT");
    port.plug();
    let output = bed.ttyplugd(&["ports"]);
    has_words(
        &output.stdout,
        &["no serial number", "match = { by-path = "],
    );
    let ports = bed.json("ports");
    let row = row(&ports, &port);
    has_words(row["snippet"].to_string(), &["by-path"]);
}
