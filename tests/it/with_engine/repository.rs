//! The apt repository that `make apt-repository` makes, read by this machine's apt-get with a root of
//! its own. These tests need no engine, but programs that `make test` installs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::testbed::{has_words, output, run};

/// A directory with a package, gpg's directory with two keys, and the repository.
struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().expect("there is room below /tmp");
        let scene = Self { directory };
        scene.make_package("1.0.0");
        for key in ["ours@ttyplugd.example", "other@ttyplugd.example"] {
            let ed25519 = ["--quick-generate-key", key, "ed25519", "sign", "never"];
            scene.gpg(&[&["--passphrase", ""], &ed25519[..]].concat());
        }
        scene
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    fn make_package(&self, version: &str) {
        let control = self.file("package/DEBIAN/control");
        fs::create_dir_all(control.parent().expect("it has one")).expect("a directory");
        let text = format!(
            "Package: ttyplugd\nVersion: {version}\nArchitecture: amd64\nMaintainer: us <us@x>\n\
             Description: a package\n"
        );
        fs::write(control, text).expect("a file can be written");
        let deb = self.path(&format!("ttyplugd_{version}_amd64.deb"));
        run("dpkg-deb", &["--build", &self.path("package"), &deb]);
    }

    fn gpg(&self, arguments: &[&str]) {
        let home = self.path("gpg");
        fs::create_dir_all(&home).expect("a directory");
        let options = [
            "--homedir",
            &home,
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
        ];
        run("gpg", &[&options, arguments].concat());
    }

    /// What the Makefile calls.
    fn make_with(&self, key: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/apt-repository.sh");
        let packages = fs::read_dir(self.directory.path()).expect("it is there");
        let packages = packages.map(|entry| entry.expect("it is there").path());
        let mut command = Command::new(script);
        command.args([key, &self.path("repository")]);
        command.args(packages.filter(|file| file.extension().is_some_and(|word| word == "deb")));
        let command = command.env("GNUPGHOME", self.file("gpg"));
        command.output().expect("the script runs")
    }

    fn make(&self) {
        let output = self.make_with("ours@ttyplugd.example");
        assert!(output.status.success(), "{output:?}");
    }

    /// A machine that has the key of the repository as it was made first, and nothing else.
    fn machine(&self) -> Machine {
        let root = TempDir::new().expect("there is room below /tmp");
        let machine = Machine { root };
        for directory in [
            "etc/apt.conf.d",
            "etc/preferences.d",
            "state/lists/partial",
            "cache/archives/partial",
        ] {
            fs::create_dir_all(machine.root.path().join(directory)).expect("a directory");
        }
        let sources = format!(
            "Types: deb\nURIs: file:{}\nSuites: stable\nComponents: main\nSigned-By: {}\n",
            self.path("repository"),
            self.path("key.asc"),
        );
        machine.write("etc/ttyplugd.sources", &sources);
        machine.write("status", "");
        machine
    }

    /// The key as the operator got it once.
    fn keep_key(&self) {
        fs::copy(self.file("repository/ttyplugd.asc"), self.file("key.asc")).expect("it is there");
    }

    /// Changes a file of the repository.
    fn edit(&self, name: &str, edit: impl Fn(String) -> String) {
        let file = self.file("repository").join(name);
        let text = fs::read_to_string(&file).expect("it is there");
        let edited = edit(text.clone());
        assert_ne!(edited, text, "{name} is to be changed");
        fs::write(file, edited).expect("it is ours");
    }
}

impl Drop for Scene {
    /// gpg has started its agent.
    fn drop(&mut self) {
        output(
            "gpgconf",
            &["--homedir", &self.path("gpg"), "--kill", "all"],
        );
    }
}

/// A root of its own for apt.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.path().join(name), text).expect("a file can be written");
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Output {
        let root = self.root.path().display();
        // Read before apt looks for any other configuration (apt.conf(5)).
        let settings = format!(
            "Dir \"{root}\";\nDir::State \"state\";\nDir::State::status \"{root}/status\";\n\
             Dir::Cache \"cache\";\nDir::Etc \"etc\";\nDir::Etc::sourcelist \"ttyplugd.sources\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
             APT::Sandbox::User \"root\";\n"
        );
        self.write("apt.conf", &settings);
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.root.path().join("apt.conf"));
        let command = command.args(arguments).current_dir(self.root.path());
        command.output().expect("apt runs")
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let output = self.apt("apt-get", arguments);
        assert!(!output.status.success(), "{output:?}");
        has_words(output.stderr, words);
    }

    #[track_caller]
    fn does(&self, arguments: &[&str]) {
        let output = self.apt("apt-get", arguments);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

const UPDATE: [&str; 1] = ["update"];
const DOWNLOAD: [&str; 2] = ["download", "ttyplugd"];

#[test]
fn apt_finds_the_package_in_the_repository() {
    let scene = Scene::new();
    scene.make();
    scene.keep_key();
    let machine = scene.machine();
    machine.does(&UPDATE);
    machine.does(&DOWNLOAD);
    let got = fs::read(machine.root.path().join("ttyplugd_1.0.0_amd64.deb"));
    let sent = fs::read(scene.file("ttyplugd_1.0.0_amd64.deb"));
    assert_eq!(got.expect("it is there"), sent.expect("it is there"));

    scene.make_package("1.0.1");
    scene.make();
    machine.does(&UPDATE);
    let policy = machine.apt("apt-cache", &["policy", "ttyplugd"]);
    has_words(policy.stdout, &["Candidate: 1.0.1"]);
}

#[test]
fn apt_rejects_a_repository_that_was_changed_or_that_another_key_signed() {
    let scene = Scene::new();
    scene.make();
    scene.keep_key();
    scene.edit("dists/stable/InRelease", |text| {
        text.replace("main", "niam")
    });
    scene.machine().refuses(&UPDATE, &["not signed"]);

    scene.make();
    let unsigned = |text: String| {
        let (_, text) = text.split_once("\n\n").expect("a signed text has a head");
        let (text, _) = text.split_once("-----BEGIN").expect("it has a signature");
        text.to_owned()
    };
    scene.edit("dists/stable/InRelease", unsigned);
    scene.machine().refuses(&UPDATE, &["InRelease"]);

    scene.make();
    let packages = "dists/stable/main/binary-amd64/Packages";
    scene.edit(packages, |text| text.replace("1.0.0", "9.0.0"));
    let packages = scene.path(&format!("repository/{packages}"));
    run("gzip", &["--force", "--keep", &packages]);
    scene.machine().refuses(&UPDATE, &["Hash Sum mismatch"]);

    let output = scene.make_with("other@ttyplugd.example");
    assert!(output.status.success(), "{output:?}");
    scene.machine().refuses(&UPDATE, &["not signed"]);
}

#[test]
fn apt_rejects_a_package_that_was_changed() {
    let scene = Scene::new();
    scene.make();
    scene.keep_key();
    let machine = scene.machine();
    machine.does(&UPDATE);
    let package = scene.file("repository/pool/main/ttyplugd_1.0.0_amd64.deb");
    let mut bytes = fs::read(&package).expect("it is there");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs::write(package, bytes).expect("it is ours");
    machine.refuses(&DOWNLOAD, &["Hash Sum mismatch"]);
}

#[test]
fn without_its_key_or_a_package_no_repository_is_made_and_the_old_one_stays() {
    let scene = Scene::new();
    scene.make();
    for (key, words) in [
        ("", "which key"),
        ("nobody@ttyplugd.example", "no secret key"),
    ] {
        let output = scene.make_with(key);
        assert!(!output.status.success(), "{output:?}");
        has_words(output.stderr, &[words]);
    }
    fs::remove_file(scene.file("ttyplugd_1.0.0_amd64.deb")).expect("it is there");
    let output = scene.make_with("ours@ttyplugd.example");
    has_words(output.stderr, &["no package"]);
    assert!(scene.file("repository/dists/stable/InRelease").exists());
    assert!(!scene.file("repository.new").exists());
}
