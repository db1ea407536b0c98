//! Containers, made with the docker or the podman command as a user makes them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use ttyplugd::model::RUNTIME_NAMES;

use super::entry::{Entry, Watch};
use super::port::Port;
use super::wait::{eventually, output, run};

/// A container that is about to be created.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    engine: &'static str,
    name: String,
    image: String,
    network: String,
    arguments: Vec<String>,
    command: Vec<String>,
}

impl Recipe {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            engine: "docker",
            name: name.into(),
            image: "busybox".into(),
            network: "none".into(),
            arguments: Vec::new(),
            command: Vec::new(),
        }
    }

    /// With Podman, see `testbed::Podman`.
    pub(crate) fn podman(mut self) -> Self {
        self.engine = "podman";
        self
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

    /// Under the runtime `ttyplug`.
    pub(crate) fn wrapped(self) -> Self {
        self.with(&["--runtime", "ttyplug"])
    }

    pub(crate) fn label(self, label: &str) -> Self {
        self.with(&["--label", label])
    }

    /// The command that it runs in place of one that sleeps.
    pub(crate) fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|&a| a.into()).collect();
        self
    }

    pub(crate) fn create(self) -> Container {
        self.call(&["create"])
    }

    /// Created and started by one command.
    pub(crate) fn run(self) -> Container {
        self.call(&["run", "--detach"])
    }

    fn call(self, verb: &[&str]) -> Container {
        let named = [verb, &["--name", &self.name, "--network", &self.network]].concat();
        let mut command: Vec<String> = named.into_iter().map(String::from).collect();
        // sleep does not end at SIGTERM when it is process 1.
        command.extend(["--stop-timeout", "1"].map(String::from));
        command.extend(self.arguments);
        command.push(format!("ttyplugd-test/{}", self.image));
        command.extend(self.command);
        run(self.engine, &command);
        Container {
            engine: self.engine,
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
    engine: &'static str,
    name: String,
    root: RefCell<PathBuf>,
}

impl Container {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `docker ARGUMENTS NAME`, or `podman ARGUMENTS NAME`
    #[track_caller]
    pub(crate) fn docker(&self, arguments: &[&str]) {
        run(self.engine, &[arguments, &[&self.name]].concat());
        self.root.take();
    }

    pub(crate) fn rename(&mut self, name: &str) {
        run(self.engine, &["rename", &self.name, name]);
        self.name = name.into();
    }

    pub(crate) fn inspect(&self, format: &str) -> String {
        run(self.engine, &["inspect", "--format", format, &self.name])
    }

    /// Runs a shell script in it as root, which has to succeed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        run(
            self.engine,
            &["exec", "-u", "0", &self.name, "/bin/sh", "-c", script],
        )
    }

    /// The same, without waiting for its end.
    pub(crate) fn sh_detached(&self, script: &str) {
        let exec = ["exec", "--detach", "-u", "0", &self.name];
        run(
            self.engine,
            &[&exec[..], &["/bin/sh", "-c", script]].concat(),
        );
    }

    /// The output of its own program.
    pub(crate) fn logs(&self) -> String {
        run(self.engine, &["logs", &self.name])
    }

    #[track_caller]
    pub(crate) fn does_not_start(&self) {
        let started = output(self.engine, &["start", &self.name]);
        assert!(!started.status.success(), "container {} runs", self.name);
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
    #[track_caller]
    pub(crate) fn gets(&self, path: &str, expected: &Entry) {
        let what = format!("{path} in container {} is {expected:?}", self.name);
        eventually(&what, || self.at(path), |found| found == expected);
    }

    #[track_caller]
    pub(crate) fn loses(&self, path: &str) {
        self.gets(path, &Entry::Absent);
    }

    /// Waits until it has the port: the node at its place, and the links that lead to it.
    #[track_caller]
    pub(crate) fn has_port(&self, port: &Port) {
        self.gets(&port.container_node(), &port.entry());
        for link in port.links() {
            self.gets(&link, &port.link_at(&link));
        }
    }

    /// Waits until nothing is left of the port.
    #[track_caller]
    pub(crate) fn lacks_port(&self, port: &Port) {
        self.loses(&port.container_node());
        for link in port.links() {
            self.loses(&link);
        }
    }

    /// Waits until it has these ports and nothing else, see [`Container::own_names`].
    #[track_caller]
    pub(crate) fn has_only(&self, ports: &[&Port]) {
        for port in ports {
            self.has_port(port);
        }
        let names = |port: &&Port| [port.links(), vec![port.container_node()]].concat();
        let mut expected: Vec<String> = ports.iter().flat_map(names).collect();
        expected.sort();
        let what = format!("container {} has {expected:?} in /dev", self.name);
        eventually(&what, || self.own_names(), |found| *found == expected);
    }

    /// See [`names_below`].
    pub(crate) fn own_names(&self) -> Vec<String> {
        names_below(&self.root())
    }
}

/// Everything in the /dev of a container with this root directory but what the container runtime
/// puts there.
pub(crate) fn names_below(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    collect(&root.join("dev"), Path::new("/dev"), &mut names);
    names.sort();
    names
}

fn collect(directory: &Path, below: &Path, names: &mut Vec<String>) {
    let Ok(entries) = directory.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        let name = below.join(entry.file_name());
        if below == Path::new("/dev")
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
        // The next test removes a container that is left here.
        output(self.engine, &["rm", "--force", &self.name]);
    }
}
