//! Real programs that open a serial port when they start, each once.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use crate::bed::{Bed, Container, Port, Recipe, SOON, eventually, run};

use super::port_for;

const NODE: &str = "/dev/zwave";
const BY_ID: &str = "/dev/serial/by-id/usb-Test_T63-if00";

/// Makes the image that they are in, once, of what `make test-applications` has made.
pub(super) fn make_image() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let root = concat!(env!("CARGO_TARGET_TMPDIR"), "/applications.tar");
        assert!(
            Path::new(root).exists(),
            "there is no {root}: run make test-applications"
        );
        let change = ["WORKDIR /app", "CMD [\"sleep\", \"1000000\"]"];
        let change = change.map(|change| format!("--change={change}"));
        let [directory, command] = &change;
        let image = "ttyplugd-test/applications";
        run("docker", &["import", directory, command, root, image]);
    });
}

/// A bed with the port "zwave" for the container "zwave", which may also be opened by its link.
fn bed(hold: &str) -> Bed {
    let bed = Bed::with_runtime(
        &port_for("\"zwave\"", NODE, &format!("hold = {hold:?}")).replace(
            "serial = \"Z1\"",
            "serial = \"Z1\", by-id = \"usb-Test_T63-if00\"",
        ),
    );
    make_image();
    bed
}

fn start(program: &[&str]) -> Container {
    Recipe::new("zwave")
        .image("applications")
        .with(&["--runtime", "ttyplug"])
        // The port is not there when the container is made, so its number is not known then.
        .with(&["--device-cgroup-rule", "c 4:* rmw"])
        .command(program)
        .start()
}

fn plug() {
    Port::new(63).with("ID_SERIAL_SHORT", "Z1").plug();
}

/// Waits until the program has ended with 0, and returns what it has said.
fn ends(container: &Container) -> Vec<String> {
    let said = eventually(SOON, "the program ends", || {
        let state = container.inspect("{{.State.Status}}");
        let said = run("docker", &["logs", container.name()]);
        (state == "exited")
            .then(|| said.clone())
            .ok_or_else(|| format!("it is {state} and has said: {said}"))
    });
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "{said}");
    said.lines().map(String::from).collect()
}

/// The milliseconds of a line such as "open ok 5120".
fn waited(line: &str, result: &str) -> u64 {
    let rest = line.strip_prefix(&format!("open {result} "));
    let number = rest.and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("the open is not {result}: {line:?}"))
}

#[test]
fn pyserial_gets_its_port_at_the_first_attempt() {
    let bed = bed("60s");
    let _daemon = bed.daemon();
    for path in [NODE, BY_ID] {
        let container = start(&["python3", "serial_port.py", path]);
        bed.holds(&[path]);
        plug();
        let said = ends(&container);
        waited(&said[0], "ok");
        assert_eq!(said[1..], ["write 1", "read 0"]);
        Port::new(63).unplug();
    }
}

#[test]
fn the_node_package_serialport_gets_its_port_at_the_first_attempt() {
    let bed = bed("60s");
    let _daemon = bed.daemon();
    for path in [NODE, BY_ID] {
        let container = start(&["node", "serial_port.js", path]);
        bed.holds(&[path]);
        plug();
        let said = ends(&container);
        waited(&said[0], "ok");
        assert_eq!(said[1..], ["write 1", "closed"]);
        Port::new(63).unplug();
    }
}

#[test]
fn a_held_node_program_that_handles_sigterm_stops_within_a_second() {
    let bed = bed("60s");
    let _daemon = bed.daemon();
    let container = start(&["node", "serial_port.js", NODE]);
    bed.holds(&[NODE]);
    let begun = Instant::now();
    container.docker(&["stop", "--time", "30"]);
    let took = begun.elapsed();
    assert!(took.as_millis() < 1000, "{took:?}");
    // Its open may have failed before the signal came: opens are let go first.
    let said = ends(&container);
    assert_eq!(said.last().map(String::as_str), Some("SIGTERM"), "{said:?}");
    bed.has_no_keeper();
}

#[test]
fn a_go_program_gets_its_port_at_the_first_attempt() {
    let bed = bed("60s");
    let _daemon = bed.daemon();
    let container = start(&["./serial_port", NODE]);
    bed.holds(&[NODE]);
    plug();
    let said = ends(&container);
    waited(&said[0], "ok");
    assert_eq!(said[1], "write 1 <nil>");
}

#[test]
fn the_open_of_a_go_program_keeps_its_first_deadline_through_the_signals_of_its_runtime() {
    let bed = bed("3s");
    let _daemon = bed.daemon();
    let said = ends(&start(&["./serial_port", NODE]));
    let waited = waited(&said[0], "failed");
    assert!((2900..4500).contains(&waited), "{said:?}");
    assert!(said[0].ends_with("no such file or directory"), "{said:?}");
    let signals = said[1].strip_prefix("signals ").map(str::parse::<u32>);
    assert!(
        matches!(signals, Some(Ok(50..))),
        "it got too few signals: {said:?}"
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program_gets_its_port_at_the_first_attempt_by_every_call() {
    let bed = bed("60s");
    let _daemon = bed.daemon();
    let container = start(&["./serial_port_i386", NODE]);
    bed.holds(&[NODE; 3]);
    plug();
    let mut said = ends(&container);
    said.sort();
    assert_eq!(said, ["libc ok 1", "open ok 1", "openat ok 1"]);
}
