//! Commands that do nothing, by the engine's API: what no way of making nodes by commands can be
//! faster than.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::testbed::{Container, docker_host};

use super::ms;

/// As many at a time as ttyplugd executes.
const AT_ONCE: usize = 8;

/// Executes one in every container. Returns how long all of them took, in milliseconds.
pub(crate) fn bare_commands(containers: &[Container]) -> f64 {
    let names: Vec<_> = containers.iter().map(Container::name).collect();
    let begin = Instant::now();
    let left = Mutex::new(names.into_iter());
    let next = || left.lock().expect("nobody panics with it").next();
    let work = || {
        while let Some(container) = next() {
            execute(container);
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    ms(begin.elapsed())
}

fn execute(container: &str) {
    let command = json!({
        "Cmd": ["true"], "User": "0:0", "AttachStdout": true, "AttachStderr": true,
    });
    let created = post(&format!("/containers/{container}/exec"), &command);
    let id = created.split_once("\"Id\":\"").map(|(_, rest)| rest);
    let id = id.and_then(|rest| rest.split_once('"')).map(|(id, _)| id);
    let id = id.unwrap_or_else(|| panic!("{container}: {created}"));
    // The answer ends with the command.
    let started = post(&format!("/exec/{id}/start"), &json!({ "Detach": false }));
    assert!(
        started.starts_with("HTTP/1.1 200"),
        "{container}: {started}"
    );
}

fn post(path: &str, body: &Value) -> String {
    let host = docker_host();
    let mut socket = UnixStream::connect(host.trim_start_matches("unix://")).expect("it listens");
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}
