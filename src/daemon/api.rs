//! The daemon's socket for operators and programs: HTTP and JSON, as Docker has it.
//!
//! `curl --unix-socket /run/ttyplugd/api.sock http://localhost/v1/status`
//!
//! A client that watches gets a document whenever something has changed. Each is composed when the
//! client has read the one before: a slow client misses some, and costs no memory.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::Stream;
use futures_util::stream::unfold;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::daemon::notifier::Changed;
use crate::daemon::shared::Shared;
use crate::daemon::status::document::Status;
use crate::daemon::status::status;
use crate::sys::journal;
use crate::sys::socket::Listener;

/// The name of the socket in the run directory.
pub const SOCKET: &str = "api.sock";

/// How long a connection without a watch may be open.
pub const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// How many connections there may be at once. More of them wait in the socket's queue.
const MOST_CONNECTIONS: usize = 64;

/// How many of them may watch.
const MOST_WATCHERS: usize = 32;

/// The least time between two documents for a client that watches: a burst of changes makes few
/// documents.
const PAUSE: Duration = Duration::from_millis(100);

/// The size in bytes of a connection's buffers for reading and for writing.
const BUFFER: usize = 64 << 10;

/// The content type of a stream of documents: one JSON value per line.
pub const STREAM: &str = "application/x-ndjson";

/// Answers requests from the daemon's state.
#[derive(Debug, Clone)]
pub struct Api(pub Rc<Shared>);

impl Api {
    /// Answers at `api.sock` in the run directory as long as the daemon runs. Only root can connect.
    ///
    /// # Errors
    /// It cannot listen at the socket.
    pub fn serve(self, run_dir: &Path) -> anyhow::Result<()> {
        let path = run_dir.join(SOCKET);
        let listener = Listener::bind(&path)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let watchers = Arc::new(Semaphore::new(MOST_WATCHERS));
        tokio::task::spawn_local(async move {
            while let Ok(place) = connections.clone().acquire_owned().await {
                let stream = listener.accept().await;
                let (api, watchers) = (self.clone(), watchers.clone());
                tokio::task::spawn_local(async move {
                    api.serve_connection(stream, &watchers).await;
                    drop(place);
                });
            }
        });
        Ok(())
    }

    async fn serve_connection(&self, stream: UnixStream, watchers: &Arc<Semaphore>) {
        let watches = Cell::new(false);
        let answer = service_fn(|request| {
            let response = self.answer(&request, watchers);
            watches.set(matches!(response.body(), Either::Right(_)));
            ready(Ok::<_, Infallible>(response))
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        // An error means that the client has left.
        let ended = timeout(CONNECTION_LIMIT, connection.as_mut()).await;
        if ended.is_err() && watches.get() {
            let _ = connection.await;
        }
    }

    fn answer(
        &self,
        request: &Request<Incoming>,
        watchers: &Arc<Semaphore>,
    ) -> Response<Either<Full<Bytes>, impl Body<Data = Bytes, Error = Infallible> + use<>>> {
        const JSON: &str = "application/json";
        let whole = |code, kind, body: String| (code, kind, Either::Left(Full::from(body)));
        let no = |code, why: &str| whole(code, JSON, format!(r#"{{"message":"{why}"}}"#));
        let (path, query) = (request.uri().path(), request.uri().query());
        let (code, kind, body) = match (request.method(), path, query) {
            (&Method::GET, "/v1/status", Some("watch=1")) => {
                match watchers.clone().try_acquire_owned() {
                    Ok(place) => {
                        let documents = StreamBody::new(self.documents(place));
                        (StatusCode::OK, STREAM, Either::Right(documents))
                    }
                    Err(_) => no(StatusCode::SERVICE_UNAVAILABLE, "too many watchers"),
                }
            }
            (&Method::GET, "/v1/status", _) => whole(StatusCode::OK, JSON, text(&self.status())),
            (&Method::GET, "/metrics", _) => {
                let metrics = &self.0.state.borrow().metrics;
                let text = metrics.text(&self.status(), journal::dropped());
                whole(StatusCode::OK, "text/plain; version=0.0.4", text)
            }
            (_, "/v1/status" | "/metrics", _) => no(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
            _ => {
                let known = "not found; try /v1/status, /v1/status?watch=1 or /metrics";
                no(StatusCode::NOT_FOUND, known)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = code;
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    fn status(&self) -> Status {
        let state = self.0.state.borrow();
        status(&state, state.clock.now())
    }

    /// The status, and again whenever it has changed.
    fn documents(
        &self,
        place: OwnedSemaphorePermit,
    ) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + use<> {
        let watching = Watching {
            api: self.clone(),
            changed: self.0.notifier.watchers(),
            last: None,
            not_before: Instant::now(),
            _place: place,
        };
        unfold(watching, |mut watching| async {
            let document = watching.next().await?;
            let line = text(&document) + "\n";
            watching.last = Some(document);
            Some((Ok(Frame::data(Bytes::from(line))), watching))
        })
    }
}

/// A client that watches.
struct Watching {
    api: Api,
    changed: Changed,
    last: Option<Status>,
    not_before: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    async fn next(&mut self) -> Option<Status> {
        loop {
            let Some(last) = &self.last else {
                return Some(self.api.status());
            };
            self.changed.next().await?;
            sleep_until(self.not_before).await;
            let status = self.api.status();
            self.not_before = Instant::now() + PAUSE;
            if !status.is_same_as(last) {
                return Some(status);
            }
        }
    }
}

fn text(status: &Status) -> String {
    // It cannot fail: the document has only strings and numbers.
    serde_json::to_string(status).unwrap_or_default()
}
