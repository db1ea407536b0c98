//! Tells the keepers what opens wait for, and hears from them which do.
//!
//! A keeper never depends on this. It is found again by its socket, whoever of the two was first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
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
use crate::daemon::state::HeldByKeeper;
use crate::hold::protocol::{FromKeeper, ToKeeper, VERSION, line};
use crate::hold::run_dir::{is_ready, keepers};
use crate::model::inventory::ContainerId;
use crate::sys::inotify::Arrivals;
use crate::sys::logging::kind;

/// How long a keeper may take to answer.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// How long to wait before a keeper is followed again whose connection has ended.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// Follows all keepers that there are and that will be.
///
/// # Errors
/// The directory of their sockets cannot be made or watched.
pub fn follow_all(run_dir: &Path, shared: Rc<Shared>) -> anyhow::Result<()> {
    let directory = keepers(run_dir);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory);
    made.with_context(|| format!("{} cannot be made", directory.display()))?;
    // A wrapper renames a socket into its place when it can be connected to (inotify(7)).
    let mut arrivals = Arrivals::watch(&directory, AddWatchFlags::IN_MOVED_TO)?;
    tokio::task::spawn_local(async move {
        let following = Rc::new(RefCell::new(BTreeSet::new()));
        let ended = Rc::new(Notify::new());
        let mut is_logged = false;
        loop {
            let sockets = sockets(&directory).inspect_err(|error| {
                if !is_logged {
                    failed(&directory, error, "cannot look for keepers; retrying");
                }
                ended.notify_one();
            });
            is_logged = sockets.is_err();
            for name in sockets.into_iter().flatten() {
                if following.borrow_mut().insert(name.clone()) {
                    let socket = directory.join(&name);
                    let shared = shared.clone();
                    let (following, ended) = (following.clone(), ended.clone());
                    tokio::task::spawn_local(async move {
                        follow(&socket, &shared).await;
                        following.borrow_mut().remove(&name);
                        ended.notify_one();
                    });
                }
            }
            tokio::select! {
                news = arrivals.next() => if news.is_err() {
                    return;
                },
                // A keeper that has lost us without having ended is there still.
                () = ended.notified() => sleep(FOLLOW_AGAIN).await,
            }
        }
    });
    Ok(())
}

fn failed(file: &Path, error: &io::Error, message: &str) {
    let file = file.display();
    tracing::warn!(message_id = kind::SOCKET_FAILED, %file, %error, "{message}");
}

/// The sockets of the keepers, without those that are not listened at yet.
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
    counts: false,
};

/// Tells one keeper what to wait for, whenever that changes, and hears who waits.
async fn follow(socket: &Path, shared: &Shared) {
    let Some(mut stream) = connect(socket).await else {
        return;
    };
    let mut container = None;
    let ended = tell_and_hear(&mut stream, shared, &mut container).await;
    if let (Some(id), Err(error)) = (container, ended) {
        tracing::debug!(container_id = %id.0, %error, "a keeper has ended");
        shared.state.borrow_mut().held.remove(&id);
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
                // It was killed.
                let _ = fs::remove_file(socket);
                return None;
            }
            Err(error) => {
                if !is_logged {
                    failed(socket, &error, "cannot connect to a keeper; retrying");
                    is_logged = true;
                }
                sleep(FOLLOW_AGAIN).await;
            }
        }
    }
}

async fn tell_and_hear(
    stream: &mut UnixStream,
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
    heard(shared, &id, first);

    let mut changed = shared.notifier.container(&id);
    let mut told = None;
    loop {
        let ports = shared.state.borrow().ports(&id);
        if ports.is_some() && ports != told {
            let message = ToKeeper {
                ttyplugd: VERSION,
                ports: ports.clone(),
                ..ToKeeper::default()
            };
            stream.write_all(&line(&message)).await?;
            told = ports;
        }
        tokio::select! {
            more = changed.next() => more.ok_or(io::ErrorKind::BrokenPipe)?,
            message = next::<FromKeeper>(stream, &mut received) => heard(shared, &id, message?),
        }
    }
}

fn heard(shared: &Shared, id: &ContainerId, message: FromKeeper) {
    let mut state = shared.state.borrow_mut();
    for ended in message.released {
        state.metrics.held(ended.reason, ended.waited_ms);
    }
    let heard = HeldByKeeper {
        at: state.clock.now().clock,
        held: message.held,
    };
    state.held.insert(id.clone(), heard);
    shared.notifier.notify_watchers();
}
