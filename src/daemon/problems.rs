//! Logs each problem once: when it begins, and not at every try.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::config::ConfigError;
use crate::config::labels::LabelError;
use crate::daemon::metrics::Metrics;
use crate::model::device::Device;
use crate::model::inventory::{Container, ContainerId};
use crate::model::problem::{Failure, Problem};
use crate::plan::assign::Assignment;
use crate::sys::logging::kind;

/// What has found a problem. Each source reports all of its problems every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The configuration and the labels.
    Definition,
    /// The work on the container.
    Work,
}

/// The problems that there are, all of which have been logged.
#[derive(Debug, Default)]
pub struct Problems {
    problems: BTreeMap<ContainerId, BTreeMap<Source, BTreeSet<Problem>>>,
    metrics: Rc<Metrics>,
    /// Why the record of what we made cannot be written.
    records: Option<String>,
    /// Why the state for the next boot cannot be written.
    known: Option<String>,
    /// The devpaths of the devices whose refused links have been logged.
    refused_links: BTreeSet<String>,
}

impl Problems {
    pub fn new(metrics: Rc<Metrics>) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// Takes in all problems that a source has found in a container, and logs the new ones.
    pub fn report(
        &mut self,
        id: &ContainerId,
        name: &str,
        source: Source,
        problems: impl IntoIterator<Item = Problem>,
    ) {
        let problems: BTreeSet<_> = problems.into_iter().collect();
        let of_container = self.problems.entry(id.clone()).or_default();
        let known = of_container.entry(source).or_default();
        for problem in problems.difference(known) {
            self.metrics.failed(problem.failure);
            tracing::warn!(
                message_id = kind::TROUBLE,
                container_name = name,
                container_id = id.id,
                engine = id.engine.unless_docker(),
                port = problem.port.as_deref().unwrap_or_default(),
                remedy = problem.fix,
                "{}",
                problem.cause
            );
        }
        *known = problems;
    }

    /// Forgets the problems of the work on a container, which has stopped.
    pub fn stopped(&mut self, id: &ContainerId) {
        if let Some(of_container) = self.problems.get_mut(id) {
            of_container.remove(&Source::Work);
        }
    }

    /// Forgets all containers but these.
    pub fn retain(&mut self, containers: &BTreeMap<ContainerId, Container>) {
        self.problems.retain(|id, _| containers.contains_key(id));
    }

    /// The problems of one container.
    pub fn of_container(&self, id: &ContainerId) -> impl Iterator<Item = &Problem> {
        let of_container = self.problems.get(id).into_iter();
        of_container.flat_map(BTreeMap::values).flatten()
    }

    /// How many containers have a problem.
    pub fn affected(&self) -> usize {
        let affected = |of: &&BTreeMap<_, BTreeSet<_>>| of.values().any(|set| !set.is_empty());
        self.problems.values().filter(affected).count()
    }

    /// Takes in whether the record of what we made could be written, and logs a new error.
    pub fn report_records(&mut self, written: &anyhow::Result<()>) {
        if let Some(error) = replace(&mut self.records, written) {
            tracing::error!(
                message_id = kind::STATE_NOT_KEPT,
                "{error}: no container is changed until it can be written"
            );
        }
    }

    /// Takes in whether the state for the next boot could be written, and logs a new error.
    pub fn report_known(&mut self, written: &anyhow::Result<()>) {
        if let Some(error) = replace(&mut self.known, written) {
            tracing::warn!(message_id = kind::STATE_NOT_KEPT, "{error}: {NEXT_BOOT}");
        }
    }

    /// Why the state for the next boot cannot be written.
    pub fn of_known(&self) -> Option<&str> {
        self.known.as_deref()
    }

    /// Logs links that are no valid paths, once for each of these devices. They are all that there
    /// are.
    pub fn report_refused_links<'a>(&mut self, devices: impl Iterator<Item = &'a Device>) {
        let logged = std::mem::take(&mut self.refused_links);
        for device in devices.filter(|device| !device.refused_links.is_empty()) {
            if !logged.contains(&device.devpath) {
                tracing::warn!(
                    message_id = kind::NAMES_REFUSED,
                    serial_device = %device.node,
                    links = device.refused_links.join(" "),
                    "ignoring links of the device that are no valid paths; check the udev rule that \
                     makes them"
                );
            }
            self.refused_links.insert(device.devpath.clone());
        }
    }
}

/// What is missing where the state for the next boot cannot be written.
pub const NEXT_BOOT: &str = "ports work as usual, but containers that start before ttyplugd at the next \
                             boot may lack theirs at first, and a port that several devices match may \
                             get another one";

/// Puts an error, or none, in the place of the last one. Returns one that is new.
fn replace(last: &mut Option<String>, written: &anyhow::Result<()>) -> Option<String> {
    let error = written.as_ref().err().map(|error| format!("{error:#}"));
    let before = std::mem::replace(last, error.clone());
    error.filter(|_| before != *last)
}

/// The problems in a container's definition.
pub fn of_assignment(assignment: &Result<Assignment, LabelError>) -> Vec<Problem> {
    match assignment {
        Ok(assignment) => assignment
            .conflicts
            .iter()
            .map(|conflict| {
                let (cause, fix) = (conflict.to_string(), conflict.fix());
                Problem::lasting(Failure::Definition, cause, fix).of_port(conflict.port())
            })
            .collect(),
        Err(error) => vec![Problem::lasting(
            Failure::Definition,
            format!("{error}; the container gets no ports"),
            "correct the label and create the container again",
        )],
    }
}

/// Logs why a configuration is not put in force.
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
