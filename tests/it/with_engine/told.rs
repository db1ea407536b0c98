//! Containers of which only their wrapper tells: no engine that is followed knows them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::testbed::{
    Entry, Port, RUNTIME, Recipe, SOON, Testbed, eventually, output, run, test_dir, until,
    until_within,
};

use super::hold::{LONG, held_port};
use super::setup::{port_for, stick};

const NODE: &str = "/dev/zwave";

/// The annotations with which containerd names a container of the pod "zigbee-0".
fn pod() -> Value {
    json!({
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-namespace": "home",
        "io.kubernetes.cri.sandbox-name": "zigbee-0",
        "io.kubernetes.cri.container-name": "zigbee2mqtt",
    })
}

/// The annotations of a pod that asks for its port by itself.
fn with_port() -> Value {
    let mut annotations = pod();
    annotations["ttyplugd.port.zwave.match"] = "serial=Z1".into();
    annotations["ttyplugd.zigbee2mqtt.port.zwave.node"] = NODE.into();
    annotations
}

/// The annotations of a container of no pod.
fn alone() -> Value {
    json!({
        "ttyplugd.port.zwave.match": "serial=Z1",
        "ttyplugd.port.zwave.node": NODE,
    })
}

/// What an engine does that is none of ours: it gives bundles to the wrapper.
struct Engine<'a> {
    bed: &'a Testbed,
    /// containerd's namespace; empty for what is run by hand.
    namespace: &'a str,
}

/// A container of it.
struct Told<'a> {
    engine: &'a Engine<'a>,
    id: String,
    bundle: PathBuf,
}

/// The wrapper with the files of a bed, as a program without arguments.
fn wrapper(bed: &Testbed) -> PathBuf {
    let file = bed.file("wrapper");
    let options = bed.file_options().join("' '");
    let script = format!("#!/bin/sh\nexec '{RUNTIME}' '{options}' --runtime runc \"$@\"\n");
    if !file.exists() {
        fs::write(&file, script).expect("a file can be written");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("it is ours");
    }
    file
}

/// The files of an image of tests/images.sh.
fn files(bed: &Testbed, image: &str) -> PathBuf {
    let directory = bed.file(image);
    if !directory.exists() {
        let images = test_dir().parent().expect("it is a lane's").join("images");
        let image = images.join(format!("{image}.tar")).display().to_string();
        fs::create_dir(&directory).expect("a directory can be made");
        run(
            "tar",
            &["-C", &directory.display().to_string(), "-xf", &image],
        );
    }
    directory
}

impl<'a> Engine<'a> {
    fn new(bed: &'a Testbed, namespace: &'a str) -> Self {
        Self { bed, namespace }
    }

    fn root(&self) -> String {
        let root = self.bed.file("runc").join(self.namespace);
        root.display().to_string()
    }

    fn runtime(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(wrapper(self.bed));
        command.args(["--root", &self.root()]).args(arguments);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Makes the bundle of a container.
    fn bundle(&'a self, id: &str, annotations: &Value, command: &[&str]) -> Told<'a> {
        let bundles = match self.namespace {
            "" => self.bed.file("bundles"),
            namespace => self
                .bed
                .file("io.containerd.runtime.v2.task")
                .join(namespace),
        };
        let bundle = bundles.join(id);
        fs::create_dir_all(&bundle).expect("a directory can be made");
        run("runc", &["spec", "--bundle", &bundle.display().to_string()]);
        let file = bundle.join("config.json");
        let text = fs::read(&file).expect("runc has written it");
        let mut config: Value = serde_json::from_slice(&text).expect("it is JSON");
        config["root"]["path"] = files(self.bed, "opens").display().to_string().into();
        config["process"]["args"] = json!(command);
        config["process"]["env"] = json!(["PATH=/bin"]);
        config["process"]["terminal"] = false.into();
        config["annotations"] = annotations.clone();
        fs::write(file, config.to_string()).expect("it is ours");
        let id = id.to_owned();
        Told {
            engine: self,
            id,
            bundle,
        }
    }

    /// Starts a container, and returns once its program runs.
    fn start(&'a self, id: &str, annotations: &Value, command: &[&str]) -> Told<'a> {
        let told = self.bundle(id, annotations, command);
        told.create();
        told.start();
        told
    }
}

impl Told<'_> {
    fn create(&self) {
        let bundle = self.bundle.display().to_string();
        let output = self.bundle.join("output");
        let output = fs::File::create(output).expect("a file can be made");
        let mut command = self
            .engine
            .runtime(&["create", "--bundle", &bundle, &self.id]);
        let status = command.stdout(output).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{} is not created",
            self.id
        );
    }

    fn start(&self) {
        let status = self.engine.runtime(&["start", &self.id]).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{} does not start",
            self.id
        );
    }

    /// The nodes and the device rules of its config.json.
    fn definition(&self) -> [Value; 2] {
        let text = fs::read(self.bundle.join("config.json")).expect("it is there");
        let config: Value = serde_json::from_slice(&text).expect("it is JSON");
        ["/linux/devices", "/linux/resources/devices"]
            .map(|pointer| config.pointer(pointer).cloned().unwrap_or_default())
    }

    fn delete(&self) {
        let _ = self
            .engine
            .runtime(&["delete", "--force", &self.id])
            .status();
    }

    fn kill(&self, signal: &str) {
        let _ = self.engine.runtime(&["kill", &self.id, signal]).status();
    }

    fn state(&self) -> Value {
        let output = self.engine.runtime(&["state", &self.id]).output();
        let output = output.expect("the wrapper runs").stdout;
        serde_json::from_slice(&output).unwrap_or_default()
    }

    fn output(&self) -> String {
        fs::read_to_string(self.bundle.join("output")).unwrap_or_default()
    }

    fn at(&self, path: &str) -> Entry {
        let pid = self.state()["pid"].as_u64().unwrap_or_default();
        Entry::at(Path::new(&format!("/proc/{pid}/root{path}")))
    }

    #[track_caller]
    fn has_port(&self, port: &Port) {
        let what = format!("{} has its port", self.id);
        eventually(&what, || self.at(NODE), |found| *found == port.entry());
    }

    #[track_caller]
    fn lacks_port(&self) {
        let what = format!("{} lacks its port", self.id);
        eventually(&what, || self.at(NODE), |found| *found == Entry::Absent);
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.delete();
    }
}

/// The rows of the status, each as container, engine and state.
fn rows(bed: &Testbed) -> Vec<[String; 3]> {
    let status = bed.status().unwrap_or_default();
    let rows = status["ports"].as_array().cloned().unwrap_or_default();
    let text = |row: &Value, key| row[key].as_str().unwrap_or("-").to_owned();
    let row = |row: &Value| ["container", "engine", "state"].map(|key| text(row, key));
    rows.iter().map(row).collect()
}

#[track_caller]
fn has_rows(bed: &Testbed, expected: &[[&str; 3]]) {
    eventually(
        "the status has these rows",
        || rows(bed),
        |rows| rows == expected,
    );
}

const ROW: [&str; 3] = ["home/zigbee-0/zigbee2mqtt", "containerd/k8s.io", "ready"];

#[test]
fn a_pod_has_its_port_from_its_first_open_to_its_end() {
    let bed = Testbed::new();
    let daemon = bed.daemon();
    let engine = Engine::new(&bed, "k8s.io");
    let script = "opens once /dev/zwave; exec sleep 1000000";
    let told = engine.start("c0ffee", &with_port(), &["sh", "-c", script]);
    bed.holds(&[NODE]);
    has_rows(&bed, &[[ROW[0], ROW[1], "waiting"]]);

    let port = stick(63);
    port.plug();
    told.has_port(&port);
    has_rows(&bed, &[ROW]);
    eventually(
        "the open is done",
        || told.output(),
        |said| said.contains(" ok "),
    );
    daemon.logs(&[
        "node made",
        "container_name=\"home/zigbee-0/zigbee2mqtt\"",
        "engine=\"containerd/k8s.io\"",
    ]);
    port.unplug();
    told.lacks_port();
    let other = stick(62);
    other.plug();
    told.has_port(&other);

    drop(told);
    has_rows(&bed, &[]);
    bed.has_no_keeper();
    let owned = fs::read_to_string(bed.file("run/owned.json")).unwrap_or_default();
    until("nothing is on record any more", || {
        !owned.contains("c0ffee") || {
            let owned = fs::read_to_string(bed.file("run/owned.json")).unwrap_or_default();
            !owned.contains("c0ffee")
        }
    });
}

#[test]
fn a_pod_is_chosen_by_its_namespace_its_name_and_its_containers() {
    let containers = "\"home/zigbee-*/zigbee2mqtt\"";
    let bed = Testbed::with_config(&port_for(containers, NODE, ""));
    let _daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let engine = Engine::new(&bed, "k8s.io");
    let told = engine.start("c0ffee", &pod(), &["sleep", "1000000"]);
    told.has_port(&port);
    let mut other = pod();
    other["io.kubernetes.cri.sandbox-namespace"] = "away".into();
    let other = engine.start("c0ffee2", &other, &["sleep", "1000000"]);
    has_rows(&bed, &[ROW]);
    assert_eq!(other.at(NODE), Entry::Absent);
}

#[test]
fn what_wrappers_have_told_outlives_a_daemon_that_is_killed() {
    let bed = Testbed::with_config(&held_port(LONG));
    let daemon = bed.daemon();
    let engine = Engine::new(&bed, "k8s.io");
    let opener = "opens once /dev/zwave; exec sleep 1000000";
    let before = engine.start("before", &with_port(), &["sh", "-c", opener]);
    bed.holds(&[NODE]);
    daemon.end(Signal::SIGKILL);
    let mut meanwhile = with_port();
    meanwhile["io.kubernetes.cri.sandbox-name"] = "zigbee-1".into();
    let meanwhile = engine.start("meanwhile", &meanwhile, &["sleep", "1000000"]);
    let ended = engine.start("ended", &with_port(), &["sleep", "1000000"]);
    drop(ended);

    let daemon = bed.daemon();
    bed.holds(&[NODE]);
    let port = stick(63);
    port.plug();
    before.has_port(&port);
    meanwhile.has_port(&port);
    let second = ["home/zigbee-1/zigbee2mqtt", ROW[1], ROW[2]];
    has_rows(&bed, &[ROW, second]);
    // What the daemon before has made, this one removes.
    daemon.end(Signal::SIGKILL);
    port.unplug();
    let daemon = bed.daemon();
    before.lacks_port();
    meanwhile.lacks_port();
    daemon.stop();
    drop((before, meanwhile));
    let _daemon = bed.daemon();
    has_rows(&bed, &[]);
    bed.has_no_keeper();
}

#[test]
fn containers_of_the_same_id_in_two_namespaces_are_two() {
    let bed = Testbed::new();
    let _daemon = bed.daemon();
    let [first, second] = ["first", "second"].map(|namespace| Engine::new(&bed, namespace));
    let annotations = alone();
    let opener = ["sh", "-c", "opens once /dev/zwave; exec sleep 1000000"];
    let one = first.start("zigbee", &annotations, &opener);
    let other = second.start("zigbee", &annotations, &opener);
    bed.holds(&[NODE, NODE]);
    // It is about to end, and the other one waits on.
    one.kill("TERM");
    bed.holds(&[NODE]);
    drop(one);
    has_rows(&bed, &[["zigbee", "containerd/second", "waiting"]]);
    let port = stick(63);
    port.plug();
    other.has_port(&port);
    eventually(
        "the open is done",
        || other.output(),
        |said| said.contains(" ok "),
    );
    has_rows(&bed, &[["zigbee", "containerd/second", "ready"]]);
}

/// As with `runc run`, by hand: its config.json says what the container may have by definition.
#[test]
fn a_bundle_that_is_used_again_has_nothing_of_the_start_before() {
    let bed = Testbed::with_config(&port_for("\"zigbee\"", NODE, ""));
    let daemon = bed.daemon();
    let engine = Engine::new(&bed, "");
    let port = stick(63);
    port.plug();
    // A converter makes annotations of what an image says.
    let mut of_image = alone();
    of_image["ttyplugd.port.other.match"] = "serial=Z1".into();
    let told = engine.bundle("zigbee", &of_image, &["sleep", "1000000"]);
    let definition = told.definition();
    for _ in 0..2 {
        told.create();
        told.start();
        told.has_port(&port);
        assert_eq!(told.definition(), definition);
        told.delete();
        bed.has_no_keeper();
    }
    port.unplug();
    told.create();
    told.start();
    let rows = [[
        "zigbee",
        &format!("oci{}", bed.file("runc").display()),
        "waiting",
    ]];
    has_rows(&bed, &rows);
    assert_eq!(told.at(NODE), Entry::Absent);
    told.delete();
    // And nothing of the keeper, when it has none.
    daemon.stop();
    bed.configure("labels = \"off\"");
    told.create();
    told.start();
    assert_eq!(told.definition(), definition);
}

#[test]
fn the_sandbox_of_a_pod_gets_nothing() {
    let bed = Testbed::new();
    let _daemon = bed.daemon();
    let engine = Engine::new(&bed, "k8s.io");
    let mut sandbox = with_port();
    sandbox["io.kubernetes.cri.container-type"] = "sandbox".into();
    sandbox["ttyplugd.enable"] = "true".into();
    let sandbox = engine.start("c0ffee", &sandbox, &["sleep", "1000000"]);
    assert_eq!(bed.keepers(), []);
    let told = engine.start("c0ffee2", &with_port(), &["sleep", "1000000"]);
    has_rows(&bed, &[[ROW[0], ROW[1], "waiting"]]);
    assert_eq!(bed.keepers().len(), 1);
    drop((sandbox, told));
}

#[test]
fn hostile_annotations_cost_their_own_container_its_ports_and_no_other() {
    let bed = Testbed::new();
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    let engine = Engine::new(&bed, "k8s.io");
    let mut many = with_port();
    for number in 0..5000 {
        many[format!("ttyplugd.port.x{number}.match")] = "vendor=1".into();
    }
    let many = engine.start("many", &many, &["sleep", "1000000"]);
    has_rows(&bed, &[[ROW[0], ROW[1], "failed"]]);
    drop(many);
    let mut long = with_port();
    long["ttyplugd.port.zwave.match"] = "x".repeat(2 << 20).into();
    let long = engine.start("long", &long, &["sleep", "1000000"]);
    has_rows(&bed, &[[ROW[0], ROW[1], "failed"]]);
    let status = bed.status().expect("the daemon answers").to_string();
    assert!(status.len() < 10_000, "{}", status.len());
    drop(long);

    let told = engine.start("good", &with_port(), &["sleep", "1000000"]);
    told.has_port(&port);
    has_rows(&bed, &[ROW]);
    drop(told);
    daemon.stop();
}

#[test]
fn a_container_of_an_engine_that_is_followed_is_served_once() {
    let bed = Testbed::with_runtime(&held_port(LONG));
    let _daemon = bed.daemon();
    let container = Recipe::new("zwave").wrapped().start();
    let port = stick(63);
    port.plug();
    container.has_port(&port);
    has_rows(&bed, &[["zwave", "-", "ready"]]);
}

/// A container of containerd's own client.
struct Ctr {
    namespace: &'static str,
}

impl Ctr {
    fn ctr(&self, arguments: &[&str]) -> Vec<String> {
        let socket = test_dir().join("containerd.sock").display().to_string();
        let own = ["--address", &socket, "--namespace", self.namespace].map(str::to_owned);
        own.into_iter()
            .chain(arguments.iter().map(|&a| a.to_owned()))
            .collect()
    }

    fn start(&self, bed: &Testbed) {
        let runtime = wrapper(bed).display().to_string();
        let root = files(bed, "opens").display().to_string();
        let run_it = ["run", "--detach", "--null-io", "--runc-binary", &runtime];
        let annotations = [
            "--annotation",
            "ttyplugd.port.zwave.match=serial=Z1",
            "--annotation",
            "ttyplugd.port.zwave.node=/dev/zwave",
        ];
        let opener = "opens once /dev/zwave; exec sleep 1000000";
        let what = [
            "--env",
            "PATH=/bin",
            "--rootfs",
            &root,
            "zigbee",
            "sh",
            "-c",
            opener,
        ];
        run(
            "ctr",
            &self.ctr(&[&run_it[..], &annotations, &what].concat()),
        );
    }

    fn at(&self, path: &str) -> Entry {
        let tasks = output("ctr", &self.ctr(&["tasks", "ls"])).stdout;
        let tasks = String::from_utf8_lossy(&tasks).into_owned();
        let line = tasks.lines().find_map(|line| line.strip_prefix("zigbee "));
        let pid = line
            .and_then(|line| line.split_whitespace().next())
            .unwrap_or("0");
        Entry::at(Path::new(&format!("/proc/{pid}/root{path}")))
    }
}

impl Drop for Ctr {
    fn drop(&mut self) {
        output(
            "ctr",
            &self.ctr(&["tasks", "kill", "--signal", "KILL", "zigbee"]),
        );
        until_within(SOON, "the task has ended", || {
            output("ctr", &self.ctr(&["tasks", "rm", "--force", "zigbee"]));
            let tasks = output("ctr", &self.ctr(&["tasks", "ls", "--quiet"])).stdout;
            tasks.is_empty()
        });
        output("ctr", &self.ctr(&["containers", "rm", "zigbee"]));
    }
}

#[test]
fn a_container_of_containerd_keeps_its_port_when_containerd_is_restarted() {
    let bed = Testbed::new();
    let daemon = bed.daemon();
    let ctr = Ctr { namespace: "own" };
    ctr.start(&bed);
    bed.holds(&[NODE]);
    let port = stick(63);
    port.plug();
    let has =
        |port: &Port| eventually("it has its port", || ctr.at(NODE), |at| *at == port.entry());
    has(&port);
    has_rows(&bed, &[["zigbee", "containerd/own", "ready"]]);
    restart_containerd();
    port.unplug();
    eventually(
        "it lacks its port",
        || ctr.at(NODE),
        |at| *at == Entry::Absent,
    );
    daemon.end(Signal::SIGKILL);
    let _daemon = bed.daemon();
    let other = stick(62);
    other.plug();
    has(&other);
    drop(ctr);
    has_rows(&bed, &[]);
    bed.has_no_keeper();
}

/// Kills the lane's containerd, and starts it again as it was started (tests/lane.sh).
fn restart_containerd() {
    let config = test_dir().join("containerd.toml");
    let words = |pid: &str| -> Option<Vec<String>> {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<_> = line.split_terminator('\0').map(String::from).collect();
        let is_it =
            words.first()?.ends_with("containerd") && words.contains(&config.display().to_string());
        is_it.then_some(words)
    };
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let pids = processes.filter_map(|process| process.file_name().into_string().ok());
    let found = pids.filter_map(|pid| Some((words(&pid)?, pid))).next();
    let (words, pid) = found.expect("the lane has a containerd");
    run("kill", &["-KILL", &pid]);
    until("containerd has ended", || {
        !Path::new("/proc").join(&pid).exists()
    });
    let log = fs::File::create(test_dir().join("containerd.again.log")).expect("it can be made");
    let mut command = Command::new("setsid");
    command.arg("--fork").args(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let started = command.status();
    assert!(started.is_ok_and(|started| started.success()));
    let socket = test_dir().join("containerd.sock").display().to_string();
    until("containerd answers", || {
        output("ctr", &["--address", &socket, "version"])
            .status
            .success()
    });
}
