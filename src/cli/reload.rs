//! Puts a change of the configuration in force.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;

use crate::cli::client::{Watcher, no_answer};
use crate::cli::progress;
use crate::sys::pidfd::Signal;
use crate::sys::trusted_file::WholeFile;

/// How long the daemon may take to read its files.
const LIMIT: Duration = Duration::from_secs(10);

/// Has the daemon read the configuration again, in which this file has changed. If the daemon rejects
/// it, the file is restored.
///
/// # Errors
/// The daemon has rejected it, or nothing is known of the daemon.
pub(super) async fn reload(run_dir: &Path, file: &WholeFile) -> anyhow::Result<()> {
    match read_again(run_dir).await {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => {
            file.restore()?;
            let path = file.path().display();
            // That the daemon is content again is not what the operator has to know.
            let _ = read_again(run_dir).await;
            anyhow::bail!("ttyplugd rejects the configuration, so {path} is as before: {reason}")
        }
        Err(error) => Err(error.context(format!(
            "{} has changed, and the daemon has not read it; it will when it starts (systemctl enable \
             --now ttyplugd)",
            file.path().display()
        ))),
    }
}

/// Returns why the daemon has rejected the configuration.
async fn read_again(run_dir: &Path) -> anyhow::Result<Option<String>> {
    let work = timeout(LIMIT, signal_and_wait(run_dir));
    let work = progress::shown(work, || "for the daemon to read its configuration".into());
    work.await.with_context(|| no_answer(run_dir))?
}

async fn signal_and_wait(run_dir: &Path) -> anyhow::Result<Option<String>> {
    let mut watcher = Watcher::connect(run_dir).await?;
    let first = watcher.next().await.with_context(|| no_answer(run_dir))?;
    let old = "its version is too old to say what it has read: systemctl restart ttyplugd";
    let before = first.reloads.context(old)?;
    watcher.signal(Signal::HUP)?;
    loop {
        let status = watcher.next().await.with_context(|| no_answer(run_dir))?;
        if status.reloads != Some(before) {
            return Ok(status.config_error);
        }
    }
}
