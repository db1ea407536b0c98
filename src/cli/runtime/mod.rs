//! `ttyplugd runtime`: registers `ttyplug-runtime` in Docker's daemon.json, and takes it out again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use nix::unistd::geteuid;

use crate::cli::options::Output;
use crate::cli::output::{plain, print};
use crate::cli::survey::block_on;
use crate::engine::daemon_json::{EngineFile, FileError, PROGRAM, RUNTIME, new_file};
use crate::engine::dockerd::{self, Dockerd};
use crate::engine::runtimes::User;
use crate::sys::trusted_file::WholeFile;
use site::Site;

mod site;
mod status;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Register the runtime, so that containers can have `runtime: ttyplug`.
    Enable {
        #[command(flatten)]
        file: FileOption,
    },
    /// Take the runtime out again, if no container uses it any more.
    Disable {
        #[command(flatten)]
        file: FileOption,
        /// Even if containers use it, which will never start again then.
        #[arg(long)]
        force: bool,
    },
    /// Show whether the runtime is registered, whether it works, and who uses it.
    Status {
        #[command(flatten)]
        file: FileOption,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(super) struct FileOption {
    /// The engine's configuration file. [default: the one that dockerd was started with, or
    /// /etc/docker/daemon.json]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(action: Action) -> anyhow::Result<ExitCode> {
    block_on(async {
        let said = match action {
            Action::Enable { file } => enable(file.file).await?,
            Action::Disable { file, force } => disable(file.file, force).await?,
            Action::Status { file, output } => return status::run(file.file, output.json).await,
        };
        print(&format!("{said}\n"))?;
        Ok(ExitCode::SUCCESS)
    })?
}

async fn enable(file: Option<PathBuf>) -> anyhow::Result<String> {
    only_root()?;
    let is_named = file.is_some();
    let site = Site::find(file).await?;
    site.check(is_named)?;
    let program = program()?;
    let file = WholeFile::read(&site.file)?;
    let name = file.path().display().to_string();
    let (text, other) = match file.text() {
        None => (new_file(&program), None),
        Some(text) => {
            let parsed = EngineFile::parse(text).with_context(|| unedited(&name))?;
            let path = parsed.registration().map(|its| its.path.clone());
            (parsed.with(&program), path)
        }
    };
    let is_in_file = other.as_ref() == Some(&program);
    let is_known = site.path_in_engine() == Some(&program);
    if is_in_file && (is_known || site.dockerds.is_empty()) {
        return Ok(format!(
            "ttyplug is registered already ({program}, in {name}); nothing was changed"
        ));
    }
    if site.dockerds.iter().any(Dockerd::has_runtimes) {
        ensure!(
            is_known,
            "dockerd has runtimes on its command line, and forgets them when it reads others in \
             {name}. Add there, where it was started (systemctl edit docker): --add-runtime {RUNTIME}={program}",
        );
        return Ok("ttyplug is registered on dockerd's command line; nothing was changed".into());
    }
    let mut said = String::new();
    if is_in_file {
        site.reload(Some(&program)).await?;
    } else {
        let backup = site.put(&file, &text, Some(&program)).await?;
        said += &format!("{name}: ttyplug is registered ({program})\n");
        if let Some(other) = other {
            said += &format!("Before it was {}.\n", plain(&other));
        }
        if let Some(backup) = backup {
            said += &format!("The file as it was is {}.\n", backup.display());
        }
    }
    said += &match &site.engine {
        _ if site.dockerds.is_empty() => {
            "No dockerd that runs reads this file; one that is started will.".to_owned()
        }
        Ok((_, about)) => format!(
            "Docker {} has read it. A container gets it by the line: runtime: ttyplug",
            plain(&about.version)
        ),
        Err(_) => String::new(),
    };
    Ok(said)
}

async fn disable(file: Option<PathBuf>, force: bool) -> anyhow::Result<String> {
    only_root()?;
    let site = Site::find(file).await?;
    let file = WholeFile::read(&site.file)?;
    let name = file.path().display().to_string();
    let parse = |text| {
        let parsed = EngineFile::parse(text)?;
        Ok::<_, FileError>((parsed.without()?, parsed.others().join(", ")))
    };
    let parsed = file.text().map(parse).transpose();
    let (without, others) = parsed.with_context(|| unedited(&name))?.unwrap_or_default();
    let is_known = site.path_in_engine().is_some();
    let users = match site.users().await {
        Err(error)
            if !force && (without.is_some() || !others.is_empty() || !site.dockerds.is_empty()) =>
        {
            bail!(
                "{PROGRAM} stays registered: nobody can tell which containers use it, because \
                 {error}. Start Docker and try again, or --force"
            );
        }
        users => users.unwrap_or_default(),
    };
    ensure!(
        force || users.is_empty(),
        "{PROGRAM} stays registered, because containers use it, and none of them would ever start \
         again without it:\n{}Create them anew with another runtime or remove them, and try again; \
         or --force",
        list(&users)
    );
    let left = match others.as_str() {
        "" => String::new(),
        others => format!(
            "\nAlso {PROGRAM}, and left there for you to take out: {}",
            plain(others)
        ),
    };
    let Some(without) = without else {
        ensure!(
            !is_known,
            "{name} does not register ttyplug, but Docker has it: take it off dockerd's command \
             line (--add-runtime), or restart Docker"
        );
        file.remove_backup()?;
        return Ok(format!(
            "ttyplug is not registered in {name}; nothing was changed{left}"
        ));
    };
    site.put(&file, &without.to_reload, None).await?;
    let is_needed = site.dockerds.iter().any(Dockerd::needs_its_file);
    match without.to_keep.as_deref().or(is_needed.then_some("{}\n")) {
        Some(text) if text == without.to_reload => {}
        Some(text) => file.replace(text, dockerd::validate)?,
        None => file.remove()?,
    }
    file.remove_backup()?;
    let mut said = format!("{name}: ttyplug is not registered any more{left}");
    if !users.is_empty() {
        said += &format!(
            "\nThese will never start again without their runtime:\n{}",
            list(&users)
        );
    }
    Ok(said)
}

fn only_root() -> anyhow::Result<()> {
    ensure!(geteuid().is_root(), "only root can do that: use sudo");
    Ok(())
}

fn unedited(name: &str) -> String {
    format!("{name} is not edited")
}

fn list(users: &[User]) -> String {
    let line = |user: &User| format!("  {}\n", plain(&user.to_string()));
    users.iter().map(line).collect()
}

/// The wrapper, which is installed beside this program.
fn program() -> anyhow::Result<String> {
    let path = std::env::current_exe()?.with_file_name(PROGRAM);
    ensure!(
        path.is_file(),
        "there is no {}; install both programs into one directory",
        path.display()
    );
    let name = path.to_str();
    Ok(name
        .with_context(|| format!("{} is not UTF-8", path.display()))?
        .to_owned())
}
