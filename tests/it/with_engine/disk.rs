//! A disk that is full or read-only, the commonest end of an SD card, keeps no port away.

use crate::testbed::{Disk, Recipe, Testbed, eventually, has_words, until};

use super::setup::{ZWAVE, stick};

#[test]
fn a_full_or_read_only_disk_keeps_no_port_away_and_it_is_said() {
    for how in ["full", "read-only"] {
        let bed = Testbed::with_runtime(ZWAVE);
        let disk = Disk::at(bed.file("state"));
        disk.spoil(how);
        let daemon = bed.daemon();
        let port = stick(63);
        let container = Recipe::new("zwave").wrapped().start();
        for _ in 0..2 {
            port.plug();
            container.has_port(&port);
            container.sh(": <>/dev/zwave");
            container.docker(&["restart"]);
            container.has_port(&port);
            port.unplug();
            container.has_only(&[]);
        }
        daemon.logs(&["WARN", "cannot write", "next boot"]);
        let error = |status: &serde_json::Value| status["state_error"].clone();
        let status = || bed.status().expect("the daemon answers");
        eventually("status has the error", status, |s| error(s).is_string());
        has_words(bed.ttyplugd(&["status"]).stdout, &["next boot"]);
        let check = bed.json("check");
        let codes = check["findings"].as_array().expect("they are a list");
        assert!(
            codes.iter().any(|f| f["code"] == "state-unwritten"),
            "{check}"
        );

        disk.mend();
        // It is tried again by itself.
        until("the state is written", || {
            bed.file("state/containers.json").exists()
        });
        eventually("status has no error", status, |s| error(s).is_null());
        daemon.stop();
    }
}
