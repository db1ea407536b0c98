//! Podman in place of Docker.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::testbed::{
    Container, Daemon, PROGRAM, Podman, RUNTIME, Recipe, Testbed, eventually, has_words, output,
    run, until_within,
};

use super::setup::{ZWAVE, stick};

/// The labels by which a container asks for the port of [`stick`].
const LABELS: [&str; 4] = [
    "--label",
    "ttyplugd.port.zwave.match=vendor=0658,serial=Z1",
    "--label",
    "ttyplugd.port.zwave.node=/dev/zwave",
];

const NODE: &str = "/dev/zwave";

/// Less than the daemon takes to look at everything again.
const AT_ONCE: Duration = Duration::from_secs(20);

fn with_podman(config: &str) -> (Testbed, Podman, Daemon) {
    let bed = Testbed::with_config(config);
    let podman = Podman::start(&bed);
    let daemon = bed.daemon_at(Podman::HOST);
    daemon.logs(&["connected to the engine"]);
    (bed, podman, daemon)
}

fn zwave() -> Recipe {
    Recipe::new("zwave").podman()
}

/// Its program opens its port once, and says what came of it.
fn opener() -> Recipe {
    let script = "opens once /dev/zwave; exec sleep 1000000";
    zwave()
        .wrapped()
        .image("opens")
        .command(&["sh", "-c", script])
}

#[track_caller]
fn has_opened(container: &Container) {
    let said = || container.logs();
    eventually("it has opened its port", said, |said| {
        said.starts_with("once ok")
    });
}

/// The containers of the daemon's status.
fn known(bed: &Testbed) -> String {
    let status = bed.status().expect("the daemon answers");
    status["ports"].to_string()
}

#[test]
fn a_port_comes_and_goes_under_any_number_by_the_file() {
    let (_bed, _podman, _daemon) = with_podman(ZWAVE);
    let container = zwave().run();
    for port in [stick(63), stick(62)] {
        port.plug();
        container.has_port(&port);
        container.sh(": <>/dev/zwave");
        port.unplug();
        container.lacks_port(&port);
    }
}

/// Docker's socket at its usual place, where nothing says where it is.
struct UsualSocket;

impl UsualSocket {
    const PATH: &str = "/run/docker.sock";

    fn of_docker() -> Self {
        let host = std::env::var("DOCKER_HOST").expect("the lane has an engine");
        let socket = host.strip_prefix("unix://").expect("it is a socket");
        std::os::unix::fs::symlink(socket, Self::PATH).expect("/run is the lane's own");
        Self
    }
}

impl Drop for UsualSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Self::PATH);
    }
}

#[test]
fn beside_docker_both_are_found_and_containers_of_a_name_are_told_apart() {
    let bed = Testbed::with_config(ZWAVE);
    let _podman = Podman::start(&bed);
    let _socket = UsualSocket::of_docker();
    let of_docker = Recipe::new("zwave").start();
    let of_podman = zwave().run();
    let _daemon = bed.daemon_at("");
    let port = stick(63);
    port.plug();
    of_docker.has_port(&port);
    of_podman.has_port(&port);
    until_within(AT_ONCE, "both are ready", || {
        let status = bed.status()?;
        let rows = status["ports"].as_array().into_iter().flatten();
        let ready = rows.filter(|row| row["state"] == "ready" && row["container"] == "zwave");
        match ready.map(|row| row["engine"].as_str()).collect::<Vec<_>>() {
            engines if engines == [None, Some("podman")] => Ok(()),
            _ => Err(status.to_string()),
        }
    });
    of_podman.docker(&["rm", "--force", "--time", "0"]);
    port.unplug();
    of_docker.lacks_port(&port);
}

#[test]
fn docker_is_not_missed_where_podman_comes_later() {
    let bed = Testbed::with_config(ZWAVE);
    let _daemon = bed.daemon_at("");
    let error = || match bed.status() {
        Ok(status) => status["engine_error"].as_str().map(str::to_owned),
        Err(error) => Some(error),
    };
    let missing = || match error() {
        Some(error) if error.contains("docker.sock") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    until_within(AT_ONCE, "it waits for Docker", missing);
    let _podman = Podman::start(&bed);
    until_within(AT_ONCE, "it has Podman alone", || {
        error().map_or(Ok(()), Err)
    });
}

/// At boot a unit starts its container while our connection starts the service, which tells the labels.
#[test]
fn a_new_container_waits_for_a_service_that_is_being_started() {
    let (bed, mut podman, daemon) = with_podman("");
    drop(daemon);
    stick(63).plug();
    podman.activate_after(Duration::from_secs(3));
    let _daemon = bed.daemon_at(Podman::HOST);
    let script = "test -c /dev/zwave && echo there || echo missing; exec sleep 1000000";
    let recipe = zwave().wrapped().with(&LABELS);
    let container = recipe.command(&["sh", "-c", script]).run();
    let said = || container.logs();
    eventually("its first instruction has run", said, |said| {
        !said.is_empty()
    });
    assert_eq!(container.logs(), "there");
}

/// While a container is being created, Podman answers no question about it.
#[test]
fn the_first_open_of_a_container_with_labels_is_held() {
    let (bed, _podman, _daemon) = with_podman("");
    let container = opener().with(&LABELS).run();
    bed.holds(&[NODE]);
    stick(63).plug();
    has_opened(&container);
}

#[test]
fn a_plugged_port_is_there_at_the_first_instruction_of_every_start() {
    let (_bed, _podman, _daemon) = with_podman("");
    let port = stick(63);
    port.plug();
    let script = "test -c /dev/zwave && echo there || echo missing; exec sleep 1000000";
    let recipe = zwave()
        .wrapped()
        .with(&LABELS)
        .command(&["sh", "-c", script]);
    let container = recipe.clone().run();
    container.has_port(&port);
    container.docker(&["restart", "--time", "0"]);
    container.has_port(&port);
    assert_eq!(container.logs(), "there\nthere");
    let container = recipe.with(&["--replace"]).run();
    container.has_port(&port);
    assert_eq!(container.logs(), "there");
}

#[test]
fn a_container_that_is_stopped_renamed_or_removed_is_known_as_such() {
    let (bed, _podman, _daemon) = with_podman("");
    let port = stick(63);
    port.plug();
    let mut container = zwave().with(&LABELS).run();
    container.has_port(&port);
    container.rename("meter");
    let becomes = |what: &str, wanted: fn(&str) -> bool| {
        let known = || known(&bed);
        until_within(AT_ONCE, what, || match known() {
            known if wanted(&known) => Ok(()),
            known => Err(known),
        });
    };
    becomes("it has another name", |known| {
        known.contains("\"meter\"") && known.contains("\"ready\"")
    });
    container.docker(&["stop", "--time", "0"]);
    becomes("it has stopped", |known| !known.contains("\"ready\""));
    container.docker(&["start"]);
    container.has_port(&port);
    container.docker(&["rm", "--force", "--time", "0"]);
    becomes("it is gone", |known| !known.contains("meter"));
}

/// Podman gives no container MKNOD unless it is asked to.
#[test]
fn no_command_is_executed_in_a_container_without_mknod() {
    let (_bed, _podman, _daemon) = with_podman(ZWAVE);
    let execs = |container: &Container| {
        let container = format!("container={}", container.inspect("{{.Id}}"));
        let events = [
            "events",
            "--stream=false",
            "--filter",
            "event=exec",
            "--filter",
        ];
        run("podman", &[&events[..], &[&container]].concat())
    };
    let port = stick(63);
    port.plug();
    let container = zwave().run();
    container.has_port(&port);
    assert_eq!(execs(&container), "");
    drop(container);
    let container = zwave().with(&["--cap-add", "MKNOD"]).run();
    container.has_port(&port);
    assert!(execs(&container).contains("exec"));
}

/// `ttyplugd runtime WORDS`.
fn runtime(words: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", PROGRAM, "runtime"]).args(words);
    command
        .env("NO_COLOR", "1")
        .output()
        .expect("timeout, of coreutils, runs")
}

#[track_caller]
fn succeeds(words: &[&str], said: &[&str]) {
    let output = runtime(words);
    assert_eq!(output.status.code(), Some(0), "{words:?} {output:?}");
    has_words(&output.stdout, said);
}

#[track_caller]
fn fails(words: &[&str], said: &[&str]) {
    let output = runtime(words);
    assert_eq!(output.status.code(), Some(1), "{words:?} {output:?}");
    has_words(&output.stderr, said);
}

const DROP_IN: &str = "/etc/containers/containers.conf.d/50-ttyplugd.conf";

/// The program of the runtime as Podman knows it.
fn in_podman() -> Option<String> {
    let format = ["info", "--format", "{{.Host.OCIRuntime.Path}}"];
    let info = output("podman", &[&["--runtime", "ttyplug"], &format[..]].concat());
    let said = String::from_utf8_lossy(&info.stdout).trim().to_owned();
    info.status.success().then_some(said)
}

#[test]
fn the_runtime_is_registered_by_a_file_of_its_own_unless_containers_use_it() {
    let bed = Testbed::with_config(ZWAVE);
    let podman = Podman::start(&bed);
    podman.forget_runtime();
    succeeds(&["enable"], &[DROP_IN, "podman run --runtime ttyplug"]);
    assert_eq!(in_podman().as_deref(), Some(RUNTIME));
    succeeds(&["enable"], &["already registered with Podman"]);
    succeeds(&["status"], &[DROP_IN, "Podman 4", "runc version"]);

    let container = zwave().wrapped().create();
    for words in [&["disable"][..], &["disable"]] {
        fails(words, &["zwave (created, runtime: ttyplug)", "--force"]);
    }
    assert_eq!(in_podman().as_deref(), Some(RUNTIME));
    succeeds(
        &["disable", "--force"],
        &["zwave (created, runtime: ttyplug)"],
    );
    assert_eq!(in_podman(), None);
    assert!(!Path::new(DROP_IN).exists());
    drop(container);
    succeeds(&["disable"], &["nothing was changed for Podman"]);
}

#[test]
fn a_file_that_was_edited_stays_as_it_is() {
    let bed = Testbed::with_config(ZWAVE);
    let podman = Podman::start(&bed);
    podman.forget_runtime();
    succeeds(&["enable"], &[]);
    let text = std::fs::read_to_string(DROP_IN).expect("it is there");
    let edited = format!("{text}\n[engine]\nruntime = \"ttyplug\"\n");
    std::fs::write(DROP_IN, &edited).expect("it can be written");
    for words in [&["enable"][..], &["disable"], &["disable", "--force"]] {
        fails(words, &[DROP_IN, "was edited"]);
        assert_eq!(
            std::fs::read_to_string(DROP_IN).expect("it is there"),
            edited
        );
    }
    std::fs::remove_file(DROP_IN).expect("it is there");
    succeeds(&["disable"], &[]);
}

#[test]
fn crun_is_the_real_runtime_where_runc_is_not_installed() {
    let without_runc = "for runc in /usr/bin/runc /usr/sbin/runc; do
            [ ! -e $runc ] || mount --bind /dev/null $(realpath $runc) || exit 1
        done
        exec \"$@\"";
    let call = |arguments: &[&str]| {
        let shell = ["--mount", "sh", "-c", without_runc, "sh", RUNTIME];
        output("unshare", &[&shell[..], arguments].concat())
    };
    let said = call(&["--version"]);
    has_words(&said.stdout, &["crun version"]);
    // Its own name has to be said where it is to be another one.
    let said = call(&["--runtime", "/bin/echo", "state", "c0ffee"]);
    assert_eq!(said.stdout, b"state c0ffee\n");
}

/// The service of an unused socket ends after seconds (podman-system-service(1), --time).
#[test]
fn a_service_that_has_ended_is_found_again() {
    let (_bed, mut podman, _daemon) = with_podman(ZWAVE);
    let container = zwave().run();
    podman.restart();
    let port = stick(63);
    port.plug();
    container.has_port(&port);
    container.docker(&["restart", "--time", "0"]);
    container.has_port(&port);
}

#[test]
fn check_says_what_a_container_of_podmans_runs_with() {
    let (bed, _podman, _daemon) = with_podman(ZWAVE);
    let held = zwave().wrapped().run();
    let check = || {
        let output = bed
            .command(&["check"])
            .env("DOCKER_HOST", Podman::HOST)
            .output();
        String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned()
    };
    let words = [
        "Podman 4",
        "ttyplug is registered",
        "container zwave: its early opens are held, of /dev/zwave",
    ];
    has_words(check(), &words);
    drop(held);
    let _container = zwave().run();
    has_words(check(), &["container zwave: its early opens are not held"]);
}
