//! The devices, the containers and the files of the daemon, read once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use crate::config::settings::Settings;
use crate::daemon::state::State;
use crate::engine::labels::Labels;
use crate::engine::{Engine, socket_path};
use crate::model::inventory::{Container, ContainerId, Inventory};
use crate::monitor::enumerate;
use crate::plan::assign::assign;
use crate::store::Store;

/// Reads everything as the daemon does when it starts.
///
/// # Errors
/// udev or the engine cannot be asked.
pub(super) async fn snapshot(
    settings: Settings,
    run_dir: &Path,
    state_dir: &Path,
) -> anyhow::Result<(Engine, RefCell<State>)> {
    let (inventory, engine) = look(&settings).await?;
    let engine = engine?;
    let store = Store::read(run_dir, state_dir);
    let mut state = State::new(settings, inventory, store);
    state.assigned = assign(
        &state.settings,
        &state.inventory,
        state.store.known.last_devices(),
    );
    Ok((engine, RefCell::new(state)))
}

/// The devices and the containers. Without an engine there are none of the latter.
///
/// # Errors
/// udev cannot be asked.
pub(super) async fn look(
    settings: &Settings,
) -> anyhow::Result<(Inventory, anyhow::Result<Engine>)> {
    let mut inventory = Inventory::default();
    inventory.replace_devices(enumerate()?);
    let engine = match connect(settings).await {
        Ok((engine, containers)) => {
            inventory.containers = containers;
            Ok(engine)
        }
        Err(error) => Err(error),
    };
    Ok((inventory, engine))
}

async fn connect(
    settings: &Settings,
) -> anyhow::Result<(Engine, BTreeMap<ContainerId, Container>)> {
    let socket = socket_path()?;
    let labels = Labels::new(settings.needed_labels());
    let engine = Engine::connect(&socket, labels.into())
        .await
        .map_err(|error| anyhow::anyhow!("no engine at {socket}: {error}"))?;
    let containers = engine.containers().await?;
    Ok((engine, containers))
}
