//! How a keeper is started: `ttyplug-runtime keeper`.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::keeper::{self, Begin, Birth, handover};
use crate::sys::descriptors::{close_inherited, take_stdin};
use crate::sys::logging::{kind, short_lived};
use crate::sys::pidfd;

/// `keeper start` starts `keeper`, the keeper itself, and ends at once: the runtime, or the daemon,
/// then has no child that it would have to reap. A keeper gets its socket as standard input, or from
/// the daemon all that is left of the keeper before it.
pub fn run(run_dir: &Path, arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["keeper", "start", rest @ ..] => Command::new("/proc/self/exe")
            .arg("--run-dir")
            .arg(run_dir)
            .arg("keeper")
            .args(rest)
            .spawn()
            .map(drop)
            .map_err(anyhow::Error::from),
        ["keeper", id, path, starter] => create(run_dir, id, path, starter),
        ["keeper", id, path] => take_over(run_dir, id, path),
        _ => Err(anyhow::anyhow!(
            "a keeper is started by ttyplug-runtime alone"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            short_lived(run_dir);
            tracing::error!(
                message_id = kind::KEEPER_ENDED,
                "a keeper has ended: {error:#}"
            );
            ExitCode::FAILURE
        }
    }
}

fn create(run_dir: &Path, id: &str, path: &str, starter: &str) -> anyhow::Result<()> {
    // The starter waits for our first answer, so its number is still its own.
    let starter = pidfd::open(starter.parse()?)?;
    close_inherited(Some(starter.as_fd()))?;
    let socket = take_stdin()?.into();
    supervise(run_dir, id, path, socket, Begin::Create { starter })
}

fn take_over(run_dir: &Path, id: &str, path: &str) -> anyhow::Result<()> {
    close_inherited(None)?;
    let daemon = take_stdin()?.into();
    match handover::receive(daemon).context("nothing was handed over")? {
        Some((socket, left)) => supervise(run_dir, id, path, socket, Begin::TakeOver(left)),
        None => Ok(()),
    }
}

fn supervise(
    run_dir: &Path,
    id: &str,
    path: &str,
    socket: UnixListener,
    begin: Begin,
) -> anyhow::Result<()> {
    nix::unistd::setsid().context("setsid")?;
    // It is the shim's, which containerd keeps from being killed (proc(5), oom_score_adj). To lower
    // it takes a capability, and is not needed.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    // Not to keep the bundle's directory.
    std::env::set_current_dir("/")?;
    short_lived(run_dir);
    let birth = Birth {
        container: id.to_owned(),
        path: path.into(),
        socket,
        begin,
    };
    keeper::run(birth).context("cannot supervise its container")
}
