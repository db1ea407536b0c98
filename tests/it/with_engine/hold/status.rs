//! What the operator is told of held opens.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bed::{Bed, PROGRAM, SOON, eventually, run};

use super::{Opening, held_port, says, stick, zwave};

/// Waits until the status has a held open, and returns the whole of it.
fn held(bed: &Bed) -> Value {
    eventually(SOON, "the status has a held open", || {
        let status = bed.status()?;
        let held = status["held"].as_array().map(Vec::len);
        (held == Some(1))
            .then(|| status.clone())
            .ok_or_else(|| status.to_string())
    })
}

#[test]
fn status_shows_ports_and_held_opens_and_so_does_the_socket() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    let status_before = held(&bed);
    assert_eq!(status_before["schema"], 1);
    let port = &status_before["ports"][0];
    assert_eq!(port["port"], "zwave");
    assert_eq!(port["state"], "waiting");
    assert_eq!(port["holding"], true);
    let open = &status_before["held"][0];
    assert_eq!(open["container"], "zwave");
    assert_eq!(open["path"], "/dev/zwave");
    assert_eq!(open["command"], "opens");
    let of = |key: &str| open[key].as_u64().expect("it is a number");
    assert!(
        (59_000..=61_000).contains(&(of("waited_ms") + of("left_ms"))),
        "{open}"
    );

    let run_dir = bed.file("run");
    let text = run(
        PROGRAM,
        &["status".as_ref(), "--run-dir".as_ref(), run_dir.as_os_str()],
    );
    assert!(
        text.contains("HELD OPEN") && text.contains("/dev/zwave"),
        "{text}"
    );

    let stick = stick(63);
    stick.plug();
    says(&container, 1)[0].got(&stick);
    eventually(SOON, "nothing is held any more", || {
        let status = bed.status()?;
        let none = status["held"].as_array().is_some_and(Vec::is_empty);
        none.then_some(()).ok_or_else(|| status.to_string())
    });
    daemon.stop();
    assert!(bed.status().is_err());
}

#[test]
fn a_restarted_daemon_knows_all_held_opens_within_a_second() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let _container = zwave().command(&["opens", "once", "/dev/zwave"]).start();
    held(&bed);
    daemon.end(Signal::SIGKILL);
    let _daemon = bed.daemon();
    let ready = Instant::now();
    held(&bed);
    assert!(
        ready.elapsed() < Duration::from_secs(1),
        "{:?}",
        ready.elapsed()
    );
}

#[test]
fn check_says_whether_the_opens_of_a_container_are_held() {
    let bed = Bed::with_runtime(&held_port("60s"));
    let daemon = bed.daemon();
    let container = zwave().start();
    let opening = Opening::start(&container, &["once", "/dev/zwave"]);
    held(&bed);
    let check = |expected: &str| {
        let output = bed.ttyplugd(&["check"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(expected), "{text}");
    };
    check("its early opens are held");
    for keeper in bed.keepers() {
        keeper.signal(Signal::SIGKILL);
    }
    assert_eq!(opening.end()[0].result, "ENOSYS");
    check("its keeper does not answer");
    daemon.stop();
}
