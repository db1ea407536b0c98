//! What the programs that show them say of the pages that an operator reads. They need no engine,
//! but programs that `make test` installs.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::bed::run;
use crate::papers::catalog;

#[test]
fn journalctl_reads_every_entry_of_the_catalog() {
    let root = TempDir::new().unwrap();
    let directory = root.path().join("usr/lib/systemd/catalog");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/ttyplugd.catalog"),
        directory.join("ttyplugd.catalog"),
    )
    .unwrap();
    let root = format!("--root={}", root.path().display());
    let updated = Command::new("journalctl")
        .args([&root, "--update-catalog"])
        .output()
        .expect("journalctl, of systemd, runs");
    // It says so and goes on where it does not understand an entry.
    assert!(updated.status.success(), "{updated:?}");
    assert!(updated.stderr.is_empty(), "{updated:?}");
    let listed = run("journalctl", &[&root, "--list-catalog"]);
    for (id, entry) in catalog() {
        let subject = entry
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("Subject: ");
        assert!(
            listed.contains(&format!("{id} ttyplugd: {subject}")),
            "{id} is not in\n{listed}"
        );
    }
}
