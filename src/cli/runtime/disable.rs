//! `ttyplugd runtime disable` for Docker.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use super::docker_setup::DockerSetup;
use super::users::{left_behind, require_none};
use crate::cli::output::printable;
use crate::engine::daemon_json::{EngineFile, FileError, PROGRAM, Without};
use crate::engine::dockerd::{self, Dockerd};
use crate::engine::runtimes::User;
use crate::sys::trusted_file::WholeFile;

/// Unregisters the runtime and returns a message for the operator.
pub(super) async fn disable(file: Option<PathBuf>, force: bool) -> anyhow::Result<String> {
    let setup = DockerSetup::find(file).await?;
    let file = WholeFile::read(&setup.file)?;
    let (without, others) = edit(&file)?;
    let is_registered = without.is_some() || !others.is_empty();
    let users = users(&setup, is_registered, force).await?;
    let name = file.path().display();
    let others = match others.as_str() {
        "" => String::new(),
        others => format!(
            "\nThese runtimes are {PROGRAM} too, and were left in the file: {}",
            printable(others)
        ),
    };
    let Some(without) = without else {
        ensure!(
            setup.loaded_path().is_none(),
            "{name} does not register ttyplug, but Docker has loaded it: remove --add-runtime from \
             dockerd's command line, or restart Docker"
        );
        file.remove_backup()?;
        return Ok(format!(
            "ttyplug is not registered in {name}; nothing was changed{others}"
        ));
    };
    unregister(&setup, &file, &without).await?;
    let left_behind = left_behind(&users);
    Ok(format!(
        "{name}: ttyplug is no longer registered{others}{left_behind}"
    ))
}

/// The file without the runtime, and the names of other runtimes that are the wrapper too.
fn edit(file: &WholeFile) -> anyhow::Result<(Option<Without>, String)> {
    let edit = |text| {
        let parsed = EngineFile::parse(text)?;
        Ok::<_, FileError>((parsed.without()?, parsed.others().join(", ")))
    };
    let edited = file.text().map(edit).transpose();
    let edited = edited.with_context(|| format!("{} was not changed", file.path().display()))?;
    Ok(edited.unwrap_or_default())
}

/// The containers that use the runtime. There may be some only if `force` is set.
async fn users(setup: &DockerSetup, is_registered: bool, force: bool) -> anyhow::Result<Vec<User>> {
    let users = match setup.users().await {
        Err(error) if !force && (is_registered || !setup.dockerds.is_empty()) => bail!(
            "{PROGRAM} stays registered: cannot find out which containers use it: {error}. Start \
             Docker and try again, or use --force"
        ),
        users => users.unwrap_or_default(),
    };
    require_none(&users, force)?;
    Ok(users)
}

/// Has Docker unload the runtime, and then removes what `enable` added to the file.
async fn unregister(
    setup: &DockerSetup,
    file: &WholeFile,
    without: &Without,
) -> anyhow::Result<()> {
    setup.write(file, &without.to_reload, None).await?;
    let is_needed = setup.dockerds.iter().any(Dockerd::needs_its_file);
    match without.to_keep.as_deref().or(is_needed.then_some("{}\n")) {
        Some(text) if text == without.to_reload => {}
        Some(text) => file.replace(text, dockerd::validate)?,
        None => file.remove()?,
    }
    file.remove_backup()
}
