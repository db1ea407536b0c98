//! The daemon's side of holding: it tells the wrappers what to prepare and the keepers what to
//! wait for, and hears from them who waits.
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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::config::settings::GrantPolicy;
use crate::daemon::notifier::Changes;
use crate::daemon::state::World;
use crate::daemon::status::HeardHolds;
use crate::hold::protocol::{
    Created, Creating, FromKeeper, NodeToMake, ToKeeper, VERSION, line, take,
};
use crate::model::inventory::ContainerId;
use crate::plan::assign::Want;
use crate::sys::inotify::Arrivals;
use crate::sys::logging::kind;
use crate::sys::socket::Listener;

/// How long a wrapper may take to say what it wants.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// How long a container that is being created may take to become known. Its `create` event has
/// come before the runtime was started, and is on its way through the engine's event stream.
const KNOWN_LIMIT: Duration = Duration::from_millis(300);

/// How long to wait before a keeper is followed again whose connection has ended.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// Answers wrappers at `runtime.sock` in the run directory, for ever.
///
/// # Errors
/// The socket cannot be made.
pub fn serve_wrappers(
    run_dir: &Path,
    world: Rc<RefCell<World>>,
    changes: Rc<Changes>,
) -> anyhow::Result<()> {
    let path = run_dir.join("runtime.sock");
    let listener =
        Listener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
    tokio::task::spawn_local(async move {
        loop {
            let stream = listener.accept().await;
            let (world, changes) = (world.clone(), changes.clone());
            tokio::task::spawn_local(async move {
                if let Err(error) = answer(stream, &world, &changes).await {
                    tracing::debug!(%error, "a wrapper has gone before it was answered");
                }
            });
        }
    });
    Ok(())
}

async fn answer(
    mut stream: UnixStream,
    world: &RefCell<World>,
    changes: &Changes,
) -> io::Result<()> {
    let mut received = Vec::new();
    let question = timeout(QUESTION_LIMIT, next::<Creating>(&mut stream, &mut received));
    let question = question.await??;
    let id = ContainerId(question.container);
    world.borrow_mut().being_created(&id);
    changes.tell_watchers();

    let mut changed = changes.subscribe();
    let known = async {
        while world.borrow().ports(&id).is_none() {
            if changed.next().await.is_none() {
                break;
            }
        }
    };
    let _ = timeout(KNOWN_LIMIT, known).await;
    let mut created = {
        let world = world.borrow();
        let nodes = world.assigned.wants(&id).iter().map(node_to_make);
        world.ports(&id).map(|ports| Created {
            ttyplugd: VERSION,
            nodes: nodes.collect(),
            rights: world.settings.grant == GrantPolicy::Auto,
            ports,
        })
    };
    if let Some(created) = created.as_mut().filter(|created| created.rights) {
        let numbers = created.nodes.iter().map(|node| node.number).collect();
        if let Err(error) = world
            .borrow_mut()
            .store
            .remember_wrapper_grants(&id, numbers)
        {
            tracing::warn!(message_id = kind::STATE_NOT_KEPT, "{error:#}");
            // What is not written down would never be taken back. Its ports come when it runs.
            created.nodes.clear();
        }
    }
    // Not known in time: the wrapper goes by the configuration, and its keeper hears more later.
    match created {
        Some(created) => stream.write_all(&line(&created)).await,
        None => Ok(()),
    }
}

fn node_to_make(want: &Want) -> NodeToMake {
    NodeToMake {
        path: want.node.clone(),
        number: want.devnum,
        mode: want.mode.to_string(),
        owner: want.owner.to_string(),
        group: want.group.to_string(),
    }
}

async fn next<T: for<'de> serde::Deserialize<'de>>(
    stream: &mut UnixStream,
    received: &mut Vec<u8>,
) -> io::Result<T> {
    loop {
        if let Some(message) = take(received).map_err(io::Error::other)? {
            return Ok(message);
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Follows all keepers that there are and that will be.
///
/// # Errors
/// The directory of their sockets cannot be made or watched.
pub fn follow_keepers(
    run_dir: &Path,
    world: Rc<RefCell<World>>,
    changes: Rc<Changes>,
) -> anyhow::Result<()> {
    let directory = run_dir.join("k");
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
                    let (world, changes) = (world.clone(), changes.clone());
                    let (following, ended) = (following.clone(), ended.clone());
                    tokio::task::spawn_local(async move {
                        follow(&socket, &world, &changes).await;
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
        if Path::new(&name).extension().is_none() {
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
    let directory = run_dir.join("k");
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
async fn follow(socket: &Path, world: &RefCell<World>, changes: &Changes) {
    let Some(mut stream) = connect(socket).await else {
        return;
    };
    let mut container = None;
    let ended = converse(&mut stream, world, changes, &mut container).await;
    if let (Some(id), Err(error)) = (container, ended) {
        tracing::debug!(container_id = %id.0, %error, "a keeper has ended");
        world.borrow_mut().held.remove(&id);
        changes.tell_watchers();
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

async fn converse(
    stream: &mut UnixStream,
    world: &RefCell<World>,
    changes: &Changes,
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
    heard(world, changes, &id, first);

    let mut changed = changes.subscribe();
    let mut told = None;
    loop {
        let ports = world.borrow().ports(&id);
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
            message = next::<FromKeeper>(stream, &mut received) => {
                heard(world, changes, &id, message?);
            }
        }
    }
}

fn heard(world: &RefCell<World>, changes: &Changes, id: &ContainerId, message: FromKeeper) {
    let mut world = world.borrow_mut();
    for ended in message.released {
        world.metrics.held(ended.reason, ended.waited_ms);
    }
    let heard = HeardHolds {
        at: world.clock.now().clock,
        held: message.held,
    };
    world.held.insert(id.clone(), heard);
    changes.tell_watchers();
}
