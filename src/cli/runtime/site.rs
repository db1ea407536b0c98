//! Where the runtime is registered: the engine's file, and the engine that has to read it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::{sleep, timeout};

use crate::engine::daemon_json::{DEFAULT_FILE, RUNTIME};
use crate::engine::dockerd::{self, Dockerd};
use crate::engine::runtimes::{About, User};
use crate::engine::{Engine, EngineError, ImageLabels, socket_path};
use crate::sys::trusted_file::{WholeFile, resolve};

/// How long the engine may take to read its file again.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// A file, the engines that read it, and the one that answers.
pub(super) struct Site {
    pub(super) file: PathBuf,
    pub(super) dockerds: Vec<Dockerd>,
    pub(super) socket: String,
    pub(super) engine: Result<(Engine, About), EngineError>,
}

impl Site {
    pub(super) async fn find(file: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut dockerds = dockerd::running();
        let mut files: BTreeSet<PathBuf> = dockerds.iter().map(Dockerd::file).collect();
        let file = match file {
            Some(file) => file,
            None if files.is_empty() || files.contains(Path::new(DEFAULT_FILE)) => {
                DEFAULT_FILE.into()
            }
            None => {
                let first = files.pop_first().unwrap_or_default();
                ensure!(
                    files.is_empty(),
                    "several engines run, and none of them reads {DEFAULT_FILE}: choose one by \
                     its --file, e.g. {}",
                    first.display()
                );
                first
            }
        };
        let file = resolve(&file)?;
        dockerds.retain(|dockerd| resolve(&dockerd.file()).is_ok_and(|its| its == file));
        let socket = socket_path()?;
        let engine = match Engine::connect(&socket, ImageLabels::default()).await {
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

    /// Whether the runtime could be of any use here.
    pub(super) fn check(&self, is_named: bool) -> anyhow::Result<()> {
        ensure!(
            !self.dockerds.iter().any(Dockerd::is_of_snap),
            "Docker was installed with snap, and sees no program outside of it: use Docker's own \
             package or the distribution's"
        );
        if !self.dockerds.is_empty() {
            self.answering()?;
        } else if self.engine.is_ok() && !is_named {
            self.answering()?;
            bail!(
                "an engine answers at {}, but no dockerd of this machine reads {}: name its file \
                 with --file",
                self.socket,
                self.file.display()
            );
        } else {
            ensure!(
                is_named || dockerd::is_installed(),
                "there is no Docker on this machine"
            );
        }
        Ok(())
    }

    /// What the engine executes for the runtime.
    pub(super) fn path_in_engine(&self) -> Option<&String> {
        let (_, about) = self.engine.as_ref().ok()?;
        about.runtime.as_ref()
    }

    /// The engine, if it answers and is one that has its runtimes from a daemon.json.
    pub(super) fn answering(&self) -> anyhow::Result<&Engine> {
        match &self.engine {
            Ok((engine, About { other: None, .. })) => Ok(engine),
            Ok((
                _,
                About {
                    other: Some(other), ..
                },
            )) => {
                bail!(
                    "{other} answers at {}, which cannot have ttyplug",
                    self.socket
                )
            }
            Err(error) => bail!("at {} {error}", self.socket),
        }
    }

    /// The containers that use the wrapper; none where there is no Docker at all.
    pub(super) async fn users(&self) -> anyhow::Result<Vec<User>> {
        match self.answering() {
            Err(_) if self.dockerds.is_empty() && !dockerd::is_installed() => Ok(Vec::new()),
            engine => Ok(engine?.users().await?),
        }
    }

    /// Writes the file and has it read, or leaves it as it was. Says where its backup is: that is
    /// there from before the first write on, and here goes only once the file is as it was.
    pub(super) async fn put(
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
            let _ = dockerd.read_again();
        }
        file.remove_backup()?;
        Err(error.context(format!("{} is as it was", file.path().display())))
    }

    /// Has the file read, and waits until the engine knows what is wanted for the runtime.
    pub(super) async fn reload(&self, wanted: Option<&String>) -> anyhow::Result<()> {
        for dockerd in &self.dockerds {
            dockerd
                .read_again()
                .context("dockerd cannot be told to read its file again")?;
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
                "the engine at {} does not do what its file says; its log says why (journalctl -u \
                 docker), and DOCKER_HOST=unix://… names another engine",
                self.socket
            )
        })
    }
}
