//! Unix sockets at which only root is answered.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::sys::logging::kind;

/// The pause before the next try when a connection cannot be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at a path, in place of the socket that an earlier run has left there.
///
/// # Errors
/// The directory cannot be written to.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether root is at the other end. The mode of the socket lets nobody else connect, except for
/// the moment before it is set.
pub fn is_of_root(stream: &impl AsFd) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == 0)
}

/// A socket at which connections are accepted as long as the program runs.
#[derive(Debug)]
pub struct Listener {
    socket: tokio::net::UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at a path, in place of the socket that an earlier run has left there.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let socket = bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: tokio::net::UnixListener::from_std(socket)?,
            path: path.to_owned(),
        })
    }

    /// Waits for root to connect. An error, such as too many open files, is one of the moment
    /// (accept(2), "Error handling"): it is logged once, and the connection waits in the queue.
    pub async fn accept(&self) -> UnixStream {
        let mut is_logged = false;
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) if is_of_root(&stream) => return stream,
                Ok(_) => {}
                Err(error) => {
                    if !is_logged {
                        tracing::warn!(
                            message_id = kind::SOCKET_FAILED,
                            file = %self.path.display(),
                            %error,
                            "cannot accept connections; retrying"
                        );
                        is_logged = true;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}
