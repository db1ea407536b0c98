//! Containers, made with the docker command as a user makes them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::entry::{Entry, Watch};
use super::wait::{SOON, eventually, output, run};

/// A container that is about to be created.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    name: String,
    image: String,
    network: String,
    arguments: Vec<String>,
    command: Vec<String>,
}

impl Recipe {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            image: "busybox".into(),
            network: "none".into(),
            arguments: Vec::new(),
            command: Vec::new(),
        }
    }

    /// One of the images of tests/images.sh; busybox unless another is named.
    pub(crate) fn image(mut self, image: &str) -> Self {
        self.image = image.into();
        self
    }

    /// `none` unless another is named.
    pub(crate) fn network(mut self, network: &str) -> Self {
        self.network = network.into();
        self
    }

    /// Arguments of `docker create`.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&a| a.into()));
        self
    }

    pub(crate) fn label(self, label: &str) -> Self {
        self.with(&["--label", label])
    }

    /// What it runs in place of a program that sleeps.
    pub(crate) fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|&a| a.into()).collect();
        self
    }

    pub(crate) fn create(self) -> Container {
        let mut command: Vec<String> = ["create", "--name", &self.name, "--network", &self.network]
            .map(String::from)
            .into();
        // sleep does not end at SIGTERM when it is process 1.
        command.extend(["--stop-timeout", "1"].map(String::from));
        command.extend(self.arguments);
        command.push(format!("ttyplugd-test/{}", self.image));
        command.extend(self.command);
        run("docker", &command);
        Container {
            name: self.name,
            root: RefCell::default(),
        }
    }

    pub(crate) fn start(self) -> Container {
        let container = self.create();
        container.docker(&["start"]);
        container
    }
}

/// A container; it is removed when the test is done with it.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    root: RefCell<PathBuf>,
}

impl Container {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `docker ARGUMENTS NAME`
    pub(crate) fn docker(&self, arguments: &[&str]) {
        run("docker", &[arguments, &[&self.name]].concat());
        self.root.take();
    }

    pub(crate) fn rename(&mut self, name: &str) {
        run("docker", &["rename", &self.name, name]);
        self.name = name.into();
    }

    pub(crate) fn inspect(&self, format: &str) -> String {
        run("docker", &["inspect", "--format", format, &self.name])
    }

    /// Runs a shell script in it as root, which has to succeed.
    pub(crate) fn sh(&self, script: &str) -> String {
        run(
            "docker",
            &["exec", "-u", "0", &self.name, "/bin/sh", "-c", script],
        )
    }

    /// Where its files are seen from the host.
    pub(crate) fn root(&self) -> PathBuf {
        if !self.root.borrow().is_dir() {
            let pid = self.inspect("{{.State.Pid}}");
            assert_ne!(pid, "0", "container {} does not run", self.name);
            self.root.replace(format!("/proc/{pid}/root").into());
        }
        self.root.borrow().clone()
    }

    /// The host's path of an absolute path in it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(crate) fn at(&self, path: &str) -> Entry {
        Entry::at(&self.path(path))
    }

    pub(crate) fn watch(&self, path: &str) -> Watch {
        Watch::start(self.path(path))
    }

    /// Waits until `path` is as expected.
    pub(crate) fn gets(&self, path: &str, expected: &Entry) {
        let what = format!("{path} in container {} is {expected:?}", self.name);
        eventually(SOON, &what, || {
            let found = self.at(path);
            (found == *expected)
                .then_some(())
                .ok_or_else(|| format!("it is {found:?}"))
        });
    }

    pub(crate) fn loses(&self, path: &str) {
        self.gets(path, &Entry::Absent);
    }

    /// Waits until [`Container::own_names`] are these, given in alphabetical order.
    pub(crate) fn has_exactly(&self, expected: &[&str]) {
        let what = format!("container {} has {expected:?} in /dev", self.name);
        eventually(SOON, &what, || {
            let found = self.own_names();
            (found == expected)
                .then_some(())
                .ok_or_else(|| format!("it has {found:?}"))
        });
    }

    /// Everything below /dev but what the container runtime puts there.
    pub(crate) fn own_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.path("/dev"), Path::new(""), &mut names);
        names.sort();
        names
    }
}

/// OCI runtime-spec, config-linux.md, "Default Devices", and config.md, "/dev symbolic links".
const RUNTIME_NAMES: [&str; 16] = [
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
    "stdin", "stdout", "tty", "urandom", "zero",
];

fn collect(directory: &Path, below: &Path, names: &mut Vec<String>) {
    let Ok(entries) = directory.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        let name = below.join(entry.file_name());
        if below == Path::new("")
            && RUNTIME_NAMES
                .iter()
                .any(|known| entry.file_name() == *known)
        {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), &name, names);
        } else {
            names.push(name.to_string_lossy().into_owned());
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What a failed test could not remove is removed before the next one begins.
        output("docker", &["rm", "--force", &self.name]);
    }
}
