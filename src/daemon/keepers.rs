//! Finds the keepers and follows each, see [`keeper`](crate::daemon::keeper).
//!
//! A keeper works without the daemon. The daemon finds it by its socket, whichever of the two was
//! started first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use nix::sys::inotify::AddWatchFlags;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::daemon::copies::Copies;
use crate::daemon::keeper::{AGAIN, FOLLOW, Keeper, QUESTION_LIMIT, described, told, warn};
use crate::daemon::line::next;
use crate::daemon::shared::Shared;
use crate::hold::description::{self, Description};
use crate::hold::protocol::{FromKeeper, line};
use crate::hold::run_dir::{is_keeper_of, is_ready, keepers, unready};
use crate::model::inventory::ContainerId;
use crate::sys::inotify::Arrivals;

/// Follows all keepers, present and future.
///
/// # Errors
/// The directory of their sockets cannot be made or watched.
pub fn follow_all(run_dir: &Path, copies: Copies, shared: Rc<Shared>) -> anyhow::Result<()> {
    let directory = keepers(run_dir);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory);
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    // A wrapper renames a socket into place once it accepts connections.
    let mut arrivals = Arrivals::watch(&directory, AddWatchFlags::IN_MOVED_TO)?;
    let following = Following {
        run_dir: run_dir.to_owned(),
        shared,
        copies: Rc::new(RefCell::new(copies)),
        names: Rc::default(),
        ended: Rc::default(),
    };
    following.forget_ended();
    following.hear_descriptions()?;
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
                following.begin(name);
            }
            tokio::select! {
                news = arrivals.next() => if news.is_err() {
                    return;
                },
                // A connection can end while the keeper lives on.
                () = following.ended.notified() => sleep(AGAIN).await,
            }
        }
    });
    Ok(())
}

#[derive(Debug, Clone)]
struct Following {
    run_dir: PathBuf,
    shared: Rc<Shared>,
    copies: Rc<RefCell<Copies>>,
    /// The keepers that are followed, by the names of their sockets.
    names: Rc<RefCell<BTreeSet<OsString>>>,
    /// One of them is followed no longer.
    ended: Rc<Notify>,
}

impl Following {
    /// Forgets the keepers that have ended with their containers while no daemon ran.
    fn forget_ended(&self) {
        let mut copies = self.copies.borrow_mut();
        let names: Vec<OsString> = copies.keepers().cloned().collect();
        let directory = keepers(&self.run_dir);
        for name in names.iter().filter(|name| !directory.join(name).exists()) {
            copies.forget(name);
        }
    }

    /// Takes in what wrappers have told of the containers of all keepers, before any engine says which of
    /// them it does not know.
    fn hear_descriptions(&self) -> io::Result<()> {
        let told = self.shared.state.borrow().told.clone();
        for (keeper, described) in descriptions(&keepers(&self.run_dir))? {
            match keeper {
                Some(keeper) => told.keep(&keeper, &described, None),
                None => told.create(described),
            }
        }
        Ok(())
    }

    /// Follows a keeper, unless it is followed already.
    fn begin(&self, name: OsString) {
        if !self.names.borrow_mut().insert(name.clone()) {
            return;
        }
        let (shared, copies) = (self.shared.clone(), self.copies.clone());
        let keeper = Keeper::new(&self.run_dir, name.clone(), shared, copies);
        let following = self.clone();
        tokio::task::spawn_local(async move {
            keeper.follow().await;
            following.names.borrow_mut().remove(&name);
            following.ended.notify_one();
        });
    }
}

/// What wrappers have told of containers, each with the name of its keeper, if that can be connected to.
/// Removes what a wrapper has left that was killed.
fn descriptions(directory: &Path) -> io::Result<Vec<(Option<String>, Description)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        let file = entry.path();
        let Some(socket) = description::socket(&file) else {
            continue;
        };
        // The wrapper renames the socket from the one name to the other.
        let early = unready(&socket);
        let is_early = !is_abandoned(&early);
        if !is_early && !socket.exists() {
            let _ = fs::remove_file(&file);
            let _ = fs::remove_file(&early);
        } else if let (true, Some(described)) =
            (file == description::file(&socket), described(&socket))
        {
            let name = socket.file_name().unwrap_or_default().to_string_lossy();
            found.push(((!is_early).then(|| name.into_owned()), described));
        }
    }
    Ok(found)
}

/// Whether nobody listens at a socket (unix(7), ECONNREFUSED).
fn is_abandoned(socket: &Path) -> bool {
    let connected = std::os::unix::net::UnixStream::connect(socket);
    let kind = connected.err().map(|error| error.kind());
    kind.is_some_and(|kind| {
        [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&kind)
    })
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

/// Whether a container has a keeper. Its socket is there before the container is.
pub fn has_keeper(run_dir: &Path, id: &ContainerId) -> bool {
    let directory = keepers(run_dir);
    let is_its = |name: &OsString| {
        let may_be = is_keeper_of(&name.to_string_lossy(), &id.id);
        may_be && described(&directory.join(name)).is_none_or(|its| its.container == id.id)
    };
    sockets(&directory).is_ok_and(|names| names.iter().any(is_its))
}

/// What a keeper answers.
#[derive(Debug)]
pub struct Answer {
    /// The name of its socket.
    pub keeper: String,
    /// What the wrapper has told of its container.
    pub described: Option<Description>,
    pub report: FromKeeper,
}

impl Answer {
    /// The container, as the keeper knows it.
    pub fn told(&self) -> ContainerId {
        told(self.described.as_ref(), &self.report.container)
    }
}

/// What all keepers answer.
///
/// # Errors
/// The directory of their sockets cannot be read.
pub async fn answering_keepers(run_dir: &Path) -> io::Result<Vec<Answer>> {
    let directory = keepers(run_dir);
    let mut answers = Vec::new();
    for name in sockets(&directory)? {
        let socket = directory.join(&name);
        let ask = async {
            let mut stream = UnixStream::connect(&socket).await?;
            stream.write_all(&line(&FOLLOW)).await?;
            next::<FromKeeper>(&mut stream, &mut Vec::new()).await
        };
        if let Ok(Ok(report)) = timeout(QUESTION_LIMIT, ask).await {
            answers.push(Answer {
                keeper: name.to_string_lossy().into_owned(),
                described: described(&socket),
                report,
            });
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_a_wrapper_has_left_that_was_killed_is_no_container() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let listen = |name: &str| UnixListener::bind(file(name)).unwrap();
        let _listeners = [listen("ready-1"), listen("early-2.new"), listen("bare-3")];
        drop(listen("killed-4.new"));
        for name in ["ready-1", "early-2", "killed-4", "gone-5"] {
            let described = Description {
                container: name.into(),
                ..Description::default()
            };
            fs::write(file(name).with_extension("json"), line(&described)).unwrap();
        }
        fs::write(file("killed-4.json.new-ttyplugd-1"), "{").unwrap();
        fs::write(file("early-2.json.new-ttyplugd-1"), "{").unwrap();

        let mut found = descriptions(directory.path()).unwrap();
        found.sort_by_key(|(keeper, _)| keeper.clone());
        let found = found
            .into_iter()
            .map(|(keeper, its)| (keeper, its.container));
        let expected = [
            (None, "early-2".to_owned()),
            (Some("ready-1".to_owned()), "ready-1".to_owned()),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let left = fs::read_dir(directory.path()).unwrap().flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        let expected = [
            "bare-3",
            "early-2.json",
            "early-2.json.new-ttyplugd-1",
            "early-2.new",
            "ready-1",
            "ready-1.json",
        ];
        assert_eq!(left, expected);
    }
}
