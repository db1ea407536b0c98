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

use crate::hold::protocol::{NodeToMake, ToKeeper, VERSION};
use crate::model::DevNum;
use crate::model::inventory::ContainerId;
use crate::runtime::bundle::Bundle;
use crate::runtime::oci_args::Verb;
use crate::runtime::options::Options;
use crate::sys::logging::{kind, short_lived};
use crate::sys::seccomp::try_listener;

mod bundle;
mod daemon;
mod exchange;
pub mod oci_args;
pub mod oci_config;
pub mod options;
pub mod placement;
pub mod seccomp_profile;
mod supervisor;
pub mod version;

/// Prepares the container and becomes the real runtime. Returns only if that cannot be executed.
pub fn run(options: &Options) -> ExitCode {
    match oci_args::parse(&options.arguments) {
        Verb::Create { bundle, id } => {
            let directory = bundle.unwrap_or_else(|| ".".into());
            if let Err(error) = prepare(options, &directory, &ContainerId(id.clone())) {
                short_lived(&options.run_dir);
                tracing::warn!(
                    message_id = kind::NOT_HELD,
                    container_id = id,
                    "the container starts without held opens: {error:#}"
                );
            }
        }
        Verb::AskToEnd { id } => supervisor::release_all(&options.run_dir, &ContainerId(id)),
        Verb::Other => {}
    }
    let error = Command::new(&options.runtime)
        .args(&options.arguments)
        .exec();
    short_lived(&options.run_dir);
    tracing::error!(
        message_id = kind::RUNTIME_MISSING,
        "cannot execute {}: {error}",
        options.runtime.display()
    );
    ExitCode::FAILURE
}

/// Adds the container's ports to its bundle, and a keeper that supervises its opens.
fn prepare(options: &Options, directory: &Path, id: &ContainerId) -> anyhow::Result<()> {
    let mut bundle = Bundle::read(directory)?;
    let (created, provisional) = daemon::created(options, id);
    if created.nodes.is_empty() && !created.ports.may_hold() {
        return Ok(());
    }
    let malformed = "the `linux` section of config.json is malformed";
    add_nodes(options, id, &mut bundle, &created.nodes).context(malformed)?;
    if created.rights {
        let numbers: Vec<DevNum> = created.nodes.iter().map(|node| node.number).collect();
        oci_config::grant(&mut bundle.config, &numbers).context(malformed)?;
    }
    if !created.ports.may_hold() {
        return bundle.write();
    }
    let first = ToKeeper {
        ttyplugd: VERSION,
        ports: Some(created.ports),
        provisional,
        follow: true,
        ..ToKeeper::default()
    };
    // It has its nodes even without a supervisor.
    let supervised = supervise(options, id, &mut bundle, &first);
    if supervised.is_ok() {
        add_nodes(options, id, &mut bundle, &created.placeholders).context(malformed)?;
    }
    bundle.write()?;
    supervised
}

/// Adds nodes. The daemon makes those that are left out once the container runs, or reports them; it
/// has recorded access to all of them.
fn add_nodes(
    options: &Options,
    id: &ContainerId,
    bundle: &mut Bundle,
    wanted: &[NodeToMake],
) -> Option<()> {
    let (nodes, left_out) = bundle.place(wanted);
    for (path, why) in left_out {
        short_lived(&options.run_dir);
        tracing::info!(
            container_id = id.0,
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
    id: &ContainerId,
    bundle: &mut Bundle,
    first: &ToKeeper,
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
    supervisor::start(&options.run_dir, id, &socket, first)?;
    bundle.config = config;
    Ok(())
}
