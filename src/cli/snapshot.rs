//! The devices, the containers and the files of the daemon, read once.

use std::cell::RefCell;
use std::path::Path;

use crate::config::settings::Settings;
use crate::daemon::state::State;
use crate::engine::labels::Labels;
use crate::engine::{Engine, socket_path};
use crate::model::inventory::Inventory;
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
    let mut inventory = Inventory::default();
    inventory.replace_devices(enumerate()?);
    let socket = socket_path()?;
    let labels = Labels::new(settings.needed_labels());
    let engine = Engine::connect(&socket, labels.into())
        .await
        .map_err(|error| anyhow::anyhow!("no engine at {socket}: {error}"))?;
    inventory.containers = engine.containers().await?;
    let store = Store::read(run_dir, state_dir);
    let mut state = State::new(settings, inventory, store);
    state.assigned = assign(
        &state.settings,
        &state.inventory,
        state.store.known.last_devices(),
    );
    Ok((engine, RefCell::new(state)))
}
