//! What keeps a port from working in a container, and what to do about it.

/// What keeps a port from working in a container, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What it is counted as.
    pub failure: Failure,
    /// The one port that it concerns; `None` is the whole container.
    pub port: Option<String>,
    pub cause: String,
    pub fix: String,
    /// Whether to try again soon. What only the operator can fix waits for a change or for the
    /// next resync.
    pub retry: bool,
}

impl Problem {
    /// A problem that may pass by itself.
    pub fn passing(failure: Failure, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            failure,
            port: None,
            cause: cause.into(),
            fix: fix.into(),
            retry: true,
        }
    }

    /// A problem that stays until the operator fixes it.
    pub fn lasting(failure: Failure, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            retry: false,
            ..Self::passing(failure, cause, fix)
        }
    }

    /// The record of what is made in containers cannot be written.
    pub fn disk(error: &anyhow::Error) -> Self {
        let cause = format!("{error:#}, so nothing is changed in the container");
        Self::passing(Failure::Disk, cause, "make room in that file system")
    }

    /// The same problem, of one port alone.
    pub fn of_port(self, port: &str) -> Self {
        Self {
            port: Some(port.to_owned()),
            ..self
        }
    }
}

/// The kinds of failures that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The configuration or a label asks for something impossible.
    Definition,
    /// The engine did not answer, or answered with an error.
    Engine,
    /// The container's /dev cannot be read.
    Look,
    /// A directory of a port's node or links is not the container's own.
    HostDev,
    /// The container does not have the port's user or group.
    Account,
    /// Something else is at a port's path.
    InTheWay,
    /// The command executed in the container failed.
    Exec,
    /// A node could not be made from outside.
    Inject,
    /// Device access could not be granted or revoked.
    Right,
    /// The record of what is made in containers cannot be written.
    Disk,
    /// A placeholder is left out: an open of it would not be held, and fail.
    Placeholder,
}

impl Failure {
    pub const ALL: [Self; 11] = [
        Self::Definition,
        Self::Engine,
        Self::Look,
        Self::HostDev,
        Self::Account,
        Self::InTheWay,
        Self::Exec,
        Self::Inject,
        Self::Right,
        Self::Disk,
        Self::Placeholder,
    ];

    /// Its name in the metrics, which never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Engine => "engine",
            Self::Look => "look",
            Self::HostDev => "host_dev",
            Self::Account => "account",
            Self::InTheWay => "in_the_way",
            Self::Exec => "exec",
            Self::Inject => "inject",
            Self::Right => "right",
            Self::Disk => "disk",
            Self::Placeholder => "placeholder",
        }
    }
}
