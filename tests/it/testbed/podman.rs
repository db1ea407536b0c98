//! A private Podman beside the private Docker. What it reads and writes is the lane's own
//! (tests/lane.sh).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::Process;
use super::wait::{output, run, until};
use super::{RUNTIME, Testbed, test_dir};

/// Where its service listens.
const SOCKET: &str = "/run/podman/podman.sock";

/// What registers the runtime.
const DROP_IN: &str = "/etc/containers/containers.conf.d/60-test.conf";

/// Podman with its service running, the images of the tests, and no container. It knows the runtime
/// `ttyplug`, which uses the files of a bed.
#[derive(Debug)]
pub(crate) struct Podman(Process);

impl Podman {
    /// The address of its service.
    pub(crate) const HOST: &str = "unix:///run/podman/podman.sock";

    pub(crate) fn start(bed: &Testbed) -> Self {
        test_dir();
        register(bed);
        remove_all();
        import();
        Self(service())
    }

    /// From now on it does not know the runtime.
    pub(crate) fn forget_runtime(&self) {
        fs::remove_file(DROP_IN).expect("it is there");
    }

    /// Ends the service. Who connects to its socket starts it again, as systemd does by podman.socket, and
    /// it takes that long.
    pub(crate) fn activate_after(&mut self, delay: Duration) {
        let _ = fs::remove_file(SOCKET);
        let service = format!(
            "sleep {}; exec podman system service --time 0",
            delay.as_secs()
        );
        let mut command = Command::new("systemd-socket-activate");
        command.args(["--listen", SOCKET, "sh", "-c", &service]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.0 = Process::start(command.stderr(Stdio::piped()));
        until("it listens", || Path::new(SOCKET).exists());
    }

    /// Ends the service, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.0 = service();
    }
}

/// containers.conf(5) has no arguments of a runtime, so it is a script that has them.
fn register(bed: &Testbed) {
    let runtime = bed.file("podman-runtime");
    let files = bed.file_options().join(" ");
    let script = format!("#!/bin/sh\nexec {RUNTIME} {files} \"$@\"\n");
    fs::write(&runtime, script).expect("a file can be written");
    fs::set_permissions(&runtime, Permissions::from_mode(0o755)).expect("it is ours");
    let drop_in = format!("[engine.runtimes]\nttyplug = [{runtime:?}]\n");
    let directory = Path::new(DROP_IN).parent().expect("it has one");
    fs::create_dir_all(directory).expect("it is the lane's own");
    fs::write(DROP_IN, drop_in).expect("it is the lane's own");
}

fn remove_all() {
    output("podman", &["rm", "--all", "--force", "--time", "0"]);
}

fn import() {
    if output("podman", &["image", "exists", "ttyplugd-test/busybox"])
        .status
        .success()
    {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images.sh");
    let images = test_dir().join("..");
    run(
        &script.to_string_lossy(),
        &["import", &images.to_string_lossy(), "podman"],
    );
}

fn service() -> Process {
    let _ = fs::remove_file(SOCKET);
    fs::create_dir_all(Path::new(SOCKET).parent().expect("it has one")).expect("/run is ours");
    let mut command = Command::new("podman");
    command.args(["system", "service", "--time", "0"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let service = Process::start(command.stderr(Stdio::piped()));
    until("Podman answers", || {
        let answer = output("podman", &["--url", Podman::HOST, "info"]);
        match answer.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&answer.stderr).into_owned()),
        }
    });
    service
}

impl Drop for Podman {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        remove_all();
        for file in [DROP_IN, SOCKET] {
            let _ = fs::remove_file(file);
        }
        if std::thread::panicking() {
            eprintln!("--- the log of Podman's service\n{}\n---", self.0.text());
        }
    }
}
