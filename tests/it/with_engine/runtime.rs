//! The runtime in the engine's file: put in, used, taken out again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::testbed::{
    PROGRAM, RUNTIME, Recipe, Testbed, engine, engine_with, engine_without_runtime, eventually,
    has_words, run, test_dir,
};

use super::setup::ZWAVE;

/// The private engine's file; the engine has been made to forget our runtime.
struct EngineFile {
    bed: Testbed,
    path: PathBuf,
}

impl EngineFile {
    fn with(text: &str) -> Self {
        let bed = Testbed::with_config(ZWAVE);
        engine_without_runtime();
        let path = test_dir().join("daemon.json");
        fs::write(&path, text).expect("a file can be written");
        Self { bed, path }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("it is there")
    }

    /// Where `enable` keeps the file as it was.
    fn backup(&self) -> PathBuf {
        self.path.with_extension("json.bak-ttyplugd")
    }

    /// Writes the file anew, with a program as a runtime that uses the files of the bed.
    fn registers(&self, name: &str, path: &str) {
        let runtime = json!({ "path": path, "runtimeArgs": self.bed.file_options() });
        let file = json!({ "runtimes": { name: runtime } });
        fs::write(&self.path, file.to_string()).unwrap();
    }

    /// It, and everything that is called after it.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(test_dir()).expect("it is there").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names
            .filter(|name| name.starts_with("daemon.json"))
            .collect();
        names.sort();
        names
    }

    /// `ttyplugd runtime WORDS` with this file.
    fn runtime(&self, words: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["60", PROGRAM, "runtime"]).args(words);
        command.arg("--file").arg(&self.path).env("NO_COLOR", "1");
        command.output().expect("timeout, of coreutils, runs")
    }

    /// It has to say all of `said`, and nothing on the other stream.
    #[track_caller]
    fn succeeds(&self, words: &[&str], said: &[&str]) {
        let output = self.runtime(words);
        assert_eq!(output.status.code(), Some(0), "{words:?} {output:?}");
        has_words(&output.stdout, said);
        assert!(output.stderr.is_empty(), "{output:?}");
    }

    #[track_caller]
    fn fails(&self, words: &[&str], said: &[&str]) {
        let output = self.runtime(words);
        assert_eq!(output.status.code(), Some(1), "{words:?} {output:?}");
        has_words(&output.stderr, said);
        assert!(output.stdout.is_empty(), "{output:?}");
    }

    /// The status, which is not ok exactly if there is a problem.
    fn status(&self) -> Value {
        let output = self.runtime(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!(status["schema"], 1);
        let code = i32::from(status["ok"] != true);
        assert_eq!(output.status.code(), Some(code), "{status}");
        assert_eq!(status["problems"] == json!([]), code == 0);
        let text = self.runtime(&["status"]);
        assert_eq!(text.status.code(), Some(code), "{text:?}");
        for problem in status["problems"].as_array().expect("it is a list") {
            let what = problem["what"].as_str().expect("it is a text");
            has_words(&text.stdout, &[what]);
        }
        status
    }

    /// All problems in one text.
    fn problems(&self) -> String {
        self.status()["problems"].to_string()
    }
}

impl Drop for EngineFile {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, "{}\n");
    }
}

/// The program that the engine executes for our runtime.
fn in_engine() -> Option<String> {
    let runtimes = run("docker", &["info", "--format", "{{json .Runtimes}}"]);
    let runtimes: Value = serde_json::from_str(&runtimes).expect("docker prints JSON");
    runtimes["ttyplug"]["path"].as_str().map(String::from)
}

#[test]
fn the_runtime_is_put_into_a_file_and_out_again_and_all_else_stays_as_it_was() {
    let text = "{\n    \"runtimes\": {\n        \"other\": {\"path\": \"/bin/true\"}\n    },\n    \
                \"debug\": false }\n";
    let file = EngineFile::with(text);
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&file.path, None, Some(20)).unwrap();
    has_words(file.problems(), &["ttyplugd runtime enable"]);

    let backup = file.backup();
    let words = [RUNTIME, backup.to_str().unwrap(), "runtime: ttyplug"];
    file.succeeds(&["enable"], &words);
    assert_eq!(in_engine().as_deref(), Some(RUNTIME));
    assert_eq!(fs::read_to_string(&backup).unwrap(), text);
    let edited: Value = serde_json::from_str(&file.text()).unwrap();
    assert_eq!(edited["runtimes"]["other"]["path"], "/bin/true");
    assert_eq!(file.names(), ["daemon.json", "daemon.json.bak-ttyplugd"]);
    let status = file.status();
    assert_eq!(status["ok"], true, "{status}");
    assert_eq!(status["path"], RUNTIME);
    assert!(
        status["behind"]
            .as_str()
            .unwrap()
            .starts_with("runc version ")
    );

    // A second time there is nothing to do.
    let before = fs::metadata(&file.path).unwrap();
    file.succeeds(&["enable"], &["already", "nothing was changed"]);
    let after = fs::metadata(&file.path).unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
    assert_eq!((after.mode() & 0o7777, after.gid()), (0o640, 20));

    file.succeeds(&["disable"], &["no longer registered"]);
    assert_eq!(file.text(), text);
    assert_eq!(file.names(), ["daemon.json"]);
    assert_eq!(in_engine(), None);
    file.succeeds(&["disable"], &["nothing was changed"]);
}

#[test]
fn a_runtime_that_containers_use_stays_registered() {
    let file = EngineFile::with("{}");
    file.registers("ttyplug", "/usr/local/bin/old");
    file.succeeds(&["enable"], &[RUNTIME, "/usr/local/bin/old"]);

    let container = Recipe::new("zwave").wrapped().start();
    assert_eq!(container.sh("echo runs"), "runs");
    assert_eq!(file.bed.keepers().len(), 1);
    file.fails(
        &["disable"],
        &["zwave (running, runtime: ttyplug)", "--force"],
    );
    container.docker(&["stop"]);
    file.fails(&["disable"], &["zwave (exited, runtime: ttyplug)"]);
    assert_eq!(in_engine().as_deref(), Some(RUNTIME));
    assert_eq!(file.status()["containers"][0]["name"], "zwave");

    file.succeeds(
        &["disable", "--force"],
        &["zwave (exited, runtime: ttyplug)", "never start again"],
    );
    assert_eq!(in_engine(), None);
    container.does_not_start();
    // The file does not register it, but the containers are there.
    file.fails(&["disable"], &["zwave (exited, runtime: ttyplug)"]);
    drop(container);
    file.succeeds(&["disable"], &["nothing was changed"]);
}

/// Such a registration is the operator's own, and its containers have a keeper like all others.
#[test]
fn containers_of_the_wrapper_under_another_name_keep_it_registered_too() {
    let file = EngineFile::with("{}");
    file.registers("runc-with-holds", RUNTIME);
    file.succeeds(&["enable"], &[RUNTIME]);
    let recipe = Recipe::new("zwave").with(&["--runtime", "runc-with-holds"]);
    let container = recipe.start();
    assert_eq!(file.bed.keepers().len(), 1);

    let user = "zwave (running, runtime: runc-with-holds)";
    file.fails(&["disable"], &[user, "--force"]);
    assert_eq!(in_engine().as_deref(), Some(RUNTIME));
    let status = file.status();
    assert_eq!(status["containers"][0]["runtime"], "runc-with-holds");
    let words = ["its early opens are held", "runc-with-holds is registered"];
    has_words(file.bed.json("check")["findings"].to_string(), &words);

    drop(container);
    file.succeeds(&["disable"], &["no longer registered", "runc-with-holds"]);
    has_words(file.text(), &["runc-with-holds"]);
}

#[test]
fn a_file_that_cannot_be_edited_is_named_and_left_alone() {
    let file = EngineFile::with("{}");
    for (text, why) in [
        ("{ \"debug\": true, // more\n}", "line 1 column 18"),
        ("[]", "not a JSON object"),
        ("{\"runtimes\": [1]}", "`runtimes`"),
        ("{\"runtimes\": {\"ttyplug\": {}}}", "runtimes.ttyplug"),
    ] {
        fs::write(&file.path, text).unwrap();
        for command in ["enable", "disable"] {
            file.fails(&[command], &[file.path.to_str().unwrap(), why]);
        }
        has_words(file.problems(), &[file.path.to_str().unwrap()]);
        assert_eq!(file.text(), text);
        assert_eq!(file.names(), ["daemon.json"]);
    }
}

#[test]
fn a_file_that_the_engine_does_not_take_is_put_back() {
    let text = "{ \"no-such-thing\": 1 }";
    let file = EngineFile::with(text);
    file.fails(&["enable"], &[file.path.to_str().unwrap()]);
    assert_eq!(file.text(), text);
    assert_eq!(file.names(), ["daemon.json"]);
    assert_eq!(in_engine(), None);
}

/// dockerd is asked whether it would start with each text before that is in the file.
#[test]
fn the_file_as_it_was_is_beside_it_until_the_last_write() {
    let file = EngineFile::with("{}");
    file.succeeds(&["enable"], &[]);
    let text = file.text();
    let bin = file.bed.file("bin");
    fs::create_dir(&bin).unwrap();
    let dockerd = bin.join("dockerd");
    let says_no = |when: &str| {
        let script = format!("#!/bin/sh\n{when} || exit 0\necho no >&2\nexit 1\n");
        fs::write(&dockerd, script).unwrap();
        fs::set_permissions(&dockerd, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(PROGRAM);
        command.args(["runtime", "disable", "--file"]);
        let output = command.arg(&file.path).env("PATH", path).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        has_words(&output.stderr, &["dockerd would not start with it: no"]);
    };
    says_no(&format!("cmp -s {0} {0}.bak-ttyplugd", file.path.display()));
    assert_eq!(file.text(), text);
    assert_eq!(file.names(), ["daemon.json"]);

    // The engine has read the first text, and the second one is refused.
    says_no(&format!(
        "! cmp -s {0} {0}.bak-ttyplugd",
        file.path.display()
    ));
    assert_eq!(in_engine(), None);
    assert_eq!(fs::read_to_string(file.backup()).unwrap(), text);
    file.succeeds(&["disable"], &["nothing was changed"]);
    assert_eq!(file.names(), ["daemon.json"]);
}

#[test]
fn the_default_runtime_stays_registered_even_by_force() {
    let file = EngineFile::with("{}");
    file.succeeds(&["enable"], &[]);
    let text = file
        .text()
        .replacen('{', "{\"default-runtime\": \"ttyplug\", ", 1);
    fs::write(&file.path, &text).unwrap();
    file.fails(&["disable", "--force"], &["default-runtime"]);
    assert_eq!(file.text(), text);
}

/// A process in a container has any name and any executable that its image wants.
#[test]
fn a_container_that_poses_as_the_dockerd_of_snap_is_not_one() {
    let file = EngineFile::with("{}");
    let directory = file.bed.file("snap");
    fs::create_dir(&directory).unwrap();
    fs::copy("/bin/dash", directory.join("dockerd")).unwrap();
    let volume = format!("{}:/snap/docker", directory.display());
    let forever = "while :; do sleep 1000; done";
    for more in [&[][..], &["--pid", "host"]] {
        let poser = Recipe::new("poser").image("nomknod").with(more);
        let path = file.path.to_str().unwrap();
        let command = [
            "/snap/docker/dockerd",
            "-c",
            forever,
            "x",
            "--config-file",
            path,
        ];
        let poser = poser.with(&["--volume", &volume]).command(&command).start();
        let pid = poser.inspect("{{.State.Pid}}");
        let executable = || fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let is_executed = |path: &PathBuf| path == Path::new("/snap/docker/dockerd");
        eventually("the runtime has executed it", executable, is_executed);
        file.succeeds(&["enable"], &[RUNTIME]);
        assert_eq!(in_engine().as_deref(), Some(RUNTIME));
        assert_eq!(file.status()["ok"], true);
        file.succeeds(&["disable"], &["no longer registered"]);
    }
}

#[test]
fn status_names_what_keeps_a_registered_runtime_from_working() {
    let file = EngineFile::with("{\"runtimes\": {\"ttyplug\": {\"path\": \"/no/such/file\"}}}");
    let words = ["reload docker", "/no/such/file cannot be executed"];
    has_words(file.problems(), &words);

    fs::write(&file.path, "{}").unwrap();
    file.succeeds(&["enable"], &[]);
    assert_eq!(file.status()["ok"], true);
    // A runtime that does not say that it passes listeners on.
    let text = file.text().replacen(
        "\"path\"",
        "\"runtimeArgs\": [\"--runtime\", \"true\"], \"path\"",
        1,
    );
    fs::write(&file.path, text).unwrap();
    has_words(file.problems(), &["opens are not held"]);

    engine("stop");
    has_words(file.problems(), &["docker.sock"]);
}

#[test]
fn a_file_is_made_for_an_engine_that_is_not_running_and_goes_by_force_alone() {
    let file = EngineFile::with("{}");
    engine("stop");
    fs::remove_file(&file.path).unwrap();
    file.succeeds(&["enable"], &["will read it when it starts"]);
    engine("start");
    assert_eq!(in_engine().as_deref(), Some(RUNTIME));
    file.succeeds(&["enable"], &["already"]);

    engine("stop");
    file.fails(
        &["disable"],
        &["cannot find out which containers use it", "--force"],
    );
    file.succeeds(&["disable", "--force"], &["no longer registered"]);
    assert_eq!(file.names(), [""; 0]);
    file.succeeds(&["disable"], &["nothing was changed"]);
}

/// An engine that was started with its file does not start without it.
#[test]
fn a_file_that_the_engine_needs_stays_even_if_nothing_is_left_in_it() {
    let file = EngineFile::with("{}");
    fs::remove_file(&file.path).unwrap();
    file.succeeds(&["enable"], &[]);
    file.succeeds(&["disable"], &[]);
    assert_eq!(file.text(), "{}\n");
    assert_eq!(file.names(), ["daemon.json"]);
}

#[test]
fn an_engine_that_has_runtimes_on_its_command_line_gets_none_from_the_file() {
    let text = "{\"debug\": false}";
    let file = EngineFile::with(text);
    engine("stop");
    engine_with("start", &["--add-runtime", "other=/bin/true"]);
    let line = format!("--add-runtime ttyplug={RUNTIME}");
    file.fails(&["enable"], &[&line]);
    assert_eq!(file.text(), text);

    engine("stop");
    engine_with("start", &["--add-runtime", &format!("ttyplug={RUNTIME}")]);
    file.succeeds(&["enable"], &["command line", "nothing was changed"]);
    assert_eq!(file.status()["path"], RUNTIME);
    file.fails(&["disable"], &["--add-runtime"]);
    assert_eq!(file.text(), text);
    engine("stop");
    engine("start");
}
