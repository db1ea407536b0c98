//! Converts the errors of calls.

use std::error::Error;
use std::io;

use anyhow::Chain;
use bollard::errors::Error as ApiError;
use nix::errno::Errno;

use crate::engine::error::EngineError;

/// Why a call to the engine at this socket has failed.
pub(super) fn of_call(error: ApiError, socket: &str) -> EngineError {
    let unreachable = |errno| EngineError::Unreachable {
        socket: socket.to_owned(),
        errno,
    };
    match error {
        ApiError::DockerResponseServerError {
            status_code: 404, ..
        } => EngineError::Gone,
        ApiError::DockerResponseServerError {
            status_code: status,
            message,
        } => EngineError::Refused { status, message },
        ApiError::RequestTimeoutError => EngineError::Silent,
        ApiError::SocketNotFoundError(_) => unreachable(Errno::ENOENT),
        ApiError::HyperLegacyError { err } if err.is_connect() => match errno(&err) {
            Some(errno) => unreachable(errno),
            None => EngineError::Broken(chain(&err)),
        },
        error => EngineError::Broken(chain(&error)),
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

    use crate::engine::api::Api;
    use crate::engine::labels::Labels;
    use crate::engine::places::Place;

    #[tokio::test]
    async fn an_engine_that_cannot_be_connected_to_is_an_error_with_socket_cause_and_fix() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let socket = socket.to_str().unwrap();
        for cause in ["No such file or directory", "Connection refused"] {
            let place = Place::configured(socket.to_owned());
            let connected = Api::connect(&place, Labels::default().into()).await;
            let error = connected.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cannot connect to {socket}: {cause}")
            );
            assert_eq!(
                error.fix(&place.name),
                "is the engine running? systemctl status docker"
            );
            // The socket stays without a listener.
            drop(UnixListener::bind(socket));
        }
    }
}
