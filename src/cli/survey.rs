//! What commands look at: the devices, the engine and the state, once.

use std::cell::RefCell;
use std::path::Path;
use std::pin::{Pin, pin};

use crate::config::settings::Settings;
use crate::daemon::state::World;
use crate::engine::{Engine, ImageLabels, socket_path};
use crate::model::inventory::Inventory;
use crate::monitor::enumerate;
use crate::plan::assign::assign;
use crate::store::Store;

/// One thread is enough for all of it, and keeps udev's types where they are.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Looking into a container may hang on its file systems; a daemon that serves dozens of
        // containers must not wait for a thread then.
        .max_blocking_threads(32)
        .build()?;
    let local = tokio::task::LocalSet::new();
    // Whatever the work is, this is compiled once for what it results in: a runtime is large.
    let work: Pin<&mut dyn Future<Output = T>> = pin!(work);
    let result = local.block_on(&runtime, work);
    // A look into a container that hangs is not waited for.
    runtime.shutdown_background();
    Ok(result)
}

/// Looks at everything once, as the daemon does when it starts.
pub(super) async fn survey(
    settings: Settings,
    state: &Path,
) -> anyhow::Result<(Engine, RefCell<World>)> {
    let mut inventory = Inventory::default();
    inventory.replace_devices(enumerate()?);
    let socket = socket_path()?;
    let engine = Engine::connect(&socket, ImageLabels::default())
        .await
        .map_err(|error| anyhow::anyhow!("no engine at {socket}: {error}"))?;
    inventory.containers = engine.containers().await?;
    let store = Store::read(state);
    let mut world = World::new(settings, inventory, store);
    world.assigned = assign(
        &world.settings,
        &world.inventory,
        world.store.last_devices(),
    );
    Ok((engine, RefCell::new(world)))
}
