//! `ttyplugd wait`.

use std::process::Output;

use crate::testbed::{Recipe, Testbed, has_words};

use super::super::setup::{ZWAVE, stick};
use super::Running;

/// It ends with 1 and one line on standard error that has these words.
#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    has_words(&*said, words);
}

#[test]
fn wait_returns_when_the_port_is_ready() {
    let bed = Testbed::with_config(ZWAVE);
    // It may be started before the daemon, and before there is a container.
    let mut waits = Running::start(&bed, &["wait", "zwave"]);
    let daemon = bed.daemon();
    let _container = Recipe::new("zwave").start();
    let port = stick(63);
    let short = bed.ttyplugd(&["wait", "zwave", "--timeout", "1s"]);
    fails(&short, &["zwave", "not plugged in", "ttyplugd ports"]);
    assert_eq!(waits.0.has_ended(), None);
    port.plug();
    assert_eq!(waits.end().code(), Some(0), "{}", waits.0.text());
    assert_eq!(waits.0.text(), "");
    let named = ["wait", "zwave", "--container", "zwave", "--timeout", "5s"];
    assert_eq!(bed.ttyplugd(&named).status.code(), Some(0));

    for arguments in [
        &["wait", "modem"][..],
        &["wait", "zwave", "--container", "other"],
    ] {
        let output = bed.ttyplugd(&[arguments, &["--timeout", "1s"]].concat());
        fails(&output, &["has a port of that name"]);
    }
    for arguments in [
        &["wait"][..],
        &["wait", "a b"],
        &["wait", "zwave", "--timeout", "soon"],
        &["wait", "zwave", "--timeout", "off"],
    ] {
        let output = bed.ttyplugd(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    daemon.stop();
    let gone = bed.ttyplugd(&["wait", "zwave", "--timeout", "1s"]);
    fails(&gone, &["systemctl status ttyplugd"]);
}
