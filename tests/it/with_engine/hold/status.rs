//! Held opens in `status` and `check`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::testbed::{Testbed, has_words, until};

use super::{LONG, NODE, Opening, held, says, unplugged};

/// Waits until the status has so many held opens, and returns the whole of it.
#[track_caller]
pub(super) fn has_held(bed: &Testbed, count: usize) -> Value {
    until(&format!("the status has {count} held opens"), || {
        let status = bed.status()?;
        match status["held"].as_array() {
            Some(held) if held.len() == count => Ok(status),
            _ => Err(status.to_string()),
        }
    })
}

#[test]
fn status_shows_ports_and_held_opens_and_so_does_the_socket() {
    let (bed, container, daemon, port) = held(LONG);
    let status = has_held(&bed, 1);
    assert_eq!(status["schema"], 1);
    let row = &status["ports"][0];
    assert_eq!(row["port"], "zwave");
    assert_eq!(row["state"], "waiting");
    assert_eq!(row["holding"], true);
    let open = &status["held"][0];
    assert_eq!(open["container"], "zwave");
    assert_eq!(open["path"], NODE);
    assert_eq!(open["command"], "opens");
    let of = |key: &str| open[key].as_u64().expect("it is a number");
    assert!(
        (59_000..=61_000).contains(&(of("waited_ms") + of("left_ms"))),
        "{open}"
    );

    let text = bed.ttyplugd(&["status"]);
    assert!(text.status.success(), "{text:?}");
    has_words(&text.stdout, &["HELD OPEN", NODE]);

    port.plug();
    says(&container, 1)[0].got(&port);
    has_held(&bed, 0);
    daemon.stop();
    assert!(bed.status().is_err());
}

#[test]
fn a_restarted_daemon_knows_all_held_opens_within_a_second() {
    let (bed, _container, daemon, _port) = held(LONG);
    let asked = Instant::now();
    has_held(&bed, 1);
    let answer = asked.elapsed();
    daemon.end(Signal::SIGKILL);
    let _daemon = bed.daemon();
    let ready = Instant::now();
    has_held(&bed, 1);
    // On a busy machine the question alone takes its time.
    let limit = Duration::from_secs(1) + 2 * answer;
    assert!(ready.elapsed() < limit, "{:?}", ready.elapsed());
}

#[test]
fn check_says_whether_the_opens_of_a_container_are_held() {
    let (bed, container, daemon, _port) = unplugged(LONG);
    let opening = Opening::of(&container, NODE);
    has_held(&bed, 1);
    let check_says = |words| has_words(bed.ttyplugd(&["check"]).stdout, &[words]);
    check_says("its early opens are held");
    daemon.stop();
    bed.keeper().signal(Signal::SIGKILL);
    opening.end()[0].is("ENOSYS");
    check_says("its keeper does not answer");
}
