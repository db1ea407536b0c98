//! A client for the daemon's API socket: as much HTTP as that needs.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::inotify::AddWatchFlags;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::daemon::api::{CONNECTION_LIMIT, SOCKET, STREAM};
use crate::daemon::status::document::Status;
use crate::sys::inotify::Arrivals;
use crate::sys::pidfd::{self, Signal};

/// How long a response may take. When the daemon has as many connections as it allows, the request
/// waits until others are cut off.
const RESPONSE_LIMIT: Duration = CONNECTION_LIMIT.saturating_mul(2);

/// The largest document that is read.
const MAX_DOCUMENT: u64 = 16 << 20;

/// The pause before the next attempt to connect.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Asks the daemon for its status.
///
/// # Errors
/// No daemon is running, or this user may not connect to it.
pub(super) async fn fetch_status(run_dir: &Path) -> anyhow::Result<Status> {
    let fetch = async {
        let mut response = Response::get(run_dir, "/v1/status").await?;
        response.document().await
    };
    within_limit(run_dir, fetch).await
}

async fn within_limit<T>(
    run_dir: &Path,
    request: impl Future<Output = io::Result<T>>,
) -> anyhow::Result<T> {
    let too_late = |_| Err(io::Error::other("timed out"));
    let result = timeout(RESPONSE_LIMIT, request).await;
    result
        .unwrap_or_else(too_late)
        .with_context(|| no_answer(run_dir))
}

/// The message for a daemon that cannot be reached.
pub(super) fn no_answer(run_dir: &Path) -> String {
    let socket = run_dir.join(SOCKET);
    let socket = socket.display();
    format!("no answer from ttyplugd at {socket} (run as root; systemctl status ttyplugd)")
}

/// A stream of status documents from the daemon, one for every change.
#[derive(Debug)]
pub(super) struct Watcher {
    run_dir: PathBuf,
    response: Response,
}

impl Watcher {
    /// Connects to a running daemon.
    ///
    /// # Errors
    /// No daemon is running, or this user may not connect to it.
    pub(super) async fn connect(run_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            response: within_limit(run_dir, watch(run_dir)).await?,
            run_dir: run_dir.to_owned(),
        })
    }

    /// Connects to the daemon as soon as one is running.
    ///
    /// # Errors
    /// This user may not connect to it.
    pub(super) async fn wait_and_connect(run_dir: &Path) -> anyhow::Result<Self> {
        loop {
            // IN_ATTRIB: the daemon sets the socket's mode after it has created it.
            let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB;
            let arrivals = Arrivals::watch(run_dir, events);
            match watch(run_dir).await {
                Ok(response) => {
                    return Ok(Self {
                        response,
                        run_dir: run_dir.to_owned(),
                    });
                }
                Err(error) if is_not_running(&error) => {}
                Err(error) => return Err(error).with_context(|| no_answer(run_dir)),
            }
            match arrivals {
                Ok(mut arrivals) => arrivals.next().await?,
                // The directory does not exist yet.
                Err(_) => sleep(RETRY_DELAY).await,
            }
        }
    }

    /// The next document. `None` if the daemon has ended.
    pub(super) async fn next(&mut self) -> Option<Status> {
        self.response.line().await.ok()
    }

    /// Sends a signal to the daemon.
    ///
    /// # Errors
    /// It has ended, or this user may not send it one.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let daemon = self.response.daemon.as_ref();
        let sent = daemon.map(|daemon| pidfd::send(daemon, signal));
        Ok(sent.context("the process of ttyplugd cannot be found")??)
    }

    /// Waits for the next daemon and connects to it.
    ///
    /// # Errors
    /// This user may not connect to it.
    pub(super) async fn reconnect(&mut self) -> anyhow::Result<()> {
        sleep(RETRY_DELAY).await;
        *self = Self::wait_and_connect(&self.run_dir).await?;
        Ok(())
    }
}

async fn watch(run_dir: &Path) -> io::Result<Response> {
    let response = Response::get(run_dir, "/v1/status?watch=1").await?;
    if !response.head.contains(STREAM) {
        let older = "its version is too old to be watched: systemctl restart ttyplugd";
        return Err(io::Error::other(older));
    }
    Ok(response)
}

/// Whether nobody listens, or the daemon ended during the request.
fn is_not_running(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// A response whose head has been read.
#[derive(Debug)]
struct Response {
    /// The status line and the headers, in lower case.
    head: String,
    body: BufReader<UnixStream>,
    /// The process that it is from, if this machine's numbers tell.
    daemon: Option<OwnedFd>,
}

impl Response {
    /// Sends a request. With HTTP/1.0 the end of the connection ends the response (RFC 1945,
    /// section 7.2.2).
    async fn get(run_dir: &Path, target: &str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(run_dir.join(SOCKET)).await?;
        // Who has called listen(2) (unix(7), SO_PEERCRED). The number is that process's own still, since
        // it will answer.
        let pid = stream.peer_cred()?.pid();
        let daemon = pid.and_then(|pid| pidfd::open(pid).ok());
        let request = format!("GET {target} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut body = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = read_line(&mut body).await?;
            head += &String::from_utf8_lossy(&line).to_ascii_lowercase();
        }
        if head.starts_with("http/1.0 503 ") {
            return Err(io::Error::other("too many watchers"));
        }
        if !head.starts_with("http/1.0 200 ") {
            return Err(io::Error::other("unexpected response"));
        }
        Ok(Self { head, body, daemon })
    }

    /// The whole body.
    async fn document(&mut self) -> io::Result<Status> {
        let mut text = Vec::new();
        let mut limited = (&mut self.body).take(MAX_DOCUMENT);
        limited.read_to_end(&mut text).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The next line of the body.
    async fn line(&mut self) -> io::Result<Status> {
        let line = read_line(&mut self.body).await?;
        Ok(serde_json::from_slice(&line)?)
    }
}

async fn read_line(stream: &mut BufReader<UnixStream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut limited = stream.take(MAX_DOCUMENT);
    limited.read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}
