//! `ttyplugd add`: from a plugged-in device to a port that is ready, without an editor.

use std::process::ExitCode;

use anyhow::{bail, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::arguments::Arguments;
use self::choice::{Choice, choose};
use self::plan::{Plan, plan};
use crate::cli::block_on::block_on;
use crate::cli::configuration::Configuration;
use crate::cli::definition::Definition;
use crate::cli::output::{EXIT_USAGE, print, print_config_errors, print_error, printable};
use crate::cli::questions::{self, confirm, show};
use crate::cli::reload::reload;
use crate::cli::root::require_root;
use crate::cli::snapshot::{Engines, look};
use crate::cli::wait::wait;
use crate::model::Hold;
use crate::model::inventory::{ContainerState, Inventory};
use crate::sys::trusted_file::WholeFile;

pub(super) mod arguments;
mod choice;
mod plan;
pub(super) mod port_file;

/// How long the port may take to become ready.
const LIMIT: Hold = Hold::Seconds(60);

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let missing = arguments.missing().join(", ");
    if !missing.is_empty() && !questions::possible() {
        print_error(&format!(
            "missing arguments: {missing} (without a terminal nothing can be asked)"
        ));
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    if !arguments.dry_run {
        require_root()?;
    }
    block_on(add(arguments))?
}

async fn add(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let configuration = match Configuration::read(arguments.config.path()) {
        Ok(configuration) => configuration,
        Err(errors) => return Ok(print_config_errors(&errors)),
    };
    let (inventory, engines) = look(&configuration.settings).await?;
    if let Err(error) = &engines {
        print_error(&format!("nothing is known of containers: {error:#}"));
    }
    let choice = choose(arguments, &inventory, questions::possible())?;
    let plan = plan(&configuration, &inventory, &choice.port())?;
    let addition = Addition {
        file: WholeFile::read(&plan.file)?,
        arguments,
        inventory: &inventory,
        choice: &choice,
        plan: &plan,
    };
    addition.warn(engines.is_ok());
    if arguments.dry_run {
        print(&plan.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    addition.agree()?;
    addition.carry_out(engines).await?;
    Ok(ExitCode::SUCCESS)
}

/// A port that is about to be added.
struct Addition<'a> {
    file: WholeFile,
    arguments: &'a Arguments,
    inventory: &'a Inventory,
    choice: &'a Choice,
    plan: &'a Plan,
}

impl Addition<'_> {
    /// Shows what the operator should know before.
    fn warn(&self, engine_answers: bool) {
        for warning in &self.plan.warnings {
            print_error(&printable(warning));
        }
        let container = &self.choice.container;
        if engine_answers && self.plan.users.is_empty() {
            print_error(&format!(
                "there is no container {container}; it gets the port when it is created"
            ));
        } else if engine_answers && !self.has_running_users() {
            print_error(&format!(
                "container {container} does not run; it gets the port when it starts"
            ));
        }
        if let Some(obstacle) = self.obstacle() {
            print_error(&obstacle);
        }
    }

    /// What is in the place of the file.
    fn obstacle(&self) -> Option<String> {
        let path = &self.plan.file;
        let is_foreign = |text| port_file::recognised(text).is_none();
        let is_in_the_way = path.is_symlink() || self.file.text().is_some_and(is_foreign);
        let what = format!("{} is there, and not as add has written it", path.display());
        is_in_the_way.then_some(what)
    }

    /// Fails unless the operator agrees to what will be written.
    fn agree(&self) -> anyhow::Result<()> {
        let path = self.plan.file.display();
        ensure!(
            !self.plan.file.is_symlink(),
            "choose another name, or remove the link {path}"
        );
        let (question, default) = match self.obstacle() {
            Some(_) if !questions::possible() => bail!("choose another name, or remove {path}"),
            Some(_) => (format!("Replace {path}"), false),
            None if self.arguments.missing().is_empty() => return Ok(()),
            None => (format!("Write {path}"), true),
        };
        show(&format!("\n{}\n", self.plan.text))?;
        ensure!(confirm(&question, default)?, "nothing was written");
        Ok(())
    }

    async fn carry_out(&self, engines: anyhow::Result<Engines>) -> anyhow::Result<()> {
        // From here on Ctrl-C ends the waiting, and nothing before it.
        let interrupt = signal(SignalKind::interrupt())?;
        self.file.replace(&self.plan.text, |_| Ok(()))?;
        reload(&self.arguments.run.run_dir, &self.file).await?;
        print(&format!("{}: written\n", self.file.path().display()))?;
        let waited = match self.has_running_users() || engines.is_err() {
            true => self.wait(interrupt).await,
            false => Ok(()),
        };
        if let Ok(engines) = engines {
            print(&self.left_to_do(&engines).await?)?;
        }
        waited
    }

    fn has_running_users(&self) -> bool {
        let users = self.plan.users.iter();
        let mut users = users.filter_map(|id| self.inventory.containers.get(id));
        users.any(|user| user.state != ContainerState::Stopped)
    }

    async fn wait(&self, mut interrupt: Signal) -> anyhow::Result<()> {
        let (name, run_dir) = (&self.choice.name, &self.arguments.run.run_dir);
        tokio::select! {
            waited = wait(run_dir, name, None, LIMIT) => waited?,
            _ = interrupt.recv() => bail!("stopped waiting; ttyplugd remove {name} removes the port"),
        }
        let Choice {
            container, node, ..
        } = self.choice;
        print(&format!("Port {name} is ready: {node} in {container}\n"))
    }

    /// What is left to do to the definitions of its containers.
    async fn left_to_do(&self, engines: &Engines) -> anyhow::Result<String> {
        let containers = self.inventory.containers.iter();
        let users = containers.filter(|(id, _)| self.plan.users.contains(id));
        let mut definitions = Definition::read(engines, users).await?;
        if definitions.is_empty() {
            definitions.push(Definition::of_none(engines, &self.choice.container).await?);
        }
        let Choice { device, node, .. } = self.choice;
        let changes = definitions.iter().map(|its| its.to_use(device, node));
        Ok(changes.collect())
    }
}
