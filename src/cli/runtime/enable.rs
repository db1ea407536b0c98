//! `ttyplugd runtime enable` for Docker.

use std::path::PathBuf;

use anyhow::{Context, ensure};

use super::docker_setup::DockerSetup;
use super::wrapper::wrapper;
use crate::cli::output::printable;
use crate::engine::daemon_json::{EngineFile, RUNTIME, new_file};
use crate::engine::dockerd::Dockerd;
use crate::sys::trusted_file::WholeFile;

/// Registers the runtime and returns a message for the operator.
pub(super) async fn enable(file: Option<PathBuf>) -> anyhow::Result<String> {
    let is_named = file.is_some();
    let setup = DockerSetup::find(file).await?;
    setup.require_usable(is_named)?;
    let program = wrapper()?;
    let file = WholeFile::read(&setup.file)?;
    let edit = Edit::new(&file, &program)?;
    let is_in_file = edit.path_before.as_ref() == Some(&program);
    let is_loaded = setup.loaded_path() == Some(&program);
    if is_in_file && (is_loaded || setup.dockerds.is_empty()) {
        let name = file.path().display();
        return Ok(format!(
            "ttyplug is already registered ({program}, in {name}); nothing was changed"
        ));
    }
    if setup.dockerds.iter().any(Dockerd::has_runtimes) {
        return by_command_line(&file, &program, is_loaded);
    }
    let message = if is_in_file {
        setup.reload(Some(&program)).await?;
        String::new()
    } else {
        register(&setup, &file, &program, &edit).await?
    };
    Ok(message + &loaded(&setup))
}

/// What registering the runtime changes in the file.
struct Edit {
    text: String,
    /// The path that is registered before.
    path_before: Option<String>,
}

impl Edit {
    fn new(file: &WholeFile, program: &str) -> anyhow::Result<Self> {
        let Some(text) = file.text() else {
            return Ok(Self {
                text: new_file(program),
                path_before: None,
            });
        };
        let parsed = EngineFile::parse(text)
            .with_context(|| format!("{} was not changed", file.path().display()))?;
        Ok(Self {
            text: parsed.with(program),
            path_before: parsed.registration().map(|before| before.path.clone()),
        })
    }
}

/// A dockerd with `--add-runtime` on its command line loses those runtimes when it loads others
/// from a file.
fn by_command_line(file: &WholeFile, program: &str, is_loaded: bool) -> anyhow::Result<String> {
    ensure!(
        is_loaded,
        "dockerd was started with --add-runtime, and would lose those runtimes if {} had any. \
         Add to its command line (systemctl edit docker): --add-runtime {RUNTIME}={program}",
        file.path().display()
    );
    Ok("ttyplug is registered on dockerd's command line; nothing was changed".into())
}

async fn register(
    setup: &DockerSetup,
    file: &WholeFile,
    program: &String,
    edit: &Edit,
) -> anyhow::Result<String> {
    let backup = setup.write(file, &edit.text, Some(program)).await?;
    let name = file.path().display();
    let mut message = format!("{name}: registered ttyplug ({program})\n");
    if let Some(path) = &edit.path_before {
        message += &format!("It was registered as {} before.\n", printable(path));
    }
    if let Some(backup) = backup {
        message += &format!("Backup of the file: {}\n", backup.display());
    }
    Ok(message)
}

fn loaded(setup: &DockerSetup) -> String {
    match &setup.engine {
        _ if setup.dockerds.is_empty() => {
            "No running dockerd reads this file. Docker will read it when it starts.".to_owned()
        }
        Ok((_, about)) => format!(
            "Docker {} has loaded it. Containers use it with: runtime: ttyplug",
            printable(&about.version)
        ),
        Err(_) => String::new(),
    }
}
