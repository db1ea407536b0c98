//! Several engines at once: each is followed by itself, and containers of both are told apart.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::testbed::{
    Container, Daemon, Entry, Process, Recipe, Testbed, output, run, test_dir, until,
};

use nix::sys::signal::Signal;

use super::grants::{may_open, opened};
use super::setup::{RULE, port_for, stick};

/// A second dockerd, with a containerd's namespace of its own.
struct Second {
    directory: PathBuf,
    process: Option<Process>,
}

impl Second {
    fn beside(bed: &Testbed) -> Self {
        let directory = bed.file("second");
        fs::create_dir(&directory).expect("a directory can be made");
        fs::write(directory.join("daemon.json"), "{}").expect("a file can be written");
        Self {
            directory,
            process: None,
        }
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.directory.display())
    }

    fn name(&self) -> String {
        format!("{}/docker.sock", self.directory.display())
    }

    fn start(&mut self) {
        let file = |name: &str| self.directory.join(name);
        let _ = fs::remove_file(file("pid"));
        let mut command = Command::new("dockerd");
        command.args(["--host", &self.host()]);
        command.arg("--config-file").arg(file("daemon.json"));
        command.arg("--pidfile").arg(file("pid"));
        command.arg("--data-root").arg(file("data"));
        command.arg("--exec-root").arg(file("exec"));
        command
            .arg("--containerd")
            .arg(test_dir().join("containerd.sock"));
        command.args(["--containerd-namespace", "second"]);
        command.args(["--containerd-plugins-namespace", "plugins.second"]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.args([
            "--ip-forward=false",
            "--userland-proxy=false",
            "--live-restore",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        self.process = Some(Process::start(&mut command));
        until("the second engine answers", || {
            output("docker", &["--host", &self.host(), "version"])
                .status
                .success()
        });
    }

    fn kill(&mut self) {
        self.process.take();
    }

    fn docker(&self, arguments: &[&str]) -> String {
        run("docker", &[&["--host", &self.host()], arguments].concat())
    }

    /// Starts the container "zwave".
    fn zwave(&self) -> PathBuf {
        let directory = test_dir();
        let images = directory.parent().expect("it is a lane's").join("images");
        let image = images.join("busybox.tar").display().to_string();
        let command = "CMD [\"sleep\", \"1000000\"]";
        self.docker(&[
            "import",
            "--change",
            command,
            "--change",
            "ENV PATH=/bin",
            &image,
            "busybox",
        ]);
        let create = ["run", "--detach", "--name", "zwave", "--network", "none"];
        self.docker(&[&create[..], &RULE, &["busybox"]].concat());
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}", "zwave"]);
        format!("/proc/{pid}/root").into()
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        if self.process.is_some() {
            output(
                "docker",
                &["--host", &self.host(), "rm", "--force", "zwave"],
            );
        }
    }
}

/// A daemon that goes by its configuration alone.
fn daemon(bed: &Testbed) -> Daemon {
    bed.daemon_at("")
}

#[test]
fn containers_of_two_engines_have_their_port_and_each_engine_is_lost_and_found_by_itself() {
    let bed = Testbed::new();
    let mut second = Second::beside(&bed);
    let first = std::env::var("DOCKER_HOST").expect("the lane has an engine");
    let engines = format!("engines = [{first:?}, {:?}]\n", second.host());
    bed.configure(&(engines + &port_for("\"zwave\"", "/dev/zwave", "")));
    let own = Recipe::new("zwave").with(&RULE).start();
    let daemon = daemon(&bed);
    daemon.logs(&["second/docker.sock", "does not answer"]);

    // It is found when it comes.
    second.start();
    let other = second.zwave().join("dev/zwave");
    let port = stick(63).at("/dev/zwave");
    port.plug();
    let is_there = || Entry::at(&other) == port.entry();
    own.has_port(&port);
    until("the container of the second engine has the port", is_there);
    told_apart(&bed, [&path(&first), &second.name()], &own);

    // Its containers are served without it, as those of a lone engine are.
    second.kill();
    daemon.logs_again(1, &["second/docker.sock", "does not answer"]);
    port.unplug();
    own.lacks_port(&port);
    until("the port is gone", || Entry::at(&other) == Entry::Absent);
    let status = bed.status().expect("the daemon answers");
    let error = status["engine_error"].as_str().unwrap_or_default();
    assert!(error.contains(&second.name()), "{status}");
    assert_eq!(status["engine"], true);

    second.start();
    daemon.logs_again(2, &["connected to the engine"]);
    port.plug();
    own.has_port(&port);
    until("the container of the second engine has the port", is_there);
    drop(daemon);
}

/// The name of an engine that the configuration names.
fn path(host: &str) -> String {
    let path = host.strip_prefix("unix://");
    path.expect("it is a unix socket").to_owned()
}

/// Two containers of the same name are two rows.
fn told_apart(bed: &Testbed, expected: [&str; 2], own: &Container) {
    until("both are ready", || {
        let status = bed.status()?;
        let rows = status["ports"].as_array().cloned().unwrap_or_default();
        let ready = rows.iter().filter(|row| row["state"] == "ready");
        let engines: Vec<_> = ready.map(|row| row["engine"].as_str()).collect();
        let named: Vec<_> = rows.iter().map(|row| row["container"].as_str()).collect();
        let has = |engine: &&str| engines.contains(&Some(*engine));
        let fits = engines.len() == 2 && expected.iter().all(has);
        match fits && named == [Some(own.name()); 2] {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
    let metrics = run(
        "curl",
        &[
            "--silent",
            "--unix-socket",
            &bed.file("run/api.sock").display().to_string(),
            "http://localhost/metrics",
        ],
    );
    for engine in expected {
        let line = format!("ttyplugd_engine_up{{engine=\"{engine}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[test]
fn an_engine_that_the_configuration_names_no_longer_is_forgotten_at_the_reload() {
    let bed = Testbed::new();
    let mut second = Second::beside(&bed);
    second.start();
    let first = std::env::var("DOCKER_HOST").expect("the lane has an engine");
    let port_text = port_for("\"zwave\"", "/dev/zwave", "");
    bed.configure(&format!(
        "engines = [{first:?}, {:?}]\n{port_text}",
        second.host()
    ));
    let other = second.zwave().join("dev/zwave");
    let daemon = daemon(&bed);
    let port = stick(63).at("/dev/zwave");
    port.plug();
    until("the container of the second engine has the port", || {
        Entry::at(&other) == port.entry()
    });
    bed.configure(&format!("engines = [{first:?}]\n{port_text}"));
    daemon.reload();
    until("its container is no longer in the status", || {
        let status = bed.status()?;
        match status["ports"].as_array().is_some_and(Vec::is_empty) {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
    bed.configure(&format!(
        "engines = [{first:?}, {:?}]\n{port_text}",
        second.host()
    ));
    daemon.reload();
    daemon.logs_again(2, &["connected to the engine"]);
    port.unplug();
    until("the port is gone", || Entry::at(&other) == Entry::Absent);
}

/// Its keeper knows it all the time, as a container that the wrapper has told of.
#[test]
fn a_container_with_the_runtime_loses_its_port_when_no_engine_is_named_and_gets_it_again() {
    let first = std::env::var("DOCKER_HOST").expect("the lane has an engine");
    let port_text = port_for("\"zwave\"", "/dev/zwave", "");
    let named = format!("engines = [{first:?}]\n{port_text}");
    let none = format!("engines = []\n{port_text}");
    let bed = Testbed::with_runtime(&named);
    let before = opened(&Recipe::new("plain").start());
    let running = daemon(&bed);
    let port = stick(63).at("/dev/zwave");
    port.plug();
    let container = Recipe::new("zwave").wrapped().start();
    may_open(&container, &before, &[&port]);
    for _ in 0..2 {
        bed.configure(&none);
        running.reload();
        container.lacks_port(&port);
        may_open(&container, &before, &[]);
        bed.configure(&named);
        running.reload();
        container.has_port(&port);
        may_open(&container, &before, &[&port]);
    }
    // The same with a daemon that has only just been started.
    running.end(Signal::SIGKILL);
    port.unplug();
    bed.configure(&none);
    let running = daemon(&bed);
    container.lacks_port(&port);
    may_open(&container, &before, &[]);
    drop(running);
}
