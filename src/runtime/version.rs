//! The version of the real runtime: whether it can pass a seccomp listener on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::runtime::options::Options;
use crate::runtime::{oci_args, real};
use crate::sys::child;
use crate::sys::replacement::replace;

/// How long the runtime may take to tell its version.
pub const LIMIT: Duration = Duration::from_secs(5);

/// The runtime is asked once for its version, and again when its file has changed.
pub(super) fn check(options: &Options) -> anyhow::Result<()> {
    let runtime = real::find(options.runtime.as_deref())?;
    let path =
        child::find(&runtime).with_context(|| format!("there is no {}", runtime.display()))?;
    let stat = fs::metadata(&path)?;
    let key = format!("{} {} {}", path.display(), stat.size(), stat.mtime());
    let cache = options.run_dir.join("runtime-version");
    let known = fs::read_to_string(&cache).unwrap_or_default();
    let version = match known.split_once('\n') {
        Some((known_key, version)) if known_key == key => version.to_owned(),
        _ => {
            let version = ask(&path)?;
            let _ = replace(&cache, format!("{key}\n{version}").as_bytes());
            version
        }
    };
    oci_args::can_notify(&version).map_err(anyhow::Error::msg)
}

fn ask(runtime: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(runtime);
    command.arg("--version").stdin(Stdio::null());
    let output = child::output(&mut command, LIMIT);
    let output = output.with_context(|| format!("{} --version", runtime.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
