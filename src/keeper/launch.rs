//! How a keeper is started: `ttyplug-runtime keeper`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::keeper::{self, Birth};
use crate::sys::logging::{kind, short_lived};
use crate::sys::pidfd;

/// `keeper start` starts `keeper`, the keeper itself, and ends at once: the runtime then has no
/// child that it would have to reap.
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
        ["keeper", id, socket, starter] => be_keeper(run_dir, id, socket, starter),
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

fn be_keeper(run_dir: &Path, id: &str, socket: &str, starter: &str) -> anyhow::Result<()> {
    // The starter waits for our first answer, so its number is still its own.
    let starter = pidfd::open(starter.parse()?)?;
    nix::unistd::setsid().context("setsid")?;
    // It is the shim's, which containerd keeps from being killed (proc(5), oom_score_adj). To lower
    // it takes a capability, and is not needed.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    // Not to keep the bundle's directory.
    std::env::set_current_dir("/")?;
    let listener = keeper::take_over(&starter)?;
    short_lived(run_dir);
    let birth = Birth {
        container: id.to_owned(),
        socket: socket.into(),
        starter,
    };
    keeper::run(birth, &listener).context("cannot poll its sockets")
}
