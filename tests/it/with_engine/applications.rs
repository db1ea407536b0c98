//! Real programs that open a serial port when they start, each once.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::testbed::{Container, Recipe, Testbed, eventually, run};

use super::hold::{LONG, NODE, linked_port};
use super::setup::{RULE, stick};

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
fn bed(hold: &str) -> Testbed {
    let bed = Testbed::with_runtime(&linked_port(hold));
    make_image();
    bed
}

fn start(program: &[&str]) -> Container {
    Recipe::new("zwave")
        .image("applications")
        .wrapped()
        // The port is not there when the container is made, so its number is not known then.
        .with(&RULE)
        .command(program)
        .start()
}

/// Waits until the program has ended with 0, and returns what it has said.
fn ends(container: &Container) -> Vec<String> {
    let seen = || (container.inspect("{{.State.Status}}"), container.logs());
    let (_, said) = eventually("the program ends", seen, |(state, _)| state == "exited");
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
    let bed = bed(LONG);
    let _daemon = bed.daemon();
    let port = stick(63);
    for path in [NODE, &port.by_id()] {
        let container = start(&["python3", "serial_port.py", path]);
        bed.holds(&[path]);
        port.plug();
        let said = ends(&container);
        waited(&said[0], "ok");
        assert_eq!(said[1..], ["write 1", "read 0"]);
        port.unplug();
    }
}

#[test]
fn the_node_package_serialport_gets_its_port_at_the_first_attempt() {
    let bed = bed(LONG);
    let _daemon = bed.daemon();
    let port = stick(63);
    for path in [NODE, &port.by_id()] {
        let container = start(&["node", "serial_port.js", path]);
        bed.holds(&[path]);
        port.plug();
        let said = ends(&container);
        waited(&said[0], "ok");
        assert_eq!(said[1..], ["write 1", "closed"]);
        port.unplug();
    }
}

#[test]
fn a_held_node_program_that_handles_sigterm_stops_within_a_second() {
    let bed = bed(LONG);
    let _daemon = bed.daemon();
    let stop = |container: &Container| {
        let begun = Instant::now();
        container.docker(&["stop", "--time", "30"]);
        begun.elapsed()
    };
    let script =
        "process.on('SIGTERM', () => process.exit()); setInterval(() => {}, 1e6); console.log(1)";
    let plain = start(&["node", "-e", script]);
    eventually("it handles SIGTERM", || plain.logs(), |said| said == "1");
    let usual = stop(&plain);
    drop(plain);

    let container = start(&["node", "serial_port.js", NODE]);
    bed.holds(&[NODE]);
    let took = stop(&container);
    assert!(took < usual + Duration::from_secs(1), "{took:?} {usual:?}");
    // Its open may have failed before the signal came: opens are let go first.
    let said = ends(&container);
    assert_eq!(said.last().map(String::as_str), Some("SIGTERM"), "{said:?}");
    bed.has_no_keeper();
}

#[test]
fn a_go_program_gets_its_port_at_the_first_attempt() {
    let bed = bed(LONG);
    let _daemon = bed.daemon();
    let container = start(&["./serial_port", NODE]);
    bed.holds(&[NODE]);
    stick(63).plug();
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
    assert!((2900..7000).contains(&waited), "{said:?}");
    assert!(said[0].ends_with("no such file or directory"), "{said:?}");
    let signals = said[1].strip_prefix("signals ").map(str::parse::<u32>);
    assert!(matches!(signals, Some(Ok(50..))), "too few: {said:?}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program_gets_its_port_at_the_first_attempt_by_every_call() {
    let bed = bed(LONG);
    let _daemon = bed.daemon();
    let container = start(&["./serial_port_i386", NODE]);
    bed.holds(&[NODE; 3]);
    stick(63).plug();
    let mut said = ends(&container);
    said.sort();
    assert_eq!(said, ["libc ok 1", "open ok 1", "openat ok 1"]);
}
