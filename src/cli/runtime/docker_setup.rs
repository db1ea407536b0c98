//! Docker on this machine, as far as registering a runtime needs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::{sleep, timeout};

use crate::engine::api::Api;
use crate::engine::daemon_json::{DEFAULT_FILE, RUNTIME};
use crate::engine::dockerd::{self, Dockerd};
use crate::engine::error::EngineError;
use crate::engine::places::{Place, socket_path};
use crate::engine::runtimes::{About, User};
use crate::sys::trusted_file::{WholeFile, resolve};

/// How long the engine may take to reload its file.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct DockerSetup {
    /// The configuration file (daemon.json).
    pub(super) file: PathBuf,
    /// The running dockerds that read this file.
    pub(super) dockerds: Vec<Dockerd>,
    /// The address of the engine.
    pub(super) socket: String,
    /// The engine that answers there.
    pub(super) engine: Result<(Api, About), EngineError>,
}

impl DockerSetup {
    /// Finds it for this file, or for the file that the running dockerd reads.
    pub(super) async fn find(file: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut dockerds = dockerd::running();
        let file = match file {
            Some(file) => file,
            None => default_file(&dockerds)?,
        };
        let file = resolve(&file)?;
        dockerds.retain(|dockerd| resolve(&dockerd.file()).is_ok_and(|its| its == file));
        let socket = socket_path()?;
        let engine = match Api::connect(&Place::configured(socket.clone()), Rc::default()).await {
            Ok(engine) => engine.about(RUNTIME).await.map(|about| (engine, about)),
            Err(error) => Err(error),
        };
        Ok(Self {
            file,
            dockerds,
            socket,
            engine,
        })
    }

    /// Fails if the runtime cannot work with this Docker. `is_named`: by `--file`.
    pub(super) fn require_usable(&self, is_named: bool) -> anyhow::Result<()> {
        ensure!(
            !self.dockerds.iter().any(Dockerd::is_of_snap),
            "Docker was installed with snap and cannot execute programs of the host: install \
             Docker's own package or the distribution's"
        );
        if !self.dockerds.is_empty() {
            self.engine()?;
        } else if self.engine.is_ok() && !is_named {
            self.engine()?;
            bail!(
                "an engine answers at {}, but no dockerd on this machine reads {}: name its file \
                 with --file",
                self.socket,
                self.file.display()
            );
        } else {
            ensure!(
                is_named || dockerd::is_installed(),
                "neither Docker nor Podman is installed on this machine"
            );
        }
        Ok(())
    }

    /// The path that the engine has loaded for the runtime.
    pub(super) fn loaded_path(&self) -> Option<&String> {
        let (_, about) = self.engine.as_ref().ok()?;
        about.runtime.as_ref()
    }

    /// The engine, if it answers and has its runtimes from a daemon.json.
    fn engine(&self) -> anyhow::Result<&Api> {
        match &self.engine {
            Ok((engine, About { other: None, .. })) => Ok(engine),
            Ok((
                _,
                About {
                    other: Some(other), ..
                },
            )) => {
                bail!("{other} answers at {}, and cannot use ttyplug", self.socket)
            }
            Err(error) => bail!("at {}: {error}", self.socket),
        }
    }

    /// The containers that use the wrapper; none if Docker is not installed.
    pub(super) async fn users(&self) -> anyhow::Result<Vec<User>> {
        match self.engine() {
            Err(_) if self.dockerds.is_empty() && !dockerd::is_installed() => Ok(Vec::new()),
            engine => Ok(engine?.users().await?),
        }
    }

    /// Writes the file and has the engine load it. Returns the path of the backup, which exists
    /// before the first write. If the engine does not accept the file, it is restored.
    pub(super) async fn write(
        &self,
        file: &WholeFile,
        text: &str,
        wanted: Option<&String>,
    ) -> anyhow::Result<Option<PathBuf>> {
        let backup = file.back_up()?;
        if let Err(error) = file.replace(text, dockerd::validate) {
            file.remove_backup()?;
            return Err(error);
        }
        let Err(error) = self.reload(wanted).await else {
            return Ok(backup);
        };
        file.restore()?;
        for dockerd in &self.dockerds {
            let _ = dockerd.reload();
        }
        file.remove_backup()?;
        Err(error.context(format!("{} was restored", file.path().display())))
    }

    /// Has the file reloaded, and waits until the engine has `wanted` as the runtime's path.
    pub(super) async fn reload(&self, wanted: Option<&String>) -> anyhow::Result<()> {
        for dockerd in &self.dockerds {
            dockerd
                .reload()
                .context("cannot make dockerd reload its file")?;
        }
        let (Ok((engine, _)), false) = (&self.engine, self.dockerds.is_empty()) else {
            return Ok(());
        };
        let wait = async {
            while engine.about(RUNTIME).await.ok().map(|about| about.runtime)
                != Some(wanted.cloned())
            {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(RELOAD_LIMIT, wait).await.map_err(|_| {
            anyhow::anyhow!(
                "the engine at {} did not load the change; see its log (journalctl -u docker). \
                 DOCKER_HOST=unix://… selects another engine",
                self.socket
            )
        })
    }
}

fn default_file(dockerds: &[Dockerd]) -> anyhow::Result<PathBuf> {
    let mut files: BTreeSet<PathBuf> = dockerds.iter().map(Dockerd::file).collect();
    if files.is_empty() || files.contains(Path::new(DEFAULT_FILE)) {
        return Ok(DEFAULT_FILE.into());
    }
    let first = files.pop_first().unwrap_or_default();
    ensure!(
        files.is_empty(),
        "several engines are running, and none of them reads {DEFAULT_FILE}: choose one with \
         --file, e.g. --file {}",
        first.display()
    );
    Ok(first)
}
