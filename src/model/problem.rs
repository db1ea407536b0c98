//! What keeps a port from working in a container, and what to do about it.

/// Something that keeps a port from working in a container: what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// What kind of failure it is counted as.
    pub failure: Failure,
    pub port: Option<String>,
    pub cause: String,
    pub remedy: String,
    /// Whether trying again soon may help. What only the operator can mend waits for a change or
    /// for the next resync.
    pub retry: bool,
}

impl Trouble {
    /// Something that may pass, so that it is tried again soon.
    pub fn passing(failure: Failure, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            failure,
            port: None,
            cause: cause.into(),
            remedy: remedy.into(),
            retry: true,
        }
    }

    /// Something that stays until the operator mends it.
    pub fn lasting(failure: Failure, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            retry: false,
            ..Self::passing(failure, cause, remedy)
        }
    }

    /// What was done cannot be written down.
    pub fn disk(error: &anyhow::Error) -> Self {
        Self::passing(Failure::Disk, format!("{error:#}"), "make room on the disk")
    }

    /// It concerns one port alone.
    pub fn of_port(self, port: &str) -> Self {
        Self {
            port: Some(port.to_owned()),
            ..self
        }
    }
}

/// What has failed, as far as failures are told apart when they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// What the configuration or a label says cannot be done.
    Definition,
    /// The engine did not answer, or with an error.
    Engine,
    /// The container cannot be looked into.
    Look,
    /// It sees a /dev that is not its own.
    HostDev,
    /// A user or group is not known in it.
    Account,
    /// Something else is at a port's path.
    InTheWay,
    /// The command in it did not do its work.
    Exec,
    /// What was to be made in it from outside could not be.
    Inject,
    /// It could not be given or denied the right to open a device.
    Right,
    /// What was done cannot be written down.
    Disk,
}
