//! `ttyplugd runtime enable` and `disable` for Podman: a drop-in of our own in /etc/containers.

use std::path::Path;

use anyhow::{bail, ensure};

use super::users::{left_behind, require_none};
use super::wrapper::wrapper;
use crate::cli::output::printable;
use crate::engine::containers_conf::{DROP_IN, drop_in, is_ours};
use crate::engine::daemon_json::{PROGRAM, RUNTIME};
use crate::engine::podman;
use crate::engine::runtimes::User;
use crate::sys::trusted_file::WholeFile;

/// Registers the runtime and returns a message for the operator. Podman reads its files at each call,
/// so nothing has to be reloaded.
pub(super) fn enable() -> anyhow::Result<String> {
    let program = wrapper()?;
    let file = read()?;
    if podman::program(RUNTIME).is_ok_and(|registered| registered == program) {
        return Ok(format!(
            "ttyplug is already registered with Podman ({program}); nothing was changed"
        ));
    }
    file.replace(&drop_in(&program), |_| Ok(()))?;
    if let Err(error) = has_loaded(&program) {
        file.restore()?;
        return Err(error.context(format!("{DROP_IN} was restored")));
    }
    Ok(format!(
        "{DROP_IN}: registered ttyplug ({program})\nPodman {} has it. Containers use it with: podman \
         run --runtime ttyplug",
        printable(&podman::about()?.version)
    ))
}

fn has_loaded(program: &str) -> anyhow::Result<()> {
    let loaded = podman::program(RUNTIME)?;
    ensure!(
        loaded == program,
        "another file of Podman's has ttyplug as {}; correct it there: grep -r ttyplug /etc/containers",
        printable(&loaded)
    );
    Ok(())
}

/// Unregisters the runtime.
pub(super) struct Removal {
    file: WholeFile,
    users: Vec<User>,
}

impl Removal {
    /// Fails while containers use it, unless by force.
    pub(super) fn prepare(force: bool) -> anyhow::Result<Self> {
        let file = read()?;
        let users = users(force)?;
        Ok(Self { file, users })
    }

    /// Returns a message for the operator.
    pub(super) fn carry_out(self) -> anyhow::Result<String> {
        if self.file.text().is_none() {
            return Ok(format!(
                "{DROP_IN} is not there; nothing was changed for Podman"
            ));
        }
        self.file.remove()?;
        let left_behind = left_behind(&self.users);
        let not_stopped = match self.users.iter().any(|user| user.state == "running") {
            true => "Nor can Podman stop those that are running, until it is registered again.\n",
            false => "",
        };
        Ok(format!(
            "{DROP_IN} was removed: ttyplug is no longer registered with \
             Podman{left_behind}{not_stopped}"
        ))
    }
}

/// The file as we have written it, or none.
fn read() -> anyhow::Result<WholeFile> {
    let file = WholeFile::read(Path::new(DROP_IN))?;
    ensure!(
        file.text().is_none_or(is_ours),
        "{DROP_IN} was edited, and is not changed: move what was added to another file there, and \
         remove it"
    );
    Ok(file)
}

/// The containers that use the runtime. There may be some only if `force` is set.
fn users(force: bool) -> anyhow::Result<Vec<User>> {
    let asked = podman::about().and_then(|about| Ok((about, podman::users()?)));
    let (about, users) = match asked {
        Err(_) if force => return Ok(Vec::new()),
        Err(error) => bail!(
            "{PROGRAM} stays registered: cannot find out which containers use it: {error:#}. Try \
             again, or use --force"
        ),
        Ok(asked) => asked,
    };
    ensure!(
        about.default_runtime != RUNTIME,
        "{RUNTIME} is Podman's default runtime, and without it no container would start: remove it \
         first: grep -r ttyplug /etc/containers"
    );
    require_none(&users, force)?;
    Ok(users)
}
