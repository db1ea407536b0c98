//! `ttyplugd wait`.

use crate::bed::{Bed, Recipe};

use super::super::ZWAVE;
use super::super::hold::stick;
use super::{Running, output};

#[test]
fn wait_returns_when_the_port_is_ready() {
    let bed = Bed::with_config(ZWAVE);
    // It may be started before the daemon, and before there is a container.
    let mut waits = Running::start(&bed, &["wait", "zwave"]);
    let daemon = bed.daemon();
    let _container = Recipe::new("zwave").start();
    let port = stick(63);
    let short = output(&bed, &["wait", "zwave", "--timeout", "1s"]);
    assert_eq!(short.status.code(), Some(1), "{short:?}");
    let said = String::from_utf8_lossy(&short.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["zwave", "not plugged in", "ttyplugd ports"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(waits.child.try_wait().expect("it is a child"), None);
    port.plug();
    assert_eq!(waits.end().code(), Some(0), "{:?}", waits.said());
    assert_eq!(waits.said(), [""; 0]);
    let named = ["wait", "zwave", "--container", "zwave", "--timeout", "5s"];
    assert_eq!(output(&bed, &named).status.code(), Some(0));

    for arguments in [
        &["wait", "modem"][..],
        &["wait", "zwave", "--container", "other"],
    ] {
        let output = output(&bed, &[arguments, &["--timeout", "1s"]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("has a port of that name"), "{said}");
    }
    for arguments in [
        &["wait"][..],
        &["wait", "a b"],
        &["wait", "zwave", "--timeout", "soon"],
        &["wait", "zwave", "--timeout", "off"],
    ] {
        let output = output(&bed, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    daemon.stop();
    let gone = output(&bed, &["wait", "zwave", "--timeout", "1s"]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let said = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(said.contains("systemctl status ttyplugd"), "{said}");
}
