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

#[test]
fn groff_has_nothing_to_say_about_the_manual_pages() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut seen = 0;
    for page in fs::read_dir(pages).unwrap() {
        let page = page.unwrap().path();
        // As man(1) would call it, with all warnings and nothing printed.
        let output = Command::new("groff")
            .args(["-mandoc", "-ww", "-z", "-Tutf8"])
            .arg(&page)
            .output()
            .expect("groff, of groff-base, runs");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "{}", page.display());
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} pages");
}
