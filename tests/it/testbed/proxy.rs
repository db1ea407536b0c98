//! A proxy in front of the engine that answers chosen requests with 500 or not at all, and passes on all
//! others.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Testbed, docker_host};

#[derive(Debug)]
pub(crate) struct Proxy {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It is answered with 500.
    Fails,
    /// It waits until the proxy is healed.
    Waits,
}

#[derive(Debug)]
struct Shared {
    engine: PathBuf,
    /// What happens to a request whose line contains this.
    fault: Mutex<Option<(String, Fault)>>,
    failed: AtomicUsize,
}

impl Proxy {
    /// Listens for as long as the test process lives.
    pub(crate) fn start(bed: &Testbed) -> Self {
        let socket = bed.file("proxy.sock");
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        let host = docker_host();
        let engine = host.strip_prefix("unix://");
        let shared = Arc::new(Shared {
            engine: engine.expect("the engine has a unix socket").into(),
            fault: Mutex::default(),
            failed: AtomicUsize::new(0),
        });
        let accepted = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepted);
                // A connection that breaks is what the daemon has to live with.
                std::thread::spawn(move || shared.serve(client));
            }
        });
        Self { socket, shared }
    }

    /// The value of `DOCKER_HOST` that leads through it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// From now on answers requests whose first line contains `request` with 500.
    pub(crate) fn fail(&self, request: &str) {
        self.set(Some((request.into(), Fault::Fails)));
    }

    /// From now on such requests wait until it is healed.
    pub(crate) fn stall(&self, request: &str) {
        self.set(Some((request.into(), Fault::Waits)));
    }

    pub(crate) fn heal(&self) {
        self.set(None);
    }

    fn set(&self, fault: Option<(String, Fault)>) {
        *self.shared.fault.lock().expect("nobody panics with it") = fault;
    }

    /// How many requests it has answered with 500.
    pub(crate) fn failed(&self) -> usize {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Shared {
    fn fault_of(&self, line: &str) -> Option<Fault> {
        let fault = self.fault.lock().expect("nobody panics with it");
        let (request, fault) = fault.as_ref()?;
        line.contains(request).then_some(*fault)
    }

    fn serve(&self, mut client: UnixStream) -> io::Result<()> {
        let head = read_head(&mut client)?;
        let line = head.lines().next().unwrap_or_default();
        while let Some(fault) = self.fault_of(line) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            match fault {
                Fault::Fails => return refuse(client),
                Fault::Waits => std::thread::sleep(Duration::from_millis(50)),
            }
        }

        let mut engine = UnixStream::connect(&self.engine)?;
        engine.write_all(one_request(&head).as_bytes())?;
        let (mut from_client, mut to_engine) = (client.try_clone()?, engine.try_clone()?);
        std::thread::spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_engine);
            let _ = to_engine.shutdown(Shutdown::Write);
        });
        io::copy(&mut engine, &mut client)?;
        client.shutdown(Shutdown::Both)
    }
}

/// Reads to the empty line, and nothing of what follows it.
fn read_head(client: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Asks the engine to close the connection after its answer, since only the first line of a
/// connection is looked at. A request that upgrades its connection has it for itself anyway.
fn one_request(head: &str) -> String {
    if head.to_ascii_lowercase().contains("\r\nupgrade:") {
        return head.into();
    }
    head.replacen("\r\n", "\r\nConnection: close\r\n", 1)
}

fn refuse(mut client: UnixStream) -> io::Result<()> {
    let body = r#"{"message":"no space left on device"}"#;
    write!(
        client,
        "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    client.shutdown(Shutdown::Write)?;
    // To close a socket before its input is read would take the answer back.
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    io::copy(&mut client, &mut io::sink()).map(drop)
}
