//! A journal that does not read.

use std::time::{Duration, Instant};

use serde_json::json;

use super::profile::with_profile;
use super::{LONG, NODE, Opening, holding, opener, says, setup, stick, zwave};
use crate::testbed::{Journald, eventually};

/// The most that a test takes in which nothing waits.
const MOST: Duration = Duration::from_secs(15);

#[test]
fn a_journal_that_does_not_read_keeps_no_open_and_no_plug_waiting() {
    let bed = holding(LONG);
    let journald = Journald::start();
    let daemon = bed.daemon_with_journal();
    let container = zwave().start();
    let first = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    journald.stop();
    let begun = Instant::now();
    let others = [(); 20].map(|()| Opening::of(&container, NODE));
    bed.holds(&[NODE; 21]);
    let port = stick(63);
    port.plug();
    first.end()[0].got(&port);
    for opening in others {
        opening.end()[0].got(&port);
    }
    assert!(begun.elapsed() < 2 * MOST, "{:?}", begun.elapsed());
    journald.go_on();
    // The next line comes with the number of those before it that are missing.
    port.unplug();
    container.lacks_port(&port);
    let opening = Opening::of(&container, NODE);
    bed.holds(&[NODE]);
    for program in ["ttyplugd", "ttyplug-runtime"] {
        let has_said = |said: &Vec<String>| said.iter().any(|line| line.contains("were dropped"));
        eventually(program, || journald.messages(program), has_said);
    }
    drop(opening);
    daemon.stop();
}

#[test]
fn a_container_starts_while_the_journal_does_not_read() {
    let bed = holding(LONG);
    let rule = json!({ "names": ["open", "openat"], "action": "SCMP_ACT_LOG" });
    let odd = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let (warned, held) = (with_profile(&bed, &odd), opener());
    let journald = Journald::start();
    let (bed, container, daemon, port) = setup(bed, zwave());
    drop(container);
    journald.stop();
    // The wrapper has a warning for the journal; then its keeper connects to it.
    let begun = Instant::now();
    says(&warned.start(), 1)[0].is("ENOENT").at_once();
    let container = held.start();
    bed.holds(&[NODE]);
    assert!(begun.elapsed() < MOST, "{:?}", begun.elapsed());
    port.plug();
    says(&container, 1)[0].got(&port);
    daemon.stop();
}
