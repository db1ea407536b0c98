//! Finds the keepers and follows each, see [`keeper`](crate::daemon::keeper).
//!
//! A keeper works without the daemon. The daemon finds it by its socket, whichever of the two was
//! started first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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
use crate::daemon::keeper::{AGAIN, FOLLOW, Keeper, QUESTION_LIMIT, warn};
use crate::daemon::line::next;
use crate::daemon::shared::Shared;
use crate::hold::protocol::{FromKeeper, HeldOpen, line};
use crate::hold::run_dir::{is_keeper_of, is_ready, keepers};
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
    let is_its = |name: &OsString| is_keeper_of(&name.to_string_lossy(), id);
    sockets(&keepers(run_dir)).is_ok_and(|names| names.iter().any(is_its))
}

/// The containers whose keepers answer, with the opens that they hold.
///
/// # Errors
/// The directory of their sockets cannot be read.
pub async fn answering_keepers(run_dir: &Path) -> io::Result<BTreeMap<ContainerId, Vec<HeldOpen>>> {
    let directory = keepers(run_dir);
    let mut answering: BTreeMap<_, Vec<HeldOpen>> = BTreeMap::new();
    for name in sockets(&directory)? {
        let ask = async {
            let mut stream = UnixStream::connect(directory.join(name)).await?;
            stream.write_all(&line(&FOLLOW)).await?;
            next::<FromKeeper>(&mut stream, &mut Vec::new()).await
        };
        if let Ok(Ok(answer)) = timeout(QUESTION_LIMIT, ask).await {
            let held = answering.entry(ContainerId(answer.container));
            held.or_default().extend(answer.held);
        }
    }
    Ok(answering)
}
