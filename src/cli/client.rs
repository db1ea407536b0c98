//! Asking a running daemon, in the little of HTTP that it takes.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::inotify::AddWatchFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::daemon::api::{CONNECTION_LIMIT, SOCKET, STREAM};
use crate::daemon::status::document::Status;
use crate::sys::inotify::Arrivals;

/// How long an answer may take. Where many ask at once, one may have to wait until others are cut
/// off.
const ANSWER_LIMIT: Duration = CONNECTION_LIMIT.saturating_mul(2);

/// The largest document that is read.
const LARGEST: usize = 16 << 20;

/// How long to wait before a daemon is asked again that has ended the connection, or where there
/// is no directory yet in which its socket could be seen to appear.
const AGAIN: Duration = Duration::from_millis(500);

/// Asks a running daemon.
///
/// # Errors
/// None is running, or this user may not ask it.
pub(crate) async fn ask(run_dir: &Path) -> anyhow::Result<Status> {
    let ask = async {
        let mut answer = Answer::to(run_dir, "/v1/status").await?;
        answer.rest().await
    };
    within_limit(run_dir, ask).await
}

async fn within_limit<T>(
    run_dir: &Path,
    ask: impl Future<Output = io::Result<T>>,
) -> anyhow::Result<T> {
    let too_late = |_| Err(io::Error::other("it does not answer"));
    let answer = timeout(ANSWER_LIMIT, ask).await.unwrap_or_else(too_late);
    answer.with_context(|| not_there(run_dir))
}

/// What to do when none answers.
pub(crate) fn not_there(run_dir: &Path) -> String {
    let socket = run_dir.join(SOCKET);
    let socket = socket.display();
    format!("no ttyplugd answers at {socket}; see systemctl status ttyplugd, and ask as root")
}

/// A stream of documents from a running daemon.
#[derive(Debug)]
pub(crate) struct Watcher {
    run_dir: PathBuf,
    answer: Answer,
}

impl Watcher {
    /// # Errors
    /// None is running, or this user may not ask it.
    pub(crate) async fn start(run_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            answer: within_limit(run_dir, watch(run_dir)).await?,
            run_dir: run_dir.to_owned(),
        })
    }

    /// The same, but waits for a daemon that does not run yet.
    ///
    /// # Errors
    /// This user may not ask it.
    pub(crate) async fn start_when_there(run_dir: &Path) -> anyhow::Result<Self> {
        loop {
            // A socket can be connected to when its mode has been set.
            let kinds = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB;
            let arrivals = Arrivals::watch(run_dir, kinds);
            match watch(run_dir).await {
                Ok(answer) => {
                    return Ok(Self {
                        answer,
                        run_dir: run_dir.to_owned(),
                    });
                }
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error).with_context(|| not_there(run_dir)),
            }
            match arrivals {
                Ok(mut arrivals) => arrivals.next().await?,
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// The next document. `None` if the daemon has ended.
    pub(crate) async fn next(&mut self) -> Option<Status> {
        self.answer.line().await.ok()
    }

    /// Waits for the next daemon.
    ///
    /// # Errors
    /// This user may not ask it.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<()> {
        sleep(AGAIN).await;
        *self = Self::start_when_there(&self.run_dir).await?;
        Ok(())
    }
}

async fn watch(run_dir: &Path) -> io::Result<Answer> {
    let answer = Answer::to(run_dir, "/v1/status?watch=1").await?;
    if !answer.head.contains(STREAM) {
        let older = "it is of an older version: systemctl restart ttyplugd";
        return Err(io::Error::other(older));
    }
    Ok(answer)
}

/// No daemon listens, or it has ended at this moment.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// An answer, as far as it has come.
#[derive(Debug)]
struct Answer {
    stream: UnixStream,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// With HTTP/1.0 an answer ends with its connection (RFC 1945, section 7.2.2), and one request
    /// needs no more than that.
    async fn to(run_dir: &Path, target: &str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(run_dir.join(SOCKET)).await?;
        let request = format!("GET {target} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Self {
            stream,
            head: String::new(),
            body: Vec::new(),
        };
        let head = answer.until(b"\r\n\r\n").await?;
        answer.head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if answer.head.starts_with("http/1.0 503 ") {
            return Err(io::Error::other("too many watch it already"));
        }
        if !answer.head.starts_with("http/1.0 200 ") {
            return Err(io::Error::other("it answers something else"));
        }
        Ok(answer)
    }

    async fn line(&mut self) -> io::Result<Status> {
        let line = self.until(b"\n").await?;
        Ok(serde_json::from_slice(&line)?)
    }

    async fn rest(&mut self) -> io::Result<Status> {
        while self.more().await? {}
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Takes out everything up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self.body[from..].windows(end.len()).position(|w| w == end);
            if let Some(at) = found {
                return Ok(self.body.drain(..from + at + end.len()).collect());
            }
            from = self.body.len().saturating_sub(end.len());
            if !self.more().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn more(&mut self) -> io::Result<bool> {
        if self.body.len() > LARGEST {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(self.stream.read_buf(&mut self.body).await? > 0)
    }
}
