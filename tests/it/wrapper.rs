//! `ttyplug-runtime` in front of a runtime that only says what it was asked: whatever goes wrong,
//! it is asked for the same as without us.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::testbed::RUNTIME;

/// The wrapper, with a runtime behind it, a run directory and a bundle of its own.
struct Wrapper {
    directory: TempDir,
    run_dir: PathBuf,
}

impl Wrapper {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory can be made");
        let run_dir = directory.path().join("run");
        fs::create_dir(&run_dir).expect("a directory can be made");
        fs::create_dir(directory.path().join("bundle")).expect("a directory can be made");
        let wrapper = Self { directory, run_dir };
        wrapper.runtime("runc version 1.1.5\nlibseccomp: 2.5.4");
        wrapper
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes the runtime say that it is this version.
    fn runtime(&self, version: &str) {
        self.script(&format!("echo '{version}'; exit"));
    }

    fn script(&self, at_version: &str) {
        self.program(&format!(
            "#!/bin/sh\nif [ \"$*\" = --version ]; then {at_version}; fi\n\
             printf '%s\\n' \"$@\"\nexit 7\n"
        ));
    }

    fn program(&self, script: &str) {
        // Written beside and renamed: a file that is open for writing cannot be executed.
        let new = self.file("runtime.new");
        fs::write(&new, script).expect("a file can be written");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("it is ours");
        fs::rename(&new, self.file("runtime")).expect("it is ours");
    }

    /// Makes the runtime hang when it is asked for its version.
    fn hanging_runtime(&self) {
        self.script("sleep 1000; exit 1");
    }

    /// Makes the runtime say what is in the file that the second argument names.
    fn shows_resources(&self) {
        self.program("#!/bin/sh\ncat \"${2#--resources=}\"\n");
    }

    fn bundle(&self, text: impl AsRef<[u8]>) {
        fs::write(self.file("bundle/config.json"), text).expect("a file can be written");
    }

    fn bundled(&self) -> Vec<u8> {
        fs::read(self.file("bundle/config.json")).expect("it is there")
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let called = self.command(arguments).output();
        called.expect("timeout, of coreutils, runs")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = Command::new("timeout");
        command
            .args(["20", RUNTIME, "--run-dir", &text(&self.run_dir)])
            .args(["--state-dir", &text(&self.file("state"))])
            .args(["--config", &text(&self.file("config.toml"))])
            .args(["--runtime", &text(&self.file("runtime"))])
            .args(arguments);
        command
    }

    /// Calls it and sees that the runtime was called in the same way, and its status returned.
    fn passes_on(&self, arguments: &[&str]) {
        let output = self.call(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed: Vec<&str> = said.split_terminator('\n').collect();
        assert_eq!(passed, arguments, "{output:?}");
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }

    fn creates(&self) {
        let bundle = self.file("bundle").to_string_lossy().into_owned();
        self.passes_on(&["--root", "/r", "create", "--bundle", &bundle, "c0ffee"]);
        let left = fs::read_dir(self.file("bundle"))
            .expect("it is ours")
            .count();
        assert!(left <= 1, "a temporary file was left in the bundle");
    }

    /// The only warning. A machine with a journal has it there.
    fn warned(&self, words: &str) {
        if Path::new("/run/systemd/journal/socket").exists() {
            return;
        }
        let log = fs::read_to_string(self.run_dir.join("runtime.log")).unwrap_or_default();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn what_is_not_understood_is_passed_on() {
    let wrapper = Wrapper::new();
    for arguments in [
        &["features"][..],
        &["--version", "x"],
        &["--log-format", "json", "state", "c0ffee"],
        &["--a-new-option", "a value", "a-new-verb", ""],
        &["kill", "c0ffee", "TERM"],
        &["kill", "--all", "c0ffee", "9"],
        &["update", "--memory", "1", "c0ffee"],
        &["update", "--resources=/missing", "c0ffee"],
        &["delete", "--force", "c0ffee"],
        &["create"],
        &["create", "--bundle"],
    ] {
        wrapper.passes_on(arguments);
    }
    assert!(!wrapper.run_dir.join("runtime.log").exists());
}

#[test]
fn an_update_leaves_devices_alone() {
    let wrapper = Wrapper::new();
    wrapper.shows_resources();
    let file = wrapper.file("resources");
    let text = r#"{"cpu":{"shares":2},"devices":[{"allow":false,"access":"rwm"}]}"#;
    fs::write(&file, text).expect("a file can be written");
    let option = format!("--resources={}", file.display());
    for arguments in [
        ["update", option.as_str(), "c0ffee"],
        ["update", "--resources=-", "c0ffee"],
    ] {
        let input = fs::File::open(&file).expect("it is there");
        let output = wrapper.command(&arguments).stdin(input).output();
        let output = output.expect("timeout, of coreutils, runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, r#"{"cpu":{"shares":2}}"#, "{output:?}");
    }
}

#[test]
fn a_bundle_that_cannot_be_read_is_left_to_the_runtime() {
    let deep = "[".repeat(100_000);
    for text in [
        None,
        Some(""),
        Some("{ \"cut off"),
        Some("[]"),
        Some("{\"linux\": []}"),
        Some("{\"linux\": {\"seccomp\": 1}}"),
        Some("\u{0}\u{1}"),
        Some(deep.as_str()),
    ] {
        let wrapper = Wrapper::new();
        if let Some(text) = text {
            wrapper.bundle(text);
        }
        wrapper.creates();
        if let Some(text) = text {
            let found = wrapper.bundled();
            let same = found == text.as_bytes()
                || serde_json::from_slice::<Value>(&found).ok() == serde_json::from_str(text).ok();
            assert!(same, "{text} became {}", String::from_utf8_lossy(&found));
        }
        wrapper.warned("without held opens");
    }
}

#[test]
fn a_runtime_that_is_too_old_is_not_asked_to_hold() {
    for (version, reason) in [
        ("runc version 1.0.3\nlibseccomp: 2.5.4", "older than 1.1"),
        ("runc version 1.1.5\nlibseccomp: 2.4.4", "older than 2.5"),
        ("something else", "unknown runtime version"),
    ] {
        let wrapper = Wrapper::new();
        wrapper.runtime(version);
        let config = json!({ "linux": { "x": 1 } });
        wrapper.bundle(config.to_string());
        wrapper.creates();
        let found: Value = serde_json::from_slice(&wrapper.bundled()).expect("it is JSON");
        assert_eq!(found, config);
        wrapper.warned(reason);
    }
}

#[test]
fn a_runtime_that_hangs_at_its_version_is_not_waited_for() {
    let wrapper = Wrapper::new();
    wrapper.hanging_runtime();
    let config = json!({ "linux": { "x": 1 } });
    wrapper.bundle(config.to_string());
    wrapper.creates();
    let found: Value = serde_json::from_slice(&wrapper.bundled()).expect("it is JSON");
    assert_eq!(found, config);
    wrapper.warned("--version");
}

#[test]
fn a_container_that_cannot_have_a_port_is_not_asked_to_hold() {
    let wrapper = Wrapper::new();
    fs::write(wrapper.file("config.toml"), "labels = \"off\"").expect("a file can be written");
    wrapper.runtime("of no version that holds");
    wrapper.bundle(json!({ "linux": {} }).to_string());
    wrapper.creates();
    assert!(!wrapper.run_dir.join("runtime.log").exists());
}

/// As with `runc run`, by hand: nobody writes its config.json anew.
#[test]
fn a_bundle_that_is_used_again_has_the_listener_of_its_own_keeper() {
    let wrapper = Wrapper::new();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["open", "openat", "read"], "action": "SCMP_ACT_ALLOW" }],
    });
    wrapper.bundle(json!({ "linux": { "seccomp": profile } }).to_string());
    let mut seen = Vec::new();
    for _ in 0..3 {
        wrapper.creates();
        let config: Value = serde_json::from_slice(&wrapper.bundled()).expect("it is JSON");
        let profile = &config["linux"]["seccomp"];
        let listener = profile["listenerPath"].as_str().expect("opens are held");
        assert!(Path::new(listener).starts_with(wrapper.run_dir.join("k")));
        assert!(!seen.contains(&listener.to_owned()), "{listener}");
        seen.push(listener.to_owned());
        let rules = profile["syscalls"].as_array().map(Vec::len);
        assert_eq!(rules, Some(19), "{profile}");
    }
    fs::write(wrapper.file("config.toml"), "labels = \"off\"").expect("a file can be written");
    wrapper.creates();
    let text = String::from_utf8(wrapper.bundled()).expect("it is JSON");
    assert!(
        !text.contains("listenerPath") && !text.contains("NOTIFY"),
        "{text}"
    );
}

#[test]
fn without_a_place_for_sockets_the_container_starts_as_it_is() {
    for place in ["/proc/ttyplugd", "/dev/null"] {
        let mut wrapper = Wrapper::new();
        wrapper.run_dir = place.into();
        let config = json!({ "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW" } } });
        wrapper.bundle(config.to_string());
        wrapper.creates();
        let found: Value = serde_json::from_slice(&wrapper.bundled()).expect("it is JSON");
        assert_eq!(found, config, "{place}");
    }
}

#[test]
fn a_runtime_that_is_not_there_is_an_error_that_is_logged() {
    let wrapper = Wrapper::new();
    fs::remove_file(wrapper.file("runtime")).expect("it is there");
    let output = wrapper.call(&["state", "c0ffee"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    wrapper.warned("cannot execute");
}
