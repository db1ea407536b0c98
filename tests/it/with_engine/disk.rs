//! A disk that is full or read-only, the commonest end of an SD card, keeps no port away.

use std::fs;
use std::path::{Path, PathBuf};

use crate::testbed::{Recipe, Testbed, eventually, has_words, output, run, until};

use super::setup::{ZWAVE, stick};

/// A small file system in the place of the state directory.
struct Disk(PathBuf);

impl Disk {
    fn at(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("it is ours");
        let disk = Self(directory);
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk.path()],
        );
        disk
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("it is UTF-8")
    }

    fn spoil(&self, how: &str) {
        match how {
            "full" => {
                // dd fails when there is no more room.
                let file = format!("of={}/rest", self.path());
                output("dd", &["if=/dev/zero", &file, "bs=4k"]);
            }
            _ => self.remount("ro"),
        }
    }

    fn mend(&self) {
        self.remount("rw");
        let _ = fs::remove_file(Path::new(self.path()).join("rest"));
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), self.path()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        output("umount", &["--lazy", self.path()]);
    }
}

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
