//! What is in the way, told to the operator once: when it begins, not at every try.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::config::ConfigError;
use crate::config::labels::LabelError;
use crate::daemon::metrics::Metrics;
use crate::model::device::Device;
use crate::model::inventory::{Container, ContainerId};
use crate::model::problem::{Failure, Problem};
use crate::plan::assign::{Assignment, Conflict};
use crate::sys::logging::kind;

/// Where a problem was found; each finds its own anew every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The configuration and the labels, whatever the container looks like inside.
    Definition,
    /// Serving the container.
    Work,
}

/// What has been told.
#[derive(Debug, Default)]
pub struct Problems {
    problems: BTreeMap<ContainerId, BTreeMap<Source, BTreeSet<Problem>>>,
    metrics: Rc<Metrics>,
    store: Option<String>,
    /// Devices, by their place in sysfs, whose bad links have been told.
    links: BTreeSet<String>,
}

impl Problems {
    pub fn new(metrics: Rc<Metrics>) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// These are all problems of a container that a source knows of now.
    pub fn tell(
        &mut self,
        id: &ContainerId,
        name: &str,
        source: Source,
        problems: impl IntoIterator<Item = Problem>,
    ) {
        let problems: BTreeSet<_> = problems.into_iter().collect();
        let of_container = self.problems.entry(id.clone()).or_default();
        let told = of_container.entry(source).or_default();
        for problem in problems.difference(told) {
            self.metrics.failed(problem.failure);
            tracing::warn!(
                message_id = kind::TROUBLE,
                container_name = name,
                container_id = %id.0,
                port = problem.port.as_deref().unwrap_or_default(),
                remedy = problem.fix,
                "{}", problem.cause
            );
        }
        *told = problems;
    }

    /// The container has stopped, and what was in the way of serving it is no more.
    pub fn stopped(&mut self, id: &ContainerId) {
        if let Some(of_container) = self.problems.get_mut(id) {
            of_container.remove(&Source::Work);
        }
    }

    /// These are all containers that there are.
    pub fn keep(&mut self, containers: &BTreeMap<ContainerId, Container>) {
        self.problems.retain(|id, _| containers.contains_key(id));
    }

    /// What is in the way in one container.
    pub fn of(&self, id: &ContainerId) -> impl Iterator<Item = &Problem> {
        let of_container = self.problems.get(id).into_iter();
        of_container.flat_map(BTreeMap::values).flatten()
    }

    /// How many containers have a problem.
    pub fn affected(&self) -> usize {
        let affected = |of: &&BTreeMap<_, BTreeSet<_>>| of.values().any(|set| !set.is_empty());
        self.problems.values().filter(affected).count()
    }

    /// The state could be kept, or not.
    pub fn store(&mut self, result: anyhow::Result<()>) {
        let error = result.err().map(|error| format!("{error:#}"));
        if let Some(error) = error
            .as_ref()
            .filter(|error| self.store.as_ref() != Some(error))
        {
            tracing::error!(message_id = kind::STATE_NOT_KEPT, "{error}");
        }
        self.store = error;
    }

    /// These are all devices that there are.
    pub fn devices<'a>(&mut self, devices: impl Iterator<Item = &'a Device>) {
        let told = std::mem::take(&mut self.links);
        for device in devices.filter(|device| !device.refused_links.is_empty()) {
            if !told.contains(&device.devpath) {
                tracing::warn!(
                    message_id = kind::NAMES_REFUSED,
                    serial_device = %device.node,
                    links = device.refused_links.join(" "),
                    "stable names of the device are left out, because they are no valid paths; \
                     look at the udev rule that gives them"
                );
            }
            self.links.insert(device.devpath.clone());
        }
    }
}

/// What is wrong with what a container is to have.
pub fn of_assignment(assignment: &Result<Assignment, LabelError>) -> Vec<Problem> {
    match assignment {
        Ok(assignment) => assignment
            .conflicts
            .iter()
            .map(|conflict| {
                let (Conflict::Node { port, .. } | Conflict::Link { port, .. }) = conflict;
                let (cause, fix) = (conflict.to_string(), conflict.fix());
                Problem::lasting(Failure::Definition, cause, fix).of_port(port)
            })
            .collect(),
        Err(error) => vec![Problem::lasting(
            Failure::Definition,
            format!("{error}; the container gets no port"),
            "correct the label and create the container again",
        )],
    }
}

/// What is wrong with a configuration, which is not in force then.
pub fn rejected(errors: &[ConfigError]) {
    for error in errors {
        tracing::error!(
            message_id = kind::CONFIG_REJECTED,
            file = %error.file.display(),
            line = error.line.unwrap_or(0),
            "configuration rejected: {error}"
        );
    }
}
