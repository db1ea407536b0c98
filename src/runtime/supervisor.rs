//! The keepers of a container, which are its seccomp supervisors: one is started for every start of
//! it, and all release their opens when it is asked to end.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::hold::description::{self, Description};
use crate::hold::protocol::{FromKeeper, ToKeeper, VERSION, line};
use crate::hold::run_dir::{is_keeper_of, is_ready, keeper_name, keepers, unready};
use crate::runtime::exchange::exchange;
use crate::runtime::oci_args::Container;
use crate::sys::child;
use crate::sys::replacement::replace;
use crate::sys::socket::bind;

/// How long a keeper may take to start, and to answer for the first time.
const LIMIT: Duration = Duration::from_secs(10);

/// The socket of a keeper that is about to be started.
pub(super) fn new_socket(run_dir: &Path, id: &str) -> anyhow::Result<PathBuf> {
    let mut random = [0u8; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(keepers(run_dir).join(keeper_name(id, u64::from_ne_bytes(random))))
}

/// Starts a keeper, gives it its ports, and waits until it has answered.
pub(super) fn start(
    run_dir: &Path,
    id: &str,
    socket: &Path,
    first: &ToKeeper,
    description: Option<&Description>,
) -> anyhow::Result<()> {
    let started = spawn(run_dir, id, socket, description).and_then(|()| {
        let answer: FromKeeper = exchange(socket, first, LIMIT)?;
        anyhow::ensure!(answer.container == id, "it belongs to another container");
        Ok(())
    });
    started
        .inspect_err(|_| {
            let _ = fs::remove_file(socket);
            let _ = fs::remove_file(description::file(socket));
        })
        .context("cannot start the keeper")
}

fn spawn(
    run_dir: &Path,
    id: &str,
    socket: &Path,
    description: Option<&Description>,
) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(keepers(run_dir))?;
    // Under its own name it appears when it can be connected to.
    let early = unready(socket);
    let listener = bind(&early)?;
    if let Some(description) = description {
        replace(&description::file(socket), &line(description))?;
    }
    fs::rename(&early, socket)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--run-dir")
        .arg(run_dir)
        .args(["keeper", "start", id])
        .arg(socket)
        .arg(std::process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let status = child::output(&mut command, LIMIT)?.status;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}

/// Whether a keeper is not that of another container whose id begins with the same characters, or is the
/// same elsewhere.
fn may_be_of(socket: &Path, container: &Container) -> bool {
    let text = fs::read(description::file(socket)).unwrap_or_default();
    let described = serde_json::from_slice::<Description>(&text);
    described.map_or(true, |its| {
        its.container == container.id && its.root == container.root
    })
}

/// Has the keepers of a container release everything, since a program that waits in open(2) may not
/// be able to end.
pub(super) fn release_all(run_dir: &Path, container: &Container) {
    let message = ToKeeper {
        ttyplugd: VERSION,
        let_all_go: true,
        ..ToKeeper::default()
    };
    let entries = fs::read_dir(keepers(run_dir)).into_iter().flatten();
    for entry in entries.flatten() {
        let name = entry.file_name();
        if is_ready(Path::new(&name)) && is_keeper_of(&name.to_string_lossy(), &container.id) {
            if !may_be_of(&entry.path(), container) {
                continue;
            }
            let connected = UnixStream::connect(entry.path());
            let _ = connected.and_then(|mut keeper| keeper.write_all(&line(&message)));
        }
    }
}
