//! One keeper: the daemon sends it the ports of its container and receives the held opens, and has
//! another keeper take over when it was killed, or when its program was replaced.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::daemon::copies::Copies;
use crate::daemon::shared::Shared;
use crate::daemon::successor::{Successor, program};
use crate::hold::description::{self, Description};
use crate::hold::protocol::{FromKeeper, Handover, ToKeeper, VERSION, line, take};
use crate::hold::run_dir::keepers;
use crate::model::inventory::ContainerId;
use crate::sys::descriptors;
use crate::sys::logging::kind;
use crate::sys::program::identity;

/// How long a keeper may take to answer.
pub(super) const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// The pause before the next try to connect to a keeper, or to start one.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// For how long a keeper whose connection has ended is looked at, which may be about to end, and
/// the pause between two looks.
const END_LOOKS: u32 = 100;
const END_PAUSE: Duration = Duration::from_millis(1);

/// How many keepers that take over may end in a row without a pause.
const MOST_FAILURES: u32 = 3;

/// The first message of those who follow a keeper.
pub(super) const FOLLOW: ToKeeper = ToKeeper {
    ttyplugd: VERSION,
    ports: None,
    provisional: false,
    let_all_go: false,
    follow: true,
    changes: true,
    counts: false,
    copies: false,
    retire: false,
};

/// Why another keeper takes over.
#[derive(Clone, Copy)]
enum Cause {
    Killed,
    Upgraded,
}

/// A keeper, and after it those that take over from it.
pub(super) struct Keeper {
    run_dir: PathBuf,
    /// The name of its socket, and where that is.
    name: OsString,
    path: PathBuf,
    shared: Rc<Shared>,
    copies: Rc<RefCell<Copies>>,
    /// What the wrapper has told of its container.
    described: Option<Description>,
    /// Known from its first report on.
    container: Option<ContainerId>,
    /// Takes over when the keeper has retired.
    successor: Option<Successor>,
    /// The connection to a keeper that has let another one take over. It goes on if that fails, and
    /// ends when this is closed.
    retired: Option<Connection>,
    /// A keeper is asked to retire once, whatever its program is.
    was_asked_to_retire: bool,
    /// Another keeper was started, and has not reported yet.
    takes_over: Option<Cause>,
    /// The daemon does not stop as long as a keeper is asked to retire or another one is started.
    takeover: Option<Rc<()>>,
    /// How many have ended in a row before they reported.
    failures: u32,
}

impl Keeper {
    pub(super) fn new(
        run_dir: &Path,
        name: OsString,
        shared: Rc<Shared>,
        copies: Rc<RefCell<Copies>>,
    ) -> Self {
        Self {
            run_dir: run_dir.to_owned(),
            path: keepers(run_dir).join(&name),
            name,
            shared,
            copies,
            described: None,
            container: None,
            successor: None,
            retired: None,
            was_asked_to_retire: false,
            takes_over: None,
            takeover: None,
            failures: 0,
        }
    }

    /// Follows it until the container has ended.
    pub(super) async fn follow(mut self) {
        while let Some(connection) = self.connect().await {
            if let Err(error) = self.exchange(connection).await {
                tracing::debug!(socket = %self.path.display(), %error, "a keeper has disconnected");
            }
            self.wait_for_end().await;
        }
        self.copies.borrow_mut().forget(&self.name);
        self.forget_held();
        self.outlive().await;
        // One that was killed has left it.
        let _ = fs::remove_file(description::file(&self.path));
        let told = self.shared.state.borrow().told.clone();
        told.end(&self.name.to_string_lossy());
    }

    /// Waits for the end of a container that runs without a keeper: nobody else tells of that, and what it
    /// was granted has to be revoked at the unplug.
    async fn outlive(&self) {
        let told = self.shared.state.borrow().told.clone();
        while told.runs(&self.name.to_string_lossy()) {
            sleep(AGAIN).await;
        }
    }

    fn forget_held(&mut self) {
        if let Some(id) = self.container.take() {
            self.shared.state.borrow_mut().held.forget(&id, &self.name);
            self.shared.notifier.notify_watchers();
        }
    }

    /// Its container, of which it knows the id. An engine may say only later that it is one of its own.
    fn identify(&self, container: &str) -> ContainerId {
        let told = told(self.described.as_ref(), container);
        let known = self.shared.state.borrow().identify(&told);
        known.unwrap_or(told)
    }

    /// Connects to the keeper, or starts one that takes over. `None` if it has ended with its
    /// container, or nothing is left to take over.
    async fn connect(&mut self) -> Option<Connection> {
        let mut is_logged = false;
        loop {
            let connected = match self.is_orphaned() {
                // A keeper that ends with its container removes its socket first.
                true if !self.path.exists() => return None,
                true => self.replace().await,
                false => match UnixStream::connect(&self.path).await {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        let _ = fs::remove_file(&self.path);
                        return None;
                    }
                    connected => connected,
                },
            };
            match connected {
                Ok(stream) => return Some(Connection::new(stream)),
                Err(error) if !is_logged => {
                    warn(&self.path, &error, "cannot connect to a keeper; retrying");
                    is_logged = true;
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    /// Whether the keeper has ended, and not with its container.
    fn is_orphaned(&self) -> bool {
        self.copies.borrow().is_orphaned(&self.name)
    }

    /// Waits until a keeper whose connection has ended has ended itself, or will not.
    async fn wait_for_end(&self) {
        for _ in 0..END_LOOKS {
            if !self.path.exists() || self.is_orphaned() && self.failures < MOST_FAILURES {
                return;
            }
            sleep(END_PAUSE).await;
        }
        sleep(AGAIN).await;
    }

    /// Starts a keeper that takes over, and returns the connection to it.
    async fn replace(&mut self) -> io::Result<UnixStream> {
        self.takeover = Some(self.shared.takeovers.begin());
        let (cause, successor) = match self.successor.take() {
            Some(successor) => (Cause::Upgraded, successor),
            None => (Cause::Killed, self.start_successor().await?),
        };
        self.failures += 1;
        self.takes_over = Some(cause);
        let copies = self.copies.borrow();
        let (listeners, descriptors) = copies
            .handed_over(&self.name)
            .ok_or(io::ErrorKind::InvalidData)?;
        let handover = Handover {
            ttyplugd: VERSION,
            listeners,
            first: FOLLOW_WITH_COPIES,
        };
        successor.take_over(&handover, &descriptors)
    }

    async fn start_successor(&self) -> io::Result<Successor> {
        Successor::start(&self.run_dir, &self.container_id(), &self.path).await
    }

    /// The container's id. A daemon that has just started knows the beginning, from the name of the
    /// socket.
    fn container_id(&self) -> ContainerId {
        let reported = self.container.clone();
        reported.unwrap_or_else(|| {
            let state = self.shared.state.borrow();
            state.container_of_keeper(&self.name.to_string_lossy())
        })
    }

    /// Sends the ports whenever they change, and takes in every report, until the connection ends.
    async fn exchange(&mut self, mut connection: Connection) -> io::Result<()> {
        connection.send(&FOLLOW_WITH_COPIES).await;
        let first = self.first_report(&mut connection).await?;
        self.described = described(&self.path);
        let container = first.container.clone();
        let mut id = self.identify(&container);
        self.forget_held();
        self.container = Some(id.clone());
        let is_outdated = first.program.as_deref().is_some_and(is_outdated);
        self.note_takeover(&id);
        self.on_report(&id, first, &mut connection);

        let mut changed = self.shared.notifier.container(&id);
        let mut sent = None;
        loop {
            if is_outdated {
                self.replace_outdated(&mut connection).await;
            }
            let now = self.identify(&container);
            if now != id {
                self.hand_over(&id, &now);
                changed = self.shared.notifier.container(&now);
                (id, sent) = (now, None);
            }
            let ports = self.shared.state.borrow().ports(&id);
            if ports.is_some() && ports != sent {
                let message = ToKeeper {
                    ttyplugd: VERSION,
                    ports: ports.clone(),
                    ..ToKeeper::default()
                };
                connection.send(&message).await;
                sent = ports;
            }
            tokio::select! {
                more = changed.next() => more.ok_or(io::ErrorKind::BrokenPipe)?,
                report = connection.next() => self.on_report(&id, report?, &mut connection),
                () = sleep(END_PAUSE), if self.successor.is_some() => {
                    if self.is_orphaned() {
                        self.take_rest(&id, &mut connection).await;
                        self.retired = Some(connection);
                        return Ok(());
                    }
                    self.give_up_late_successor();
                }
            }
        }
    }

    /// Its container is one that another engine lists.
    fn hand_over(&mut self, from: &ContainerId, to: &ContainerId) {
        let held = &mut self.shared.state.borrow_mut().held;
        held.hand_over(from, to, &self.name);
        self.container = Some(to.clone());
        self.shared.notifier.notify_watchers();
    }

    /// The keeper does not retire in time, and goes on.
    fn give_up_late_successor(&mut self) {
        if self.successor.as_ref().is_some_and(Successor::has_ended) {
            self.successor = None;
            self.takeover = None;
        }
    }

    /// Takes in what a keeper that retires has sent before.
    async fn take_rest(&self, id: &ContainerId, connection: &mut Connection) {
        while let Ok(Ok(report)) = timeout(Duration::ZERO, connection.next()).await {
            self.on_report(id, report, connection);
        }
    }

    /// Our copy of its socket accepts connections even if the keeper was killed. A keeper that takes
    /// over has a connection of its own, which ends with it.
    async fn first_report(&self, connection: &mut Connection) -> io::Result<FromKeeper> {
        loop {
            match timeout(QUESTION_LIMIT, connection.next()).await {
                Ok(report) => return report,
                Err(_) if self.takes_over.is_some() => {}
                Err(_) if self.is_orphaned() => return Err(io::ErrorKind::TimedOut.into()),
                // They are of no use, and hide whether there is a keeper.
                Err(_) if !self.copies.borrow().are_complete(&self.name) => {
                    self.copies.borrow_mut().forget(&self.name);
                }
                Err(_) => {}
            }
        }
    }

    fn note_takeover(&mut self, id: &ContainerId) {
        self.failures = 0;
        self.takeover = None;
        self.retired = None;
        let Some(cause) = self.takes_over.take() else {
            return;
        };
        self.shared.state.borrow().metrics.keepers_replaced.add(1);
        match cause {
            Cause::Killed => tracing::warn!(
                message_id = kind::KEEPER_REPLACED,
                container_id = id.id,
                engine = id.engine.unless_docker(),
                "a keeper was killed; another one has taken over"
            ),
            Cause::Upgraded => tracing::info!(
                message_id = kind::KEEPER_REPLACED,
                container_id = id.id,
                engine = id.engine.unless_docker(),
                "the program of a keeper was replaced; another keeper has taken over"
            ),
        }
    }

    /// Asks a keeper to retire whose program is not the one that is installed now. Another one is
    /// started before.
    async fn replace_outdated(&mut self, connection: &mut Connection) {
        if self.was_asked_to_retire || !self.copies.borrow().have_listeners(&self.name) {
            return;
        }
        self.was_asked_to_retire = true;
        match self.start_successor().await {
            Ok(successor) => {
                self.successor = Some(successor);
                self.takeover = Some(self.shared.takeovers.begin());
                connection.send(&RETIRE).await;
            }
            Err(error) => warn(&self.path, &error, "cannot replace a keeper; it goes on"),
        }
    }

    fn on_report(&self, id: &ContainerId, mut report: FromKeeper, connection: &mut Connection) {
        for descriptor in report.descriptors.drain(..) {
            if let Some(fd) = connection.descriptors.pop_front() {
                self.copies.borrow_mut().add(&self.name, descriptor, fd);
            }
        }
        let state = &mut *self.shared.state.borrow_mut();
        if let Some(described) = &self.described {
            let keeper = self.name.to_string_lossy();
            state.told.keep(&keeper, described, report.process);
        }
        for ended in report.released.drain(..) {
            state.metrics.held(ended);
        }
        let now = state.clock.now().clock;
        state.held.of(id, &self.name).take_in(report, now);
        self.shared.notifier.notify_watchers();
    }
}

/// What the wrapper has told of the container of a keeper. Older wrappers have told nothing.
pub(super) fn described(socket: &Path) -> Option<Description> {
    let text = fs::read(description::file(socket)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The container of a keeper, as that and its wrapper know it.
pub(super) fn told(described: Option<&Description>, container: &str) -> ContainerId {
    let of_docker = || ContainerId::of_docker(container.to_owned());
    described.map_or_else(of_docker, Description::id)
}

const FOLLOW_WITH_COPIES: ToKeeper = ToKeeper {
    counts: true,
    copies: true,
    ..FOLLOW
};

const RETIRE: ToKeeper = ToKeeper {
    follow: false,
    changes: false,
    retire: true,
    ..FOLLOW
};

fn is_outdated(its: &str) -> bool {
    let installed = program().and_then(|program| identity(&program));
    installed.is_ok_and(|installed| installed != its)
}

pub(super) fn warn(file: &Path, error: &io::Error, message: &str) {
    let file = file.display();
    tracing::warn!(message_id = kind::SOCKET_FAILED, %file, %error, "{message}");
}

/// A connection, over which descriptors come with the messages.
struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
            descriptors: VecDeque::new(),
        }
    }

    /// If that fails the keeper has ended, and [`Self::next`] says so after all that it has sent.
    async fn send(&mut self, message: &ToKeeper) {
        let _ = self.stream.write_all(&line(message)).await;
    }

    /// Waits for the next message. Nothing is lost if that is not waited for any longer.
    async fn next(&mut self) -> io::Result<FromKeeper> {
        loop {
            if let Some(message) = take(&mut self.received).map_err(io::Error::other)? {
                return Ok(message);
            }
            self.stream.readable().await?;
            let (mut buffer, mut received) = ([0; 4096], Vec::new());
            let read = || descriptors::receive(&self.stream, &mut buffer, &mut received);
            match self.stream.try_io(Interest::READABLE, read) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.descriptors.extend(received);
        }
    }
}
