//! The daemon's socket for operators and programs: HTTP and JSON, as Docker has it.
//!
//! `curl --unix-socket /run/ttyplugd/api.sock http://localhost/v1/status`

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::holds::listen;
use crate::report::Reports;
use crate::status::{Status, status};
use crate::world::World;

const SOCKET: &str = "api.sock";

/// How long one connection may be open.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// The largest answer that is read.
const LARGEST_ANSWER: u64 = 16 << 20;

/// Answers at `api.sock` in the run directory, for ever. Only root can connect to it.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    run_dir: &Path,
    world: Rc<RefCell<World>>,
    reports: Rc<RefCell<Reports>>,
) -> anyhow::Result<()> {
    let listener = listen(&run_dir.join(SOCKET))?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (world, reports) = (world.clone(), reports.clone());
            tokio::task::spawn_local(async move {
                // The socket's mode says so already.
                if stream.peer_cred().is_ok_and(|peer| peer.uid() != 0) {
                    return;
                }
                let answer = service_fn(move |request| {
                    let response = answer(&request, &world.borrow(), &reports.borrow());
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                // Who goes away in the middle is not missed.
                let _ = timeout(CONNECTION_LIMIT, connection).await;
            });
        }
    });
    Ok(())
}

fn answer(request: &Request<Incoming>, world: &World, reports: &Reports) -> Response<Full<Bytes>> {
    let (code, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/status") => {
            let status = serde_json::to_vec(&status(world, reports));
            (StatusCode::OK, status.unwrap_or_default())
        }
        (_, "/v1/status") => (
            StatusCode::METHOD_NOT_ALLOWED,
            br#"{"message":"only GET"}"#.to_vec(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            br#"{"message":"there is /v1/status"}"#.to_vec(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Asks a running daemon.
///
/// # Errors
/// None is running, or this user may not ask it.
pub async fn ask(run_dir: &Path) -> anyhow::Result<Status> {
    let socket = run_dir.join(SOCKET);
    // With HTTP/1.0 an answer ends with its connection (RFC 1945, section 7.2.2), and one request
    // needs no more than that.
    let ask = async {
        let mut stream = UnixStream::connect(&socket).await?;
        stream.write_all(b"GET /v1/status HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(LARGEST_ANSWER).read_to_end(&mut answer).await?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = end.map(|end| &answer[end + 4..]);
        let body = body.filter(|_| answer.starts_with(b"HTTP/1.0 200 "));
        anyhow::Ok(serde_json::from_slice(
            body.context("it answers something else")?,
        )?)
    };
    let answer = match timeout(CONNECTION_LIMIT, ask).await {
        Ok(answer) => answer,
        Err(_) => Err(anyhow::anyhow!("it does not answer")),
    };
    answer.with_context(|| {
        let socket = socket.display();
        format!("no ttyplugd answers at {socket}; see systemctl status ttyplugd, and ask as root")
    })
}
