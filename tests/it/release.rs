//! `packaging/release.sh`. `make release` begins with its `check`: what keeps a commit from being a
//! release is said before anything is built, and all of it at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::testbed::has_words;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const OTHER: &str = "987.6.5";

/// What the script looks at.
const FILES: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "fuzz/Cargo.lock",
    "CHANGELOG.md",
    "man/ttyplugd.8",
    "man/ttyplugd.toml.5",
    "man/ttyplug-runtime.8",
    "packaging/release.sh",
];

/// A repository with one commit, which can be released.
struct Repository {
    directory: TempDir,
}

impl Repository {
    fn new() -> Self {
        let directory = TempDir::new().expect("there is room below /tmp");
        for name in FILES {
            let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")), directory.path());
            let parent = to.join(name);
            fs::create_dir_all(parent.parent().expect("it has one")).expect("a directory");
            fs::copy(from.join(name), to.join(name)).expect("a file can be copied");
        }
        let repository = Self { directory };
        let notes =
            format!("# Changelog\n\n## Unreleased\n\n## {VERSION} - 2000-01-02\n\n- One.\n");
        fs::write(repository.file("CHANGELOG.md"), notes).expect("it is ours");
        repository.git(&["init", "--quiet"]);
        repository.commit("2000-01-02");
        repository
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn git(&self, arguments: &[&str]) {
        self.git_on("2000-01-02", arguments);
    }

    /// Whoever runs the test may sign commits, or have hooks.
    fn git_on(&self, day: &str, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(self.directory.path());
        git.env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.env("GIT_COMMITTER_DATE", format!("{day}T12:00:00Z"));
        git.args(["-c", "user.name=us", "-c", "user.email=us@x"]);
        let output = git.args(arguments).output().expect("git runs");
        assert!(output.status.success(), "{output:?}");
    }

    fn commit(&self, day: &str) {
        self.git(&["add", "--all"]);
        self.git_on(day, &["commit", "--quiet", "--message=one"]);
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.file(name)).expect("it is there");
        assert!(text.contains(from), "{from} is not in {name}");
        fs::write(self.file(name), text.replace(from, to)).expect("it is ours");
    }

    fn check(&self, version: &str) -> Output {
        self.release(&["check", version])
    }

    fn release(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.file("packaging/release.sh"));
        command.args(arguments).output().expect("the script runs")
    }

    /// The check refuses, and says only this.
    #[track_caller]
    fn refuses(&self, words: &[&str]) {
        let output = self.check(VERSION);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().count(), words.len(), "{said}");
        has_words(&output.stderr, words);
        assert!(!self.file("target").exists());
    }
}

#[test]
fn a_commit_that_is_ready_passes() {
    let repository = Repository::new();
    let output = repository.check(VERSION);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    repository.git(&["tag", &format!("v{VERSION}")]);
    assert!(repository.check(VERSION).status.success());
}

#[test]
fn only_three_numbers_are_a_version() {
    let repository = Repository::new();
    for version in [
        "",
        "1.0",
        "1.0.0.0",
        "v1.0.0",
        "1.0.0-rc1",
        "1.0.0 ",
        "1.0.0\n2",
        "../1.0.0",
    ] {
        let output = repository.check(version);
        assert_eq!(output.status.code(), Some(1), "{version:?}");
        has_words(output.stderr, &["which version?"]);
    }
}

#[test]
fn another_version_in_any_file_is_refused() {
    let version = format!("version = \"{VERSION}\"");
    let other = format!("version = \"{OTHER}\"");
    for name in ["Cargo.toml", "Cargo.lock", "fuzz/Cargo.lock"] {
        let repository = Repository::new();
        let before = if name == "Cargo.toml" {
            "[package]"
        } else {
            ""
        };
        let ours = format!("{before}\nname = \"ttyplugd\"\n");
        repository.edit(name, &format!("{ours}{version}"), &format!("{ours}{other}"));
        repository.commit("2000-01-02");
        repository.refuses(&[&format!("{name} has another version")]);
    }
}

#[test]
fn a_changelog_that_does_not_tell_of_the_release_is_refused() {
    let heading = format!("## {VERSION} - 2000-01-02");
    let no_heading = format!("has no heading \"## {VERSION}");
    let nothing = format!("says nothing of {VERSION}");
    let unreleased = "changes that are still unreleased";
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            &heading,
            "## 987.6.5 - 2000-01-02",
            &[&no_heading, &nothing],
        ),
        (&heading, &format!("## {VERSION}"), &[&no_heading, &nothing]),
        (&heading, &format!("## {VERSION} - soon"), &[&no_heading]),
        ("- One.\n", "\n", &[&nothing]),
        ("- One.\n", "## 0.0.1 - 1999-01-01\n\n- One.\n", &[&nothing]),
        (
            "## Unreleased\n",
            "## Unreleased\n\n- Two.\n",
            &[unreleased],
        ),
    ];
    for (from, to, words) in cases {
        let repository = Repository::new();
        repository.edit("CHANGELOG.md", from, to);
        repository.commit("2000-01-02");
        repository.refuses(words);
    }
}

#[test]
fn a_page_that_was_changed_after_its_date_is_refused() {
    let repository = Repository::new();
    repository.edit("man/ttyplugd.8", ".Sh NAME", ".\\\" Changed.\n.Sh NAME");
    repository.commit("2099-01-02");
    repository.refuses(&["and was changed on 2099-01-02"]);
}

#[test]
fn a_commit_that_is_not_the_tagged_one_is_refused() {
    let repository = Repository::new();
    repository.git(&["tag", &format!("v{VERSION}")]);
    repository.edit("CHANGELOG.md", "- One.", "- Two.");
    repository.commit("2000-01-02");
    repository.refuses(&[&format!("the tag v{VERSION} is on another commit")]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let repository = Repository::new();
    repository.edit("CHANGELOG.md", "- One.\n", "");
    fs::write(repository.file("forgotten"), "").expect("it is ours");
    let nothing = format!("says nothing of {VERSION}");
    repository.refuses(&["are not committed", &nothing]);
}

#[test]
fn a_release_without_packages_is_not_made() {
    let repository = Repository::new();
    let output = repository.release(&["make", VERSION]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    has_words(output.stderr, &["there is no package"]);
    assert!(!repository.file("target").exists());
}
