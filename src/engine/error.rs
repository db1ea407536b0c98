//! Why a call to the engine has failed.

use nix::errno::Errno;

use crate::model::inventory::EngineName;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the container is gone")]
    Gone,
    #[error("the engine did not answer in time")]
    Silent,
    #[error("cannot connect to {socket}: {}", errno.desc())]
    Unreachable { socket: String, errno: Errno },
    /// Its answer is an error of HTTP's.
    #[error("the engine answered {status}: {message}")]
    Refused { status: u16, message: String },
    #[error("the connection to the engine failed: {0}")]
    Broken(String),
    #[error("the engine has ended the event stream")]
    EventsEnded,
    #[error("ttyplugd does not speak to the engine of this container")]
    Unknown,
}

impl EngineError {
    /// What the operator can do about it, with the engine that failed.
    pub fn fix(&self, engine: &EngineName) -> String {
        match self {
            Self::Unreachable {
                errno: Errno::EACCES | Errno::EPERM,
                ..
            } => "run this as root".to_owned(),
            Self::Unknown => "use that engine itself".to_owned(),
            Self::Unreachable { .. } => match engine.command() {
                Some("podman") => "does Podman listen? systemctl status podman.socket".to_owned(),
                Some(unit) => format!("is the engine running? systemctl status {unit}"),
                None => "is the engine running?".to_owned(),
            },
            _ => engine.log(),
        }
    }
}
