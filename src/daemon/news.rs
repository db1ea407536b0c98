//! What the engines tell of themselves and of their containers changes the state.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::events::{Change, Event};
use crate::engine::watch::News;
use crate::model::inventory::{Container, ContainerId, ContainerState, EngineName};
use crate::sys::logging::kind;

/// How long after connecting to the engine all containers are looked at again. A command of a killed
/// daemon may still run in one, and make a node after the first look.
const SECOND_LOOK: Duration = Duration::from_secs(5);

impl Daemon {
    pub(super) fn on_news(&mut self, name: &EngineName, news: News) {
        // One that is followed no longer may have sent some before.
        if !self.followed.has(name) {
            return;
        }
        match news {
            News::Found { engine, containers } => {
                if *name != EngineName::TOLD {
                    tracing::info!(
                        message_id = kind::ENGINE_FOUND,
                        engine = name.unless_docker(),
                        engine_version = engine.known_version(),
                        containers = containers.len(),
                        "connected to the engine"
                    );
                }
                self.on_connected(name, engine);
                self.on_listed(name, containers);
                self.mark_all();
                self.look_again_soon(name);
                self.hear_wrappers_again(name);
            }
            News::Listed(containers) => self.on_listed(name, containers),
            News::Event(Event::Described(id, container)) => {
                self.on_described(name, id, container);
            }
            News::Event(Event::Changed(id, change)) => self.on_changed(name, id, change),
            News::Event(Event::Removed(id)) => self.on_removed(name, &id),
            News::Event(Event::Stopping(id)) => {
                if let Some(start) = self.shared.state.borrow().lives.start(&id) {
                    start.set_stopping();
                }
            }
            News::Lost(error) => self.on_lost(name, &error),
            News::Absent => self.on_absent(name),
        }
    }

    /// What wrappers tell of the containers of an engine counts once that has listed its own.
    fn hear_wrappers_again(&self, engine: &EngineName) {
        if *engine != EngineName::TOLD {
            self.list_again(&EngineName::TOLD);
        }
    }

    fn on_connected(&self, name: &EngineName, engine: Rc<Engine>) {
        let mut state = self.shared.state.borrow_mut();
        let again = state.engines.connect(name, engine);
        state.metrics.engine_reconnects.add(again.into());
    }

    fn on_lost(&self, name: &EngineName, error: &EngineError) {
        let mut state = self.shared.state.borrow_mut();
        if state.engines.lose(name, error.to_string()) {
            let unit = name
                .unit()
                .map(|unit| format!(" (systemctl status {unit})"));
            tracing::warn!(
                message_id = kind::ENGINE_LOST,
                engine = name.unless_docker(),
                %error,
                "the engine does not answer; waiting for it{}",
                unit.unwrap_or_default()
            );
        }
        self.shared.notifier.notify_watchers();
    }

    fn on_absent(&self, name: &EngineName) {
        self.shared.state.borrow_mut().engines.excuse(name);
        self.shared.notifier.notify_watchers();
    }

    /// Takes in all containers of an engine.
    fn on_listed(&mut self, name: &EngineName, containers: BTreeMap<ContainerId, Container>) {
        let state = &mut *self.shared.state.borrow_mut();
        state.forget_listed(name);
        for (id, container) in containers {
            if state.hear(name, &id) {
                let container = container.recognised(state.store.known.own_labels(&id));
                state.inventory.containers.insert(id, container);
            }
        }
        state.stale = true;
        let alive = state.inventory.alive().map(|(id, _)| id);
        for id in alive.filter(|id| state.engine_of(id) == name) {
            self.scheduler.revisit(id);
        }
        self.shared.notifier.notify_all();
    }

    fn on_changed(&mut self, name: &EngineName, id: ContainerId, change: Change) {
        let state = self.shared.state.borrow();
        let known = state.told_by(name, &id).cloned();
        let has_listed = state.engines.has_listed(name);
        drop(state);
        // Its creation was missed, or its image's labels are unknown.
        if has_listed && known.as_ref().is_none_or(|its| its.image_labels.is_none()) {
            self.list_again(name);
        }
        if let Some(container) = known {
            self.take_in(name, id, change.of(container));
        }
    }

    fn on_described(&mut self, name: &EngineName, id: ContainerId, container: Container) {
        let state = self.shared.state.borrow();
        let container = container.recognised(state.store.known.own_labels(&id));
        drop(state);
        self.take_in(name, id, container);
    }

    fn on_removed(&mut self, name: &EngineName, id: &ContainerId) {
        let mut state = self.shared.state.borrow_mut();
        if state.hear_end(name, id) {
            state.stale = true;
            state.inventory.containers.remove(id);
            self.shared.notifier.notify_container(id);
        }
    }

    fn list_again(&self, name: &EngineName) {
        let again = self.followed.list_again(name);
        again.iter().for_each(|again| again.notify_one());
    }

    /// Takes in how a container is now.
    fn take_in(&mut self, name: &EngineName, id: ContainerId, container: Container) {
        let mut state = self.shared.state.borrow_mut();
        if !state.hear(name, &id) {
            return;
        }
        state.stale = true;
        match state.inventory.containers.contains_key(&id) {
            true => self.shared.notifier.notify_container(&id),
            // Its keeper may have taken it for another one's.
            false => self.shared.notifier.notify_all(),
        }
        match container.state {
            ContainerState::Running => self.scheduler.changed(&id),
            ContainerState::Paused => {}
            ContainerState::Stopped => state.problems.stopped(&id),
        }
        state.inventory.containers.insert(id, container);
    }

    /// See [`SECOND_LOOK`].
    fn look_again_soon(&self, name: &EngineName) {
        let list_again = self.followed.list_again(name);
        tokio::task::spawn_local(async move {
            sleep(SECOND_LOOK).await;
            list_again.iter().for_each(|again| again.notify_one());
        });
    }
}
