//! The devices, the containers and the files of the daemon, read once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use anyhow::Context;

use crate::config::settings::Settings;
use crate::daemon::keepers::answering_keepers;
use crate::daemon::state::State;
use crate::engine::Engine;
use crate::engine::api::Api;
use crate::engine::labels::Labels;
use crate::engine::places::{Place, places};
use crate::model::inventory::{Container, ContainerId, EngineName, Inventory};
use crate::monitor::enumerate;
use crate::plan::assign::assign;
use crate::store::Store;

/// The engines that answer.
#[derive(Default)]
pub(super) struct Engines {
    engines: BTreeMap<EngineName, Rc<Engine>>,
    /// Why others do not.
    pub(super) errors: Vec<anyhow::Error>,
}

impl Engines {
    /// The engine of a container.
    pub(super) fn of(&self, id: &ContainerId) -> Option<&Rc<Engine>> {
        self.engines.get(&id.engine)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&EngineName, &Rc<Engine>)> {
        self.engines.iter()
    }
}

/// The engine of a container, if it answers.
pub(super) fn engine_of(state: &RefCell<State>, id: &ContainerId) -> Option<Rc<Engine>> {
    let state = state.borrow();
    state.engines.get(state.engine_of(id)).cloned()
}

/// Reads everything as the daemon does when it starts.
///
/// # Errors
/// udev cannot be asked, or neither an engine nor a keeper answers.
pub(super) async fn snapshot(
    settings: Settings,
    run_dir: &Path,
    state_dir: &Path,
) -> anyhow::Result<(Engines, RefCell<State>)> {
    let (inventory, engines) = look(&settings).await?;
    let store = Store::read(run_dir, state_dir);
    let places = places(settings.engines.as_ref());
    let mut state = State::new(settings, inventory, store);
    // A container of an engine that does not answer is not one of which only its wrapper tells.
    for place in places.into_iter().flatten() {
        state.engines.follow(place.name);
    }
    for (name, engine) in engines.iter().flat_map(Engines::all) {
        state.engines.connect(name, engine.clone());
    }
    listen(&mut state, run_dir).await;
    let engines = match engines {
        Err(error) if !state.only_told.is_empty() => Engines {
            errors: vec![error],
            ..Engines::default()
        },
        engines => engines?,
    };
    state.assigned = assign(
        &state.settings,
        &state.inventory,
        state.store.known.last_devices(),
    );
    Ok((engines, RefCell::new(state)))
}

/// Takes in what wrappers and keepers tell of containers that no engine lists.
async fn listen(state: &mut State, run_dir: &Path) {
    for answer in answering_keepers(run_dir).await.unwrap_or_default() {
        if let Some(described) = &answer.described {
            let process = answer.report.process;
            state.told.keep(&answer.keeper, described, process);
        }
    }
    for (id, container) in state.told.list() {
        if state.hear(&EngineName::TOLD, &id) {
            state.inventory.containers.insert(id, container);
        }
    }
    let told = Rc::new(Engine::Told(state.told.clone()));
    state.engines.connect(&EngineName::TOLD, told);
}

/// The devices and the containers. Without an engine there are none of the latter.
///
/// # Errors
/// udev cannot be asked.
pub(super) async fn look(
    settings: &Settings,
) -> anyhow::Result<(Inventory, anyhow::Result<Engines>)> {
    let mut inventory = Inventory::default();
    inventory.replace_devices(enumerate()?);
    let engines = connect(settings, &mut inventory).await;
    Ok((inventory, engines))
}

/// Connects to all engines and lists their containers.
async fn connect(settings: &Settings, inventory: &mut Inventory) -> anyhow::Result<Engines> {
    let mut engines = Engines::default();
    for place in places(settings.engines.as_ref())? {
        if !place.is_expected() {
            continue;
        }
        match ask(&place, settings).await {
            Ok((engine, containers)) => {
                inventory.containers.extend(containers);
                engines.engines.insert(place.name, Rc::new(engine));
            }
            Err(error) => engines.errors.push(error),
        }
    }
    match engines.errors.pop() {
        Some(error) if engines.engines.is_empty() => Err(error),
        last => {
            engines.errors.extend(last);
            Ok(engines)
        }
    }
}

async fn ask(
    place: &Place,
    settings: &Settings,
) -> anyhow::Result<(Engine, BTreeMap<ContainerId, Container>)> {
    let labels = Labels::new(settings.needed_labels());
    let api = Api::connect(place, labels.into()).await;
    let api = api.with_context(|| format!("no engine at {}", place.socket))?;
    let engine = Engine::Api(Box::new(api));
    let containers = engine.list().await?;
    Ok((engine, containers))
}
