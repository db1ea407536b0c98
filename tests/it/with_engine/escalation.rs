//! An application without privileges tries to become root of its container by way of the command
//! that is executed there.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::testbed::{Container, Entry, Recipe, Testbed, has_words};

use super::setup::{Setup, port_for, setup};

/// Where every hostile thing that runs as root leaves a line.
const TRACE: &str = "/app/ran";

/// Makes a program of every name that the command may use, and a file that bash reads before a
/// script. The application is user 1000, and /app belongs to it.
const HOSTILE: &str = r#"
for name in sh mknod chown chmod mv ln rm mkdir; do
  echo '#!/bin/sh
[ $EUID != 0 ] || echo program >>/app/ran
exec /bin/${0##*/} "$@"' >/app/$name
  chmod 755 /app/$name
done
echo '[ $EUID != 0 ] || echo file >>/app/ran' >/app/env
exec sleep 1000000
"#;

/// What bash, and the loader of programs, take from the environment (bash(1), "INVOCATION" and
/// "FUNCTIONS"; ld.so(8)). One variable is there twice, as in an image that nobody's tools made.
const ENVIRONMENT: [&str; 9] = [
    "PATH=/app:/bin",
    "ENV=/app/env",
    "BASH_ENV=/app/env",
    "SHELLOPTS=allexport",
    "BASH_FUNC_umask%%=() { echo function >>/app/ran; }",
    "LD_PRELOAD=/preload.so",
    "LD_LIBRARY_PATH=/app",
    "LD_PRELOAD=/preload.so ",
    "CDPATH=/app",
];

fn application() -> Recipe {
    let recipe = Recipe::new("zwave").image("bash");
    let recipe = recipe.with(&["--user", "1000", "--tmpfs", "/app:exec,mode=777"]);
    recipe.command(&["/bin/sh", "-c", HOSTILE])
}

fn by(inject: &str, node: &str, recipe: Recipe) -> Setup {
    let port = port_for("\"zwave\"", node, "mode = \"0666\"");
    let bed = Testbed::with_config(&format!("inject = {inject:?}\n{port}"));
    let (bed, container, daemon, port) = setup(bed, recipe);
    (bed, container, daemon, port.at(node).mode(0o666))
}

fn nothing_ran(container: &Container) {
    assert_eq!(container.at(TRACE), Entry::Absent);
}

#[test]
fn nothing_of_an_image_s_environment_reaches_the_command() {
    let variables = ENVIRONMENT.map(|variable| ["--env", variable]);
    let recipe = application().with(variables.as_flattened());
    let (_bed, container, daemon, port) = by("exec", "/dev/zwave", recipe);
    port.plug();
    container.has_port(&port);
    nothing_ran(&container);
    port.unplug();
    container.has_only(&[]);
    nothing_ran(&container);
    daemon.stop();
    // All of it runs in a command that inherits the environment.
    container.sh("umask; rm -f /none");
    let ran = std::fs::read_to_string(container.path(TRACE)).expect("something ran");
    for trace in ["program", "function", "preload"] {
        assert!(ran.contains(trace), "{trace}: {ran}");
    }
}

/// What may have happened in a container before the plug, as commands of its root user.
const SPOILED: [&str; 8] = [
    "chown 1000 /bin/mknod",
    "chmod g+w /bin",
    "chown 1000 /",
    "mv /bin/mknod /app && ln -s /app/mknod /bin",
    "mkdir /usr; ln -s /app /usr/bin",
    "mkdir -p /usr/local/lib; chown 1000 /usr/local/lib",
    "chown 1000 /bin/sh",
    "chown 1000 /lib/*-linux-gnu*",
];

#[test]
fn no_command_is_executed_where_the_application_could_replace_a_program() {
    for spoil in SPOILED {
        let (_bed, container, daemon, port) = by("auto", "/dev/zwave", application());
        container.sh(spoil);
        port.plug();
        container.has_port(&port);
        daemon.logs(&["using namespace injection", "could replace"]);
        nothing_ran(&container);
        daemon.stop();
    }
    let (bed, container, daemon, port) = by("exec", "/dev/zwave", application());
    container.sh(SPOILED[0]);
    port.plug();
    daemon.logs(&["zwave", "/bin/mknod", "could replace"]);
    let check = bed.ttyplugd(&["check"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    has_words(&check.stdout, &["could replace /bin/mknod"]);
    assert_eq!(container.own_names(), [""; 0]);
    nothing_ran(&container);
    daemon.stop();
}

/// In a directory of its own, the application swaps everything that appears for a link to a file of
/// root's, or for that file.
const SWAPS: &str = "cd /dev/own; while :; do for new in .ttyplugd.*; do \
    [ ! -c $new ] || { ln -s /secret/link x; mv -f x $new; }; done; done";

fn swapped(inject: &str) {
    let own = [
        "--user",
        "1000",
        "--tmpfs",
        "/dev/own:uid=1000,mode=755,dev",
    ];
    let recipe = Recipe::new("zwave").with(&own);
    let recipe = recipe.command(&["/bin/sh", "-c", SWAPS]);
    let (_bed, container, daemon, port) = by(inject, "/dev/own/zwave", recipe);
    container.sh("mkdir -p /secret; echo secret >/secret/link; chmod 600 /secret/link");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        port.plug();
        sleep(Duration::from_millis(150));
        port.unplug();
        sleep(Duration::from_millis(50));
        let secret = std::fs::metadata(container.path("/secret/link")).expect("it is there");
        assert_eq!(secret.permissions(), Permissions::from_mode(0o100_600));
    }
    daemon.stop();
}

#[test]
fn an_application_that_swaps_the_new_node_for_a_link_changes_no_other_file() {
    swapped("auto");
    swapped("exec");
    swapped("namespace");
}
