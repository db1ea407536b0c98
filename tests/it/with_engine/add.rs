//! `ttyplugd add` and `ttyplugd remove`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::testbed::{PROGRAM, Port, Recipe, Testbed, has_words, output};

use super::setup::{ZWAVE, stick};

/// The file of the port "zwave".
fn file(bed: &Testbed) -> PathBuf {
    bed.file("conf.d/zwave.toml")
}

/// What it has for the stick of [`stick`].
const WRITTEN: &str = r#"# Written by ttyplugd add. To remove it: ttyplugd remove zwave
[[port]]
name = "zwave"
match = { vendor = "0658", product = "0200", serial = "Z1", interface = "00" }
containers = ["zwave"]
node = "/dev/zwave"
"#;

fn add(bed: &Testbed, port: &Port, more: &[&str]) -> Output {
    let sysname = port.sysname();
    let arguments = ["add", "zwave", "--device", &sysname, "--container", "zwave"];
    bed.ttyplugd(&[&arguments, more].concat())
}

#[track_caller]
fn succeeds(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    has_words(&output.stdout, words);
}

/// It ends with this status and these words on standard error, and has left no file.
#[track_caller]
fn refuses(bed: &Testbed, output: &Output, status: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    has_words(&output.stderr, words);
    assert!(!file(bed).exists(), "{output:?}");
}

#[test]
fn a_plugged_stick_becomes_a_port_of_a_running_container_and_is_removed_again() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let mapped = format!("{}:/dev/old", port.host_node());
    let container = Recipe::new("zwave").with(&["--device", &mapped]).start();
    let daemon = bed.daemon();
    let added = add(&bed, &port, &[]);
    let left = [
        "docker run of zwave",
        "--runtime ttyplug",
        &format!("--device {mapped}\n"),
    ];
    succeeds(&added, &["Port zwave is ready: /dev/zwave in zwave\n"]);
    has_words(&added.stdout, &left);
    assert_eq!(added.stderr, b"");
    container.has_port(&port);
    assert_eq!(
        fs::read_to_string(file(&bed)).expect("it is there"),
        WRITTEN
    );
    let mode = fs::metadata(file(&bed)).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o644);

    // What it has written itself it replaces.
    let other = port.clone().at("/dev/other");
    succeeds(
        &add(&bed, &port, &["--node", "/dev/other"]),
        &["/dev/other in zwave"],
    );
    container.has_port(&other);
    container.loses("/dev/zwave");

    let removed = bed.ttyplugd(&["remove", "zwave"]);
    succeeds(&removed, &["zwave.toml: removed\n"]);
    // It has the device by its own definition still.
    assert!(!String::from_utf8_lossy(&removed.stdout).contains("--device"));
    container.lacks_port(&other);
    refuses(
        &bed,
        &bed.ttyplugd(&["remove", "zwave"]),
        1,
        &["has added no port zwave"],
    );
    daemon.stop();
}

#[test]
fn a_container_with_the_runtime_has_nothing_left_to_change() {
    let bed = Testbed::with_runtime("");
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").wrapped().start();
    let _daemon = bed.daemon();
    let added = add(&bed, &port, &[]);
    succeeds(&added, &["is ready"]);
    assert_eq!(
        String::from_utf8_lossy(&added.stdout).lines().count(),
        2,
        "{added:?}"
    );
    container.has_port(&port);
    let removed = bed.ttyplugd(&["remove", "zwave"]);
    let by_id = format!("--device {}:/dev/zwave", port.by_id());
    succeeds(&removed, &["take out", "--runtime ttyplug", &by_id]);
}

#[test]
fn a_container_of_compose_is_named_by_its_service_and_need_not_exist_yet() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    let sysname = port.sysname();
    let arguments = ["--device", &sysname, "--container", "home/zwave"];
    let added = bed.ttyplugd(&[&["add", "zwave"], &arguments[..]].concat());
    succeeds(
        &added,
        &[
            "compose project home",
            "      runtime: ttyplug\n",
            "runtime enable",
        ],
    );
    has_words(&added.stderr, &["there is no container home/zwave"]);
    let labels = ["project=home", "service=zwave"].map(|l| format!("com.docker.compose.{l}"));
    let container = Recipe::new("home-zwave-1")
        .label(&labels[0])
        .label(&labels[1]);
    container.start().has_port(&port);
}

#[test]
fn one_that_does_not_run_has_the_port_when_it_starts() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").create();
    let _daemon = bed.daemon();
    let added = add(&bed, &port, &[]);
    succeeds(&added, &["--runtime ttyplug"]);
    has_words(&added.stderr, &["container zwave does not run"]);
    container.docker(&["start"]);
    container.has_port(&port);
}

#[test]
fn a_dry_run_needs_neither_root_nor_daemon_nor_engine_and_writes_nothing() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let sysname = port.sysname();
    let arguments = ["add", "zwave", "--device", &sysname, "--container", "zwave"];
    let mut command = bed.command(&arguments);
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    // Whoever has no number in a user namespace is nobody there (user_namespaces(7)).
    let nobody = |more: &[&str]| {
        let mut nobody = Command::new("unshare");
        nobody.args(["--user", "timeout"]).args(&words).args(more);
        let nobody = nobody.env("DOCKER_HOST", "unix:///nowhere").output();
        nobody.expect("unshare, of util-linux, runs")
    };
    let dry = nobody(&["--dry-run"]);
    refuses(&bed, &dry, 0, &["nothing is known of containers"]);
    assert_eq!(String::from_utf8_lossy(&dry.stdout), WRITTEN);
    refuses(&bed, &nobody(&[]), 1, &["sudo"]);
    command.arg("--dry-run");
    let with_engine = command.output().expect("it runs");
    refuses(&bed, &with_engine, 0, &["there is no container zwave"]);
    assert!(!bed.file("conf.d").exists());
}

#[test]
fn nothing_is_written_where_the_whole_would_not_be_valid() {
    let bed = Testbed::with_config(ZWAVE);
    let port = stick(63);
    port.plug();
    let config = bed.file("config.toml").display().to_string();
    refuses(
        &bed,
        &add(&bed, &port, &[]),
        1,
        &["port zwave is defined in", &config],
    );
    let removed = bed.ttyplugd(&["remove", "zwave"]);
    refuses(
        &bed,
        &removed,
        1,
        &["was not added by ttyplugd add", &config],
    );
    bed.configure("prot = 1");
    for output in [add(&bed, &port, &[]), bed.ttyplugd(&["remove", "zwave"])] {
        refuses(
            &bed,
            &output,
            2,
            &["config.toml:1", "did you mean \"port\"?"],
        );
    }
    bed.configure("");
    let missing = bed.ttyplugd(&["add", "--container", "zwave"]);
    refuses(&bed, &missing, 2, &["missing", "NAME, --device"]);
    port.unplug();
    refuses(
        &bed,
        &add(&bed, &port, &[]),
        1,
        &["plugged in", "ttyplugd ports"],
    );
    let label = "ttyplugd.port.zwave.match=vendor=0658";
    let _labelled = Recipe::new("labelled").label(label).create();
    port.plug();
    refuses(
        &bed,
        &add(&bed, &port, &[]),
        1,
        &["label ttyplugd.port.zwave.match", "labelled"],
    );
}

#[test]
fn a_file_of_somebody_else_is_neither_replaced_nor_removed() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    fs::create_dir(bed.file("conf.d")).expect("a directory can be made");
    let target = bed.file("target");
    let kept = |bed: &Testbed| fs::read_to_string(file(bed)).expect("it is there");
    for theirs in [
        ZWAVE.to_owned(),
        format!("{WRITTEN}mode = \"0600\"\n"),
        "# mine\n".into(),
    ] {
        fs::write(file(&bed), &theirs).expect("a file can be written");
        let output = add(&bed, &port, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        has_words(
            &output.stderr,
            &["zwave.toml", "not as add has written it", "another name"],
        );
        let output = bed.ttyplugd(&["remove", "zwave"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        has_words(
            &output.stderr,
            &["not as ttyplugd add has written it", "sudo rm"],
        );
        assert_eq!(kept(&bed), theirs);
    }
    fs::rename(file(&bed), &target).expect("it is ours");
    fs::write(&target, WRITTEN).expect("a file can be written");
    symlink(&target, file(&bed)).expect("a link can be made");
    for output in [add(&bed, &port, &[]), bed.ttyplugd(&["remove", "zwave"])] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(kept(&bed), WRITTEN);
        assert!(file(&bed).is_symlink());
    }
}

#[test]
fn two_equal_sticks_are_told_apart_by_their_place_and_a_warning_says_so() {
    let bed = Testbed::new();
    let same = |number| stick(number).with("TEST_BY_ID", "usb-Test_Z1-if00");
    let (first, second) = (same(62), same(63));
    first.plug();
    second.plug();
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let added = add(&bed, &first, &[]);
    succeeds(&added, &["is ready"]);
    has_words(
        &added.stderr,
        &[
            "not unique",
            &second.sysname(),
            "by-path=pci-0000:00:14.0-usb-0:62",
        ],
    );
    container.gets("/dev/zwave", &first.entry());
}

#[test]
fn what_the_daemon_does_not_read_stays_and_what_it_rejects_is_undone() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").start();
    let stopped = add(&bed, &port, &[]);
    assert_eq!(stopped.status.code(), Some(1), "{stopped:?}");
    has_words(
        &stopped.stderr,
        &["zwave.toml has changed", "systemctl enable --now ttyplugd"],
    );
    let daemon = bed.daemon();
    container.has_port(&port);
    succeeds(&bed.ttyplugd(&["remove", "zwave"]), &["removed"]);
    container.lacks_port(&port);

    // It reads another file than the command does.
    bed.configure("prot = 1");
    let other = bed.file("other/config.toml");
    let command = ["add", "zwave", "--container", "zwave", "--device"];
    let mut words: Vec<String> = command.map(String::from).into();
    words.extend([
        port.sysname(),
        "--config".into(),
        other.display().to_string(),
    ]);
    words.extend(["--run-dir".into(), bed.file("run").display().to_string()]);
    let rejected = output(PROGRAM, &words);
    refuses(&bed, &rejected, 1, &["rejects", "config.toml:1", "prot"]);
    assert!(!bed.file("other/conf.d/zwave.toml").exists());
    daemon.stop();
}

#[test]
fn a_port_that_a_label_uses_is_not_removed() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let _daemon = bed.daemon();
    succeeds(&add(&bed, &port, &[]), &["written"]);
    let user = Recipe::new("user")
        .label("ttyplugd.port.zwave.use=true")
        .start();
    user.has_port(&port);
    let refused = bed.ttyplugd(&["remove", "zwave"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    has_words(&refused.stderr, &["ttyplugd.port.zwave.use"]);
    assert!(file(&bed).exists());
    user.has_port(&port);
}

#[test]
fn on_a_terminal_it_asks_for_everything() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").start();
    let _other = Recipe::new("other").create();
    let _daemon = bed.daemon();
    let mut terminal = bed.terminal(&["add"]);
    terminal.shows("Serial devices:");
    terminal.shows(&format!("1) {}", port.sysname()));
    terminal.shows("serial Z1");
    terminal.answer("Device [1]: ", "ttyUSB77");
    terminal.shows("no serial device ttyUSB77");
    terminal.answer("Device [1]: ", "");
    terminal.shows("1) ");
    terminal.answer("of compose): ", "no:name");
    terminal.answer("of compose): ", "zwave");
    terminal.answer(&format!("container [{}]: ", port.host_node()), "/dev/zwave");
    terminal.answer("Name of the port [zwave]: ", "");
    terminal.shows("containers = [\"zwave\"]");
    terminal.answer("zwave.toml? [Y/n] ", "y");
    terminal.shows("Port zwave is ready");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    container.has_port(&port);
    assert_eq!(
        fs::read_to_string(file(&bed)).expect("it is there"),
        WRITTEN
    );
}

#[test]
fn whoever_stops_answering_has_changed_nothing() {
    let bed = Testbed::new();
    let port = stick(63).without("ID_SERIAL_SHORT");
    port.plug();
    let questions = [
        ("Device [1]: ", ""),
        ("usb-0:63:1.0? [Y/n] ", ""),
        ("of compose): ", "zwave"),
        ("in the container [", "/dev/zwave"),
        ("Name of the port [zwave]: ", ""),
        ("zwave.toml? [Y/n] ", ""),
    ];
    for (number, (last, _)) in questions.iter().enumerate() {
        for key in ["\u{3}", "\u{4}"] {
            let mut terminal = bed.terminal(&["add"]);
            for (question, answer) in &questions[..number] {
                terminal.answer(question, answer);
            }
            terminal.shows(last);
            terminal.types(key);
            let status = terminal.end();
            assert!(!status.success(), "{}", terminal.text());
            assert!(!bed.file("conf.d").exists(), "{}", terminal.text());
        }
    }
    let mut terminal = bed.terminal(&["add"]);
    for (question, answer) in &questions[..5] {
        terminal.answer(question, answer);
    }
    terminal.answer("zwave.toml? [Y/n] ", "no");
    terminal.shows("nothing was written");
    assert_eq!(terminal.end().code(), Some(1));
    assert!(!bed.file("conf.d").exists());
}

#[test]
fn whoever_stops_waiting_has_the_port_when_it_can_be() {
    let bed = Testbed::new();
    let port = stick(63);
    port.plug();
    let container = Recipe::new("zwave").start();
    container.sh("mkdir -p /dev/zwave/x");
    let _daemon = bed.daemon();
    let sysname = port.sysname();
    let arguments = ["add", "zwave", "--device", &sysname, "--container", "zwave"];
    let mut terminal = bed.terminal(&arguments);
    terminal.shows("waiting 1 s for port zwave: in container zwave: ");
    terminal.types("\u{3}");
    terminal.shows("stopped waiting; ttyplugd remove zwave");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.text());
    assert_eq!(
        fs::read_to_string(file(&bed)).expect("it is there"),
        WRITTEN
    );
    container.sh("rm -r /dev/zwave");
    container.has_port(&port);
}

#[test]
fn on_a_terminal_a_weak_match_and_a_strange_file_are_questions() {
    let bed = Testbed::new();
    let port = stick(63).without("ID_SERIAL_SHORT");
    port.plug();
    let _daemon = bed.daemon();
    fs::create_dir(bed.file("conf.d")).expect("a directory can be made");
    fs::write(file(&bed), "# mine\n").expect("a file can be written");
    let sysname = port.sysname();
    let arguments = ["add", "zwave", "--device", &sysname, "--container", "zwave"];
    let mut terminal = bed.terminal(&arguments);
    terminal.shows("no serial number");
    terminal.answer("? [Y/n] ", "no");
    terminal.shows("not as add has written it");
    terminal.answer("zwave.toml? [y/N] ", "");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.text());
    assert_eq!(
        fs::read_to_string(file(&bed)).expect("it is there"),
        "# mine\n"
    );

    let mut terminal = bed.terminal(&arguments);
    terminal.answer("? [Y/n] ", "no");
    terminal.answer("zwave.toml? [y/N] ", "yes");
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    let written = fs::read_to_string(file(&bed)).expect("it is there");
    has_words(
        written,
        &["vendor = \"0658\", product = \"0200\", interface = \"00\""],
    );

    // With two of them there is no other way.
    stick(62).without("ID_SERIAL_SHORT").plug();
    let mut terminal = bed.terminal(&arguments);
    terminal.answer("? [Y/n] ", "no");
    terminal.shows("another device of its kind");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.text());
}

#[test]
fn on_a_terminal_wait_shows_for_how_long_it_has_waited_for_what() {
    let bed = Testbed::with_config(ZWAVE);
    let _container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let port = stick(63);
    let mut terminal = bed.terminal(&["wait", "zwave"]);
    terminal.shows("waiting 1 s for port zwave: in container zwave: its device is not plugged in");
    terminal.shows("waiting 2 s for port zwave");
    port.plug();
    assert_eq!(terminal.end().code(), Some(0), "{}", terminal.text());
    // What was shown is erased.
    assert!(
        terminal.text().ends_with("\r\u{1b}[K"),
        "{:?}",
        terminal.text()
    );

    port.unplug();
    let mut terminal = bed.terminal(&["wait", "zwave", "--timeout", "2s"]);
    terminal.shows("\r\u{1b}[Kttyplugd: port zwave is not ready after 2 s: in container zwave");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.text());
}
