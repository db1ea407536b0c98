//! Connects to the keepers: sends them the ports of their containers, and receives the held opens.
//!
//! A keeper works without the daemon. The daemon finds it by its socket, whichever of the two was
//! started first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::inotify::AddWatchFlags;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::daemon::line::next;
use crate::daemon::shared::Shared;
use crate::hold::protocol::{FromKeeper, ToKeeper, VERSION, line};
use crate::hold::run_dir::{is_ready, keepers};
use crate::model::inventory::ContainerId;
use crate::sys::inotify::Arrivals;
use crate::sys::logging::kind;

/// How long a keeper may take to answer.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// How long to wait before connecting again to a keeper whose connection has ended.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// Follows all keepers, present and future.
///
/// # Errors
/// The directory of their sockets cannot be made or watched.
pub fn follow_all(run_dir: &Path, shared: Rc<Shared>) -> anyhow::Result<()> {
    let directory = keepers(run_dir);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory);
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    // A wrapper renames a socket into place once it accepts connections.
    let mut arrivals = Arrivals::watch(&directory, AddWatchFlags::IN_MOVED_TO)?;
    let following = Following::default();
    tokio::task::spawn_local(async move {
        let mut is_logged = false;
        loop {
            let sockets = sockets(&directory).inspect_err(|error| {
                if !is_logged {
                    warn(
                        &directory,
                        error,
                        "cannot list the keepers' sockets; retrying",
                    );
                }
                following.ended.notify_one();
            });
            is_logged = sockets.is_err();
            for name in sockets.into_iter().flatten() {
                following.begin(&directory, name, &shared);
            }
            tokio::select! {
                news = arrivals.next() => if news.is_err() {
                    return;
                },
                // A connection can end while the keeper lives on.
                () = following.ended.notified() => sleep(FOLLOW_AGAIN).await,
            }
        }
    });
    Ok(())
}

/// The keepers that are followed, by the names of their sockets.
#[derive(Debug, Default, Clone)]
struct Following {
    names: Rc<RefCell<BTreeSet<OsString>>>,
    /// A connection has ended.
    ended: Rc<Notify>,
}

impl Following {
    /// Follows a keeper, unless it is followed already.
    fn begin(&self, directory: &Path, name: OsString, shared: &Rc<Shared>) {
        if !self.names.borrow_mut().insert(name.clone()) {
            return;
        }
        let socket = directory.join(&name);
        let (following, shared) = (self.clone(), shared.clone());
        tokio::task::spawn_local(async move {
            follow(&socket, &shared).await;
            following.names.borrow_mut().remove(&name);
            following.ended.notify_one();
        });
    }
}

fn warn(file: &Path, error: &io::Error, message: &str) {
    let file = file.display();
    tracing::warn!(message_id = kind::SOCKET_FAILED, %file, %error, "{message}");
}

/// The names of the keepers' sockets, without those that do not accept connections yet.
fn sockets(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if is_ready(Path::new(&name)) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The containers whose keepers answer.
///
/// # Errors
/// The directory of their sockets cannot be read.
pub async fn answering_keepers(run_dir: &Path) -> io::Result<BTreeSet<ContainerId>> {
    let directory = keepers(run_dir);
    let mut answering = BTreeSet::new();
    for name in sockets(&directory)? {
        let ask = async {
            let mut stream = UnixStream::connect(directory.join(name)).await?;
            stream.write_all(&line(&FOLLOW)).await?;
            next::<FromKeeper>(&mut stream, &mut Vec::new()).await
        };
        if let Ok(Ok(answer)) = timeout(QUESTION_LIMIT, ask).await {
            answering.insert(ContainerId(answer.container));
        }
    }
    Ok(answering)
}

const FOLLOW: ToKeeper = ToKeeper {
    ttyplugd: VERSION,
    ports: None,
    provisional: false,
    let_all_go: false,
    follow: true,
    changes: true,
    counts: false,
};

/// Stays connected to one keeper until that connection ends.
async fn follow(socket: &Path, shared: &Shared) {
    let Some(mut stream) = connect(socket).await else {
        return;
    };
    let mut container = None;
    let keeper = socket.as_os_str();
    let ended = exchange(&mut stream, keeper, shared, &mut container).await;
    if let (Some(id), Err(error)) = (container, ended) {
        tracing::debug!(container_id = %id.0, %error, "a keeper has ended");
        shared.state.borrow_mut().held.forget(&id, keeper);
        shared.notifier.notify_watchers();
    }
}

/// Connects to a keeper. `None` if it has ended.
async fn connect(socket: &Path) -> Option<UnixStream> {
    let mut is_logged = false;
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Some(stream),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // The keeper was killed.
                let _ = fs::remove_file(socket);
                return None;
            }
            Err(error) => {
                if !is_logged {
                    warn(socket, &error, "cannot connect to a keeper; retrying");
                    is_logged = true;
                }
                sleep(FOLLOW_AGAIN).await;
            }
        }
    }
}

/// Sends the ports whenever they change, and takes in every report. `container` is set by the first
/// report.
async fn exchange(
    stream: &mut UnixStream,
    keeper: &OsStr,
    shared: &Shared,
    container: &mut Option<ContainerId>,
) -> io::Result<()> {
    let counts = ToKeeper {
        counts: true,
        ..FOLLOW
    };
    stream.write_all(&line(&counts)).await?;
    let mut received = Vec::new();
    let first: FromKeeper = next(stream, &mut received).await?;
    let id = ContainerId(first.container.clone());
    *container = Some(id.clone());
    on_report(shared, &id, keeper, first);

    let mut changed = shared.notifier.container(&id);
    let mut sent = None;
    loop {
        let ports = shared.state.borrow().ports(&id);
        if ports.is_some() && ports != sent {
            let message = ToKeeper {
                ttyplugd: VERSION,
                ports: ports.clone(),
                ..ToKeeper::default()
            };
            stream.write_all(&line(&message)).await?;
            sent = ports;
        }
        tokio::select! {
            more = changed.next() => more.ok_or(io::ErrorKind::BrokenPipe)?,
            message = next::<FromKeeper>(stream, &mut received) => {
                on_report(shared, &id, keeper, message?);
            }
        }
    }
}

fn on_report(shared: &Shared, id: &ContainerId, keeper: &OsStr, mut report: FromKeeper) {
    let state = &mut *shared.state.borrow_mut();
    for ended in report.released.drain(..) {
        state.metrics.held(ended);
    }
    let now = state.clock.now().clock;
    state.held.of(id, keeper).take_in(report, now);
    shared.notifier.notify_watchers();
}
