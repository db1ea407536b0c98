//! Why a call to the engine has failed.

use std::error::Error;
use std::io;
use std::time::Duration;

use anyhow::Chain;
use bollard::errors::Error as ApiError;
use nix::errno::Errno;

/// How long one call to the engine may take. `inspect` of a container waits for the container's
/// lock, which the engine holds while a runtime is creating it.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);

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
}

impl EngineError {
    pub(super) fn new(error: ApiError, socket: &str) -> Self {
        let unreachable = |errno| Self::Unreachable {
            socket: socket.to_owned(),
            errno,
        };
        match error {
            ApiError::DockerResponseServerError {
                status_code: 404, ..
            } => Self::Gone,
            ApiError::DockerResponseServerError {
                status_code: status,
                message,
            } => Self::Refused { status, message },
            ApiError::RequestTimeoutError => Self::Silent,
            ApiError::SocketNotFoundError(_) => unreachable(Errno::ENOENT),
            ApiError::HyperLegacyError { err } if err.is_connect() => match errno(&err) {
                Some(errno) => unreachable(errno),
                None => Self::Broken(chain(&err)),
            },
            error => Self::Broken(chain(&error)),
        }
    }

    /// What the operator can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Unreachable {
                errno: Errno::EACCES | Errno::EPERM,
                ..
            } => "run this as root",
            Self::Unreachable { .. } => "is the engine running? systemctl status docker",
            _ => "look at the engine's log: journalctl -u docker",
        }
    }
}

fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let code = |error: &(dyn Error + 'static)| error.downcast_ref::<io::Error>()?.raw_os_error();
    Chain::new(error).find_map(code).map(Errno::from_raw)
}

/// An error and its causes, the last of which says what has happened.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for source in Chain::new(error).skip(1).map(ToString::to_string) {
        // Some say what their source says, too.
        if !text.ends_with(&source) {
            text += &format!(": {source}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use crate::engine::{Engine, labels::Labels};

    #[tokio::test]
    async fn an_engine_that_cannot_be_connected_to_is_an_error_with_socket_cause_and_fix() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let socket = socket.to_str().unwrap();
        for cause in ["No such file or directory", "Connection refused"] {
            let connected = Engine::connect(socket, Labels::default().into()).await;
            let error = connected.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cannot connect to {socket}: {cause}")
            );
            assert!(
                error.fix().ends_with("systemctl status docker"),
                "{error:?}"
            );
            // The socket stays without a listener.
            drop(UnixListener::bind(socket));
        }
    }
}
