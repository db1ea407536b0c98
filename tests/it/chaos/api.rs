//! The engine's API, without the docker command, which takes longer to start than most calls take.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::testbed::docker_host;

/// How long a call may take, and how long it is tried while the engine is down.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer: its status, and its body, which is empty or JSON.
pub(super) type Answer = (u16, Value);

/// Calls until the engine answers.
pub(super) fn call(method: &str, path: &str, body: &Value) -> Result<Answer, String> {
    let end = Instant::now() + LIMIT;
    loop {
        match try_call(method, path, body) {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > end => return Err(format!("{method} {path}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// With this version of HTTP the connection is the engine's to close, and ends the body.
fn try_call(method: &str, path: &str, body: &Value) -> io::Result<Answer> {
    let host = docker_host();
    let mut stream = UnixStream::connect(host.trim_start_matches("unix://"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other(format!("a strange answer: {answer:?}")))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}
