//! The connections to the engines that are followed.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::engine::Engine;
use crate::model::inventory::EngineName;

/// The engines that are followed.
#[derive(Debug, Default)]
pub struct Engines {
    asked: BTreeMap<EngineName, Connection>,
    /// What wrappers have told of containers of all others, once that was listed.
    told: Option<Rc<Engine>>,
}

/// The connection to an engine.
#[derive(Debug)]
enum Connection {
    /// It has not answered this daemon yet. Its containers are known from the state directory.
    Unknown {
        error: Option<String>,
    },
    /// The same, and nobody says that it is there.
    Absent,
    Connected(Rc<Engine>),
    /// It has listed its containers, and does not answer any more.
    Lost {
        error: String,
    },
}

impl Connection {
    fn engine(&self) -> Option<&Rc<Engine>> {
        match self {
            Self::Connected(engine) => Some(engine),
            Self::Unknown { .. } | Self::Absent | Self::Lost { .. } => None,
        }
    }

    fn has_listed(&self) -> bool {
        !matches!(self, Self::Unknown { .. } | Self::Absent)
    }

    fn error(&self) -> Option<&str> {
        match self {
            Self::Unknown { error } => error.as_deref(),
            Self::Connected(_) | Self::Absent => None,
            Self::Lost { error } => Some(error),
        }
    }
}

impl Engines {
    /// Another engine is followed from now on.
    pub fn follow(&mut self, name: EngineName) {
        let unknown = Connection::Unknown { error: None };
        self.asked.entry(name).or_insert(unknown);
    }

    /// An engine is followed no longer.
    pub fn forget(&mut self, name: &EngineName) {
        self.asked.remove(name);
    }

    /// The engine of this name, if it answers.
    pub fn get(&self, name: &EngineName) -> Option<&Rc<Engine>> {
        match *name == EngineName::TOLD {
            true => self.told.as_ref(),
            false => self.asked.get(name)?.engine(),
        }
    }

    /// Whether it has listed its containers.
    pub fn has_listed(&self, name: &EngineName) -> bool {
        self.asked.get(name).is_some_and(Connection::has_listed)
    }

    /// Whether a container of it that is not known is gone. While it does not answer it may exist.
    pub fn knows_all(&self, name: &EngineName) -> bool {
        match self.asked.get(name) {
            Some(its) => its.engine().is_some(),
            None => self.told.is_some(),
        }
    }

    /// Whether one has listed its containers, or nobody is asked.
    pub fn any_has_listed(&self) -> bool {
        self.asked.is_empty() || self.asked.values().any(Connection::has_listed)
    }

    /// Whether what a wrapper tells of a container of this engine counts. Which of several sockets an
    /// engine has that can be asked, its wrapper does not know.
    pub fn is_left_to_wrappers(&self, name: &EngineName) -> bool {
        !name.has_socket() || self.asked.is_empty()
    }

    /// Whether it is asked about its containers.
    pub fn asks(&self, name: &EngineName) -> bool {
        self.asked.contains_key(name)
    }

    /// Whether one answers, or nobody is asked.
    pub fn any_answers(&self) -> bool {
        let mut all = self.asked.values();
        self.asked.is_empty() || all.any(|its| its.engine().is_some())
    }

    /// Why those do not answer that do not. Each is named where there are several.
    pub fn error(&self) -> Option<String> {
        let errors = self.asked.iter().filter_map(|(name, its)| {
            let error = its.error()?;
            Some(match self.asked.len() {
                1 => error.to_owned(),
                _ => format!("{name}: {error}"),
            })
        });
        let errors: Vec<String> = errors.collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    /// All of them, each with whether it answers and why not.
    pub fn all(&self) -> impl Iterator<Item = (&EngineName, bool, Option<&str>)> {
        let all = self.asked.iter();
        all.map(|(name, its)| (name, its.engine().is_some(), its.error()))
    }

    /// It answers. Returns whether it has done so before.
    pub fn connect(&mut self, name: &EngineName, engine: Rc<Engine>) -> bool {
        if *name == EngineName::TOLD {
            self.told = Some(engine);
            return false;
        }
        let connected = Connection::Connected(engine);
        let before = self.asked.insert(name.clone(), connected);
        before.is_some_and(|before| before.has_listed())
    }

    /// It is not there, and need not be. One that has answered before is missed all the same.
    pub fn excuse(&mut self, name: &EngineName) {
        let connection = self.asked.get_mut(name);
        if let Some(unknown) = connection.filter(|connection| !connection.has_listed()) {
            *unknown = Connection::Absent;
        }
    }

    /// Whether Podman is there, and has not answered this daemon yet.
    pub fn awaits_podman(&self) -> bool {
        let podman = self.asked.get(&EngineName::PODMAN);
        matches!(podman, Some(Connection::Unknown { .. }))
    }

    /// It does not answer. Returns whether that, or the error, is new.
    pub fn lose(&mut self, name: &EngineName, error: String) -> bool {
        let Some(connection) = self.asked.get_mut(name) else {
            return false;
        };
        let is_new = connection.error() != Some(&error);
        *connection = match connection.has_listed() {
            true => Connection::Lost { error },
            false => Connection::Unknown { error: Some(error) },
        };
        is_new
    }
}
