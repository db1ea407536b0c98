//! Podman on this machine, asked by its own command, which needs no service (podman(1)).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::engine::daemon_json::{RUNTIME, is_wrapper};
use crate::engine::runtimes::User;
use crate::sys::child;

/// How long one command may take. It waits for containers that are being created.
const LIMIT: Duration = Duration::from_secs(30);

/// Podman, and the runtime that it gives to containers that ask for none.
#[derive(Debug)]
pub struct Podman {
    /// E.g. `4.3.1`.
    pub version: String,
    /// E.g. `crun`.
    pub default_runtime: String,
}

/// Whether Podman is installed.
pub fn is_installed() -> bool {
    child::find(Path::new("podman")).is_some()
}

/// # Errors
/// Podman does not work. The message is its own.
pub fn about() -> anyhow::Result<Podman> {
    let format = "{{.Version.Version}}\t{{.Host.OCIRuntime.Name}}";
    let said = podman(&["info", "--format", format])?;
    let (version, runtime) = said.split_once('\t').unwrap_or_default();
    Ok(Podman {
        version: version.to_owned(),
        default_runtime: runtime.to_owned(),
    })
}

/// The program of a runtime, which Podman finds in all of its files.
///
/// # Errors
/// None of them registers it, or the program is not there.
pub fn program(runtime: &str) -> anyhow::Result<String> {
    let format = "{{.Host.OCIRuntime.Path}}";
    podman(&["--runtime", runtime, "info", "--format", format])
}

/// Root's containers, running or not, whose runtime is the wrapper under any name.
///
/// # Errors
/// Podman does not work.
pub fn users() -> anyhow::Result<Vec<User>> {
    let listed = podman(&["ps", "--all", "--quiet", "--no-trunc"])?;
    let ids: Vec<&str> = listed.lines().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let format = "{{.OCIRuntime}}\t{{.State.Status}}\t{{.Name}}";
    let inspect = ["container", "inspect", "--format", format];
    let inspected = podman(&[&inspect[..], &ids].concat())?;
    let users: Vec<User> = inspected.lines().filter_map(user).collect();
    let (found, all) = (users.len(), ids.len());
    anyhow::ensure!(found == all, "podman describes {found} of {all} containers");
    let mut runtimes: BTreeSet<String> = users.iter().map(|user| user.runtime.clone()).collect();
    runtimes.retain(|runtime| is_ours(runtime));
    let is_user = |user: &User| runtimes.contains(&user.runtime);
    Ok(users.into_iter().filter(is_user).collect())
}

fn user(line: &str) -> Option<User> {
    let [runtime, state, name] = line.splitn(3, '\t').collect::<Vec<_>>().try_into().ok()?;
    Some(User {
        name: name.to_owned(),
        state: state.to_owned(),
        runtime: runtime.to_owned(),
    })
}

/// A runtime is a name, or the program itself (podman(1), --runtime).
fn is_ours(runtime: &str) -> bool {
    runtime == RUNTIME || is_wrapper(runtime) || program(runtime).is_ok_and(|its| is_wrapper(&its))
}

/// What a command says, without the last line end.
fn podman(arguments: &[&str]) -> anyhow::Result<String> {
    let program = child::find(Path::new("podman")).context("Podman is not installed")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    // They lead to another machine or another configuration (podman(1)).
    for variable in ["CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINERS_CONF"] {
        command.env_remove(variable);
    }
    let output = child::output(&mut command, LIMIT).context("podman")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "podman: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}
