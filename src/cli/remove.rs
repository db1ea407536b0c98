//! `ttyplugd remove`: undoes `add`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::add::port_file;
use crate::cli::block_on::block_on;
use crate::cli::configuration::Configuration;
use crate::cli::definition::Definition;
use crate::cli::options::{ConfigFile, RunDirectory};
use crate::cli::output::{print, print_config_errors, print_error};
use crate::cli::reload::reload;
use crate::cli::root::require_root;
use crate::cli::snapshot::{Engines, look};
use crate::config::settings::Settings;
use crate::model::PortName;
use crate::model::inventory::{ContainerId, Inventory};
use crate::model::port::Port;
use crate::plan::assign::assign;
use crate::plan::last_devices::LastDevices;
use crate::sys::trusted_file::WholeFile;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the port.
    name: PortName,
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    run: RunDirectory,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    require_root()?;
    let configuration = match Configuration::read(arguments.config.path()) {
        Ok(configuration) => configuration,
        Err(errors) => return Ok(print_config_errors(&errors)),
    };
    let path = configuration.file_of(&arguments.name);
    let (file, port) = written(&configuration, &path, &arguments.name)?;
    let without = match configuration.with(&path, None) {
        Ok(without) => without,
        Err(errors) => return Ok(print_config_errors(&errors)),
    };
    let removal = Removal {
        before: &configuration.settings,
        after: &without,
        file,
        port,
    };
    block_on(removal.carry_out(&arguments.run.run_dir))??;
    Ok(ExitCode::SUCCESS)
}

/// The file that `add` has written for a port.
fn written(
    configuration: &Configuration,
    path: &Path,
    name: &PortName,
) -> anyhow::Result<(WholeFile, Port)> {
    let file = WholeFile::read(path)?;
    let shown = path.display();
    let Some(text) = file.text() else {
        match configuration.definer(name, path) {
            Some(other) => bail!(
                "port {name} was not added by ttyplugd add: remove it from {}, and systemctl reload \
                 ttyplugd",
                other.display()
            ),
            None => bail!("ttyplugd add has added no port {name}: there is no {shown}"),
        }
    };
    let port = port_file::recognised(text).filter(|port| port.name == *name);
    let port = port.filter(|_| !path.is_symlink()).with_context(|| {
        format!(
            "{shown} is not as ttyplugd add has written it: if nothing in it is needed, sudo rm {shown} \
             && sudo systemctl reload ttyplugd"
        )
    })?;
    Ok((file, port))
}

/// A port that is about to be removed, and the settings with it and without.
struct Removal<'a> {
    file: WholeFile,
    port: Port,
    before: &'a Settings,
    after: &'a Settings,
}

impl Removal<'_> {
    async fn carry_out(&self, run_dir: &Path) -> anyhow::Result<()> {
        let (inventory, engines) = look(self.before).await?;
        if let Err(error) = &engines {
            print_error(&format!("nothing is known of containers: {error:#}"));
        }
        let users = self.users(&inventory)?;
        self.file.remove()?;
        reload(run_dir, &self.file).await?;
        print(&format!("{}: removed\n", self.file.path().display()))?;
        if let Ok(engines) = engines {
            print(&self.left_to_do(&engines, &inventory, &users).await?)?;
        }
        Ok(())
    }

    /// The containers that have the port and no other.
    fn users(&self, inventory: &Inventory) -> anyhow::Result<Vec<ContainerId>> {
        let assigned = |settings| assign(settings, inventory, &LastDevices::default()).by_container;
        let (before, after) = (assigned(self.before), assigned(self.after));
        let name = self.port.name.as_str();
        let mut users = Vec::new();
        for (id, assignment) in before {
            if !assignment.is_ok_and(|assignment| assignment.has(name)) {
                continue;
            }
            match after.get(&id) {
                None => users.push(id),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let name = inventory.containers.get(&id).map_or("", |c| &c.name);
                    bail!("container {name} would lose all of its ports: {error}")
                }
            }
        }
        Ok(users)
    }

    /// What is left to undo in the definitions of its containers.
    async fn left_to_do(
        &self,
        engines: &Engines,
        inventory: &Inventory,
        users: &[ContainerId],
    ) -> anyhow::Result<String> {
        let mut devices = inventory.devices.values();
        let device = devices.find(|device| self.port.device.matches(device));
        let containers = inventory.containers.iter();
        let containers = containers.filter(|(id, _)| users.contains(id));
        let definitions = Definition::read(engines, containers).await?;
        let definitions = definitions.iter();
        let changes = definitions.map(|its| its.to_do_without(&self.port, device));
        Ok(changes.collect())
    }
}
