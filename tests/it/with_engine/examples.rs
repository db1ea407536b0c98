//! The applications of examples/, as their compose files say that they are run.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::compose::services;
use crate::testbed::{Container, Port, Recipe, Testbed, eventually, run};

use super::applications::make_image;
use super::setup::stick;

const NODE: &str = "/dev/board";

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(file)
}

/// Starts what the compose file has, in the image that has the same packages as its own.
fn start(directory: &str, program: &[&str]) -> Container {
    let compose = example(directory).join("compose.yaml");
    let [service] = &services(&compose)[..] else {
        panic!("not one service: {}", compose.display());
    };
    let [.., script] = program else {
        panic!("no program");
    };
    let mount = format!(
        "{}:/app/{script}:ro",
        example(directory).join(script).display()
    );
    let mut recipe = Recipe::new(&service.name)
        .image("applications")
        .with(&["--runtime", service.text("runtime")])
        .with(&["--volume", &mount])
        // That of the Dockerfile may have a name that this image does not know.
        .with(&["--user", "1000:1000"]);
    for (label, value) in service.labels() {
        let value = if label.ends_with(".match") {
            "serial=Z1".into()
        } else {
            value
        };
        recipe = recipe.label(&format!("{label}={value}"));
    }
    for (name, value) in service.environment() {
        // The test's port is a virtual console, which has a speed of its own.
        let value = if name == "BAUD_RATE" { "38400" } else { &value };
        recipe = recipe.with(&["--env", &format!("{name}={value}")]);
    }
    for group in service.list("group_add") {
        recipe = recipe.with(&["--group-add", &group]);
    }
    recipe.command(program).start()
}

/// Its answer on its port 6769.
fn page(container: &Container, path: &str) -> String {
    let ask = "import sys, urllib.request; \
               print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())";
    let url = format!("http://localhost:6769{path}");
    run(
        "docker",
        &["exec", container.name(), "python3", "-c", ask, &url],
    )
}

fn is(container: &Container, state: &str) {
    let status = || {
        let status: Value = serde_json::from_str(&page(container, "/state")).expect("it is JSON");
        assert_eq!(status["port"], NODE);
        status
    };
    let what = format!("its state is {state}");
    eventually(&what, status, |status| status["state"] == state);
}

/// Does to the opens of a port what the kernel does at an unplug. The virtual console that plays
/// a port is only announced as gone (TIOCVHANGUP, drivers/tty/tty_io.c).
fn hang_up(port: &Port) {
    let script = r#"open F, "+<", $ARGV[0] or die $!; ioctl(F, 0x5437, 0) or die $!"#;
    run("perl", &["-e", script, &port.host_node()]);
}

/// From a start without its port to the second plug.
fn lives_through_a_replug(directory: &str, program: &[&str]) {
    let bed = Testbed::with_runtime("");
    make_image();
    let _daemon = bed.daemon();
    let container = start(directory, program);
    let port = stick(63).at(NODE);
    for _ in 0..2 {
        bed.holds(&[NODE]);
        is(&container, "waiting");
        port.plug();
        is(&container, "open");
        port.unplug();
        container.lacks_port(&port);
        hang_up(&port);
    }
    bed.holds(&[NODE]);
    let welcome = page(&container, "/");
    assert!(
        welcome.starts_with("Welcome. /dev/board is waiting"),
        "{welcome}"
    );
    container.docker(&["stop", "--time", "30"]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
    assert_eq!(container.inspect("{{.RestartCount}}"), "0");
}

#[test]
fn the_node_application_waits_for_its_port_again_after_every_unplug() {
    lives_through_a_replug("node", &["node", "app.js"]);
}

#[test]
fn the_python_application_waits_for_its_port_again_after_every_unplug() {
    lives_through_a_replug("python", &["python3", "app.py"]);
}
