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

use crate::hold::protocol::{FromKeeper, ToKeeper, VERSION, line};
use crate::hold::run_dir::{is_keeper_of, keeper_name, keepers, unready};
use crate::model::inventory::ContainerId;
use crate::runtime::exchange::exchange;
use crate::sys::child;
use crate::sys::socket::bind;

/// How long a keeper may take to start, and to answer for the first time.
const LIMIT: Duration = Duration::from_secs(10);

/// The socket of a keeper that is about to be started.
pub(super) fn new_socket(run_dir: &Path, id: &ContainerId) -> anyhow::Result<PathBuf> {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    anyhow::ensure!(id.short().bytes().all(is_plain), "invalid container id");
    let mut random = [0u8; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(keepers(run_dir).join(keeper_name(id, u64::from_ne_bytes(random))))
}

/// Starts a keeper, gives it its ports, and waits until it has answered.
pub(super) fn start(
    run_dir: &Path,
    id: &ContainerId,
    socket: &Path,
    first: &ToKeeper,
) -> anyhow::Result<()> {
    let started = spawn(run_dir, id, socket).and_then(|()| {
        let answer: FromKeeper = exchange(socket, first, LIMIT)?;
        anyhow::ensure!(answer.container == id.0, "it belongs to another container");
        Ok(())
    });
    started
        .inspect_err(|_| drop(fs::remove_file(socket)))
        .context("cannot start the keeper")
}

fn spawn(run_dir: &Path, id: &ContainerId, socket: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(keepers(run_dir))?;
    // Under its own name it appears when it can be connected to.
    let early = unready(socket);
    let listener = bind(&early)?;
    fs::rename(&early, socket)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--run-dir")
        .arg(run_dir)
        .args(["keeper", "start", &id.0])
        .arg(socket)
        .arg(std::process::id().to_string())
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let status = child::output(&mut command, LIMIT)?.status;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}

/// Has the keepers of a container release everything, since a program that waits in open(2) may not
/// be able to end.
pub(super) fn release_all(run_dir: &Path, id: &ContainerId) {
    let message = ToKeeper {
        ttyplugd: VERSION,
        let_all_go: true,
        ..ToKeeper::default()
    };
    let entries = fs::read_dir(keepers(run_dir)).into_iter().flatten();
    for entry in entries.flatten() {
        if is_keeper_of(&entry.file_name().to_string_lossy(), id) {
            let connected = UnixStream::connect(entry.path());
            let _ = connected.and_then(|mut keeper| keeper.write_all(&line(&message)));
        }
    }
}
