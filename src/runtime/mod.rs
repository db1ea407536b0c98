//! `ttyplug-runtime`: an OCI runtime in front of the engine's real one.
//!
//! It prepares a container that is being created, and then becomes the real runtime. It fails open:
//! whatever goes wrong in here, the real runtime is executed with the same arguments, and the
//! container starts as it would have without us.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `store`, `container`, `sys`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::hold::description::Description;
use crate::hold::protocol::{NodeToMake, ToKeeper, VERSION};
use crate::hold::run_dir::keepers;
use crate::model::DevNum;
use crate::runtime::bundle::Bundle;
use crate::runtime::description::describe;
use crate::runtime::oci_args::{Container, Verb};
use crate::runtime::options::Options;
use crate::runtime::update::Update;
use crate::sys::logging::{kind, short_lived};
use crate::sys::seccomp::try_listener;

mod bundle;
mod daemon;
pub mod description;
mod exchange;
pub mod oci_args;
pub mod oci_config;
pub mod options;
mod origin;
pub mod placement;
pub mod real;
pub mod seccomp_profile;
mod supervisor;
mod update;
pub mod version;

/// Prepares the container and becomes the real runtime. Returns only if that cannot be executed.
pub fn run(options: &Options) -> ExitCode {
    let mut update = None;
    match oci_args::parse(&options.arguments) {
        Verb::Create { bundle, container } => {
            let directory = bundle.unwrap_or_else(|| ".".into());
            if let Err(error) = prepare(options, &directory, &container) {
                short_lived(&options.run_dir);
                tracing::warn!(
                    message_id = kind::NOT_HELD,
                    container_id = container.id,
                    "the container starts without held opens: {error:#}"
                );
            }
        }
        Verb::AskToEnd { container } => supervisor::release_all(&options.run_dir, &container),
        Verb::Update { resources } => {
            update = Update::new(&options.arguments, &resources).ok();
        }
        Verb::Other => {}
    }
    let error = become_real(options, update);
    short_lived(&options.run_dir);
    tracing::error!(message_id = kind::RUNTIME_MISSING, "{error:#}");
    ExitCode::FAILURE
}

/// Executes the real runtime. Returns why it cannot.
fn become_real(options: &Options, update: Option<Update>) -> anyhow::Error {
    let runtime = match real::find(options.runtime.as_deref()) {
        Ok(runtime) => runtime,
        Err(error) => return error,
    };
    let mut command = Command::new(&runtime);
    match update {
        Some(Update { arguments, stdin }) => command.args(arguments).stdin(stdin),
        None => command.args(&options.arguments),
    };
    let error = command.exec();
    anyhow::anyhow!("cannot execute {}: {error}", runtime.display())
}

/// Adds the container's ports to its bundle, and a keeper that supervises its opens.
fn prepare(options: &Options, directory: &Path, container: &Container) -> anyhow::Result<()> {
    let mut bundle = Bundle::read(directory)?;
    // Engines write config.json for each start; who executes a runtime by hand may use it again.
    if oci_config::forget_supervisor(&mut bundle.config, &keepers(&options.run_dir)) {
        bundle.write()?;
    }
    let place = std::path::absolute(directory)?;
    let Some(description) = describe(&bundle.config, &place, container) else {
        return Ok(());
    };
    let id = &container.id;
    let description = Some(description).filter(Description::is_short);
    if description.is_none() {
        short_lived(&options.run_dir);
        tracing::info!(
            container_id = id,
            "the container has too many mounts, devices or groups to be served without its engine"
        );
    }
    let (created, provisional) = daemon::created(options, id, description.clone());
    let is_supervised = created.supervised || created.ports.may_hold();
    if created.nodes.is_empty() && !is_supervised {
        return Ok(());
    }
    let malformed = "the `linux` section of config.json is malformed";
    add_nodes(options, id, &mut bundle, &created.nodes).context(malformed)?;
    if created.rights {
        let numbers: Vec<DevNum> = created.nodes.iter().map(|node| node.number).collect();
        oci_config::grant(&mut bundle.config, &numbers).context(malformed)?;
    }
    if !is_supervised {
        return bundle.write();
    }
    let first = ToKeeper {
        ttyplugd: VERSION,
        ports: Some(created.ports),
        provisional,
        follow: true,
        ..ToKeeper::default()
    };
    let supervised = supervise(options, id, &mut bundle, &first, description.as_ref());
    if supervised.is_ok() {
        add_nodes(options, id, &mut bundle, &created.placeholders).context(malformed)?;
    } else if created.supervised {
        // Nobody would take its nodes away again.
        return supervised;
    }
    // Any other has its nodes even without a supervisor.
    bundle.write()?;
    supervised
}

/// Adds nodes. The daemon makes those that are left out once the container runs, or reports them; it
/// has recorded access to all of them.
fn add_nodes(
    options: &Options,
    id: &str,
    bundle: &mut Bundle,
    wanted: &[NodeToMake],
) -> Option<()> {
    let (nodes, left_out) = bundle.place(wanted);
    for (path, why) in left_out {
        short_lived(&options.run_dir);
        tracing::info!(
            container_id = id,
            container_path = %path,
            reason = %why,
            "the container is created without this node"
        );
    }
    oci_config::add_nodes(&mut bundle.config, &nodes)
}

/// Starts a keeper and makes it the container's supervisor.
fn supervise(
    options: &Options,
    id: &str,
    bundle: &mut Bundle,
    first: &ToKeeper,
    description: Option<&Description>,
) -> anyhow::Result<()> {
    try_listener().context("seccomp filters cannot notify a supervisor here")?;
    version::check(options)?;
    let socket = supervisor::new_socket(&options.run_dir, id)?;
    let listener = socket
        .to_str()
        .context("the name of the run directory is not UTF-8")?;
    let mut config = bundle.config.clone();
    let holds = first.ports.as_ref().map(|ports| ports.holds);
    let holds = holds.unwrap_or_default();
    oci_config::supervise(&mut config, holds, listener, std::env::consts::ARCH)?;
    supervisor::start(&options.run_dir, id, &socket, first, description)?;
    bundle.config = config;
    Ok(())
}
