//! The keeper: one small process per container start, which is the container's seccomp supervisor.
//! It owns the listeners of its filters, holds opens until their port is ready, and depends on
//! nobody.
//!
//! It is started before the container, since the runtime hands it the first listener, and ends when
//! the last program that was filtered has ended.
//!
//! Imports: `model`, `hold`, `sys`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::hold::description;
use crate::hold::protocol::ToKeeper;
use crate::keeper::connection::{Connection, Received};
use crate::keeper::state_file::{KeeperRecord, StateFile};
use crate::keeper::supervisor::Supervisor;
use crate::sys::cgroup;
use crate::sys::log_report;
use crate::sys::logging::kind;
use crate::sys::ready::hangs_up;

mod connection;
mod follower;
mod handover;
pub mod launch;
pub mod open_target;
pub mod resolve;
pub mod seccomp_notify;
mod state_file;
mod supervisor;

/// The pause before the next try when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How many connections there may be at once. More of them wait in the socket's queue.
const MOST_CONNECTIONS: usize = 64;

/// How often a connection is read before others have their turn.
const MOST_READS: usize = 16;

/// What a keeper is started with.
#[derive(Debug)]
pub struct Birth {
    pub container: String,
    /// Where runtimes and the daemon find it.
    pub path: PathBuf,
    pub socket: UnixListener,
    pub begin: Begin,
}

/// How a keeper begins.
#[derive(Debug)]
pub enum Begin {
    /// With a container that is being created. While no listener has come, the keeper lives as long
    /// as the process that starts the container.
    Create { starter: OwnedFd },
    /// In place of another keeper.
    TakeOver(TakeOver),
}

/// What is left of another keeper.
#[derive(Debug)]
pub struct TakeOver {
    pub state: OwnedFd,
    pub listeners: BTreeMap<u64, OwnedFd>,
    /// The first message of the daemon, the connection to it, and what was read of that already.
    pub first: ToKeeper,
    pub daemon: UnixStream,
    pub received: Vec<u8>,
}

struct Keeper {
    socket: UnixListener,
    starter: Option<OwnedFd>,
    supervisor: Supervisor,
    connections: Vec<Connection>,
    /// The number of the last change of what is held.
    last_change: u64,
}

/// Why a keeper ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// No program of the container is left.
    Container,
    /// Another keeper takes over.
    Retired,
}

/// Supervises the container until no program of it is left, or another keeper takes over.
///
/// # Errors
/// The sockets are broken, or there is nothing to take over. Another keeper has to take over then.
pub fn run(birth: Birth) -> io::Result<()> {
    let path = birth.path.clone();
    let mut keeper = Keeper::begin(birth)?;
    if keeper.run()? == End::Container {
        let _ = fs::remove_file(description::file(&path));
        let _ = fs::remove_file(&path);
    }
    Ok(())
}

impl Keeper {
    fn begin(birth: Birth) -> io::Result<Self> {
        birth.socket.set_nonblocking(true)?;
        let copy = birth.socket.try_clone()?.into();
        let container = birth.container;
        match birth.begin {
            Begin::Create { starter } => {
                let record = KeeperRecord {
                    container,
                    cgroup: fs::read_to_string("/proc/self/cgroup")?,
                    let_all_go: false,
                    process: None,
                };
                let state = StateFile::create(&record)?;
                let supervisor = Supervisor::new(record, state, copy);
                Ok(Self::new(birth.socket, Some(starter), supervisor))
            }
            Begin::TakeOver(TakeOver {
                state,
                listeners,
                first,
                daemon,
                received,
            }) => {
                let (state, mut left) = StateFile::take_over(state)?;
                if left.keeper.container.is_empty() {
                    left.keeper.container = container;
                }
                join_group_of(&left.keeper);
                let supervisor = Supervisor::take_over(left, state, copy, listeners);
                let mut keeper = Self::new(birth.socket, None, supervisor);
                keeper.go_on_with(first, daemon, received)?;
                Ok(keeper)
            }
        }
    }

    fn new(socket: UnixListener, starter: Option<OwnedFd>, supervisor: Supervisor) -> Self {
        Self {
            socket,
            starter,
            supervisor,
            connections: Vec::new(),
            last_change: 0,
        }
    }

    /// Takes over the connection at which it was handed what is left of the other keeper.
    fn go_on_with(
        &mut self,
        first: ToKeeper,
        daemon: UnixStream,
        received: Vec<u8>,
    ) -> io::Result<()> {
        daemon.set_nonblocking(true)?;
        let mut connection = Connection::with_received(daemon, received);
        let mut messages = vec![first];
        messages.extend(connection.messages()?);
        self.connections.push(connection);
        self.take_in(self.connections.len() - 1, messages);
        Ok(())
    }

    fn run(&mut self) -> io::Result<End> {
        loop {
            let ready = self.wait()?;
            if ready.contains(&Ready::Socket) {
                self.accept();
            }
            // Messages come before opens: an open that comes together with the message that its port
            // is gone has to wait.
            if self.on_connections(&ready) {
                // A listener that has come is copied before anything else may end this keeper.
                self.tell_followers();
            }
            let changed = self.on_listeners(&ready)? | self.supervisor.tick();
            self.last_change += u64::from(changed);
            self.tell_followers();
            if let Some(end) = self.end(&ready) {
                self.connections.iter_mut().for_each(Connection::hurry);
                self.tell_followers();
                if end == End::Retired && !self.is_replaced() {
                    continue;
                }
                log_report::report_last();
                return Ok(end);
            }
        }
    }

    /// Lets another keeper take over, and waits until the daemon says so by disconnecting. Returns
    /// whether one has: otherwise this one goes on. Nothing is read meanwhile, since the state may be
    /// another keeper's.
    fn is_replaced(&mut self) -> bool {
        self.supervisor.unlock();
        for connection in &self.connections {
            if let Some(until) = connection.retire_until() {
                let left = until.saturating_sub(self.supervisor.now());
                hangs_up(connection, Duration::from_millis(left));
            }
        }
        self.connections.iter_mut().for_each(Connection::stay);
        !self.supervisor.lock()
    }

    fn end(&self, ready: &[Ready]) -> Option<End> {
        if self.retires() && self.connections.iter().all(Connection::is_done) {
            return Some(End::Retired);
        }
        // Only after every connection that is there was looked at.
        let starting = self.starter.is_some()
            && !self.supervisor.has_had_listeners()
            && !ready.contains(&Ready::StarterEnded);
        let is_left = self.supervisor.listeners().is_empty() && !starting;
        (is_left && self.connections.iter().all(Connection::follows)).then_some(End::Container)
    }

    /// Whether it retires. Before the first listener has come there is nothing to take over.
    fn retires(&self) -> bool {
        let until = self.retire_until();
        let in_time = until.is_some_and(|until| until > self.supervisor.now());
        in_time && self.supervisor.has_had_listeners()
    }

    /// Until when one of those who are connected wants it to retire.
    fn retire_until(&self) -> Option<u64> {
        let connections = self.connections.iter();
        connections.filter_map(Connection::retire_until).max()
    }

    /// Waits for something to happen or for the next deadline.
    fn wait(&self) -> io::Result<Vec<Ready>> {
        // poll looks at one after the other. If the starter had ended when it was looked at, then
        // what it sent before is seen at the socket.
        let (mut what, mut polled) = (Vec::new(), Vec::new());
        let mut wait_for = |ready, fd| {
            what.push(ready);
            polled.push(PollFd::new(fd, self.events(ready)));
        };
        if let (false, Some(starter)) = (self.supervisor.has_had_listeners(), &self.starter) {
            wait_for(Ready::StarterEnded, starter.as_fd());
        }
        if self.accepts() {
            wait_for(Ready::Socket, self.socket.as_fd());
        }
        for (number, listener) in self.supervisor.listeners() {
            wait_for(Ready::Listener(*number), listener.as_fd());
        }
        for (number, connection) in self.connections.iter().enumerate() {
            wait_for(Ready::Connection(number), connection.as_fd());
        }
        match poll(&mut polled, self.idle()) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = Vec::new();
        for (what, polled) in what.into_iter().zip(polled) {
            let events = polled.revents().unwrap_or(PollFlags::empty());
            match what {
                // Notifications are taken before the end of the last program is believed.
                Ready::Listener(_) if events.contains(PollFlags::POLLIN) => ready.push(what),
                Ready::Listener(n) if !events.is_empty() => ready.push(Ready::HungUp(n)),
                _ if !events.is_empty() => ready.push(what),
                _ => {}
            }
        }
        Ok(ready)
    }

    fn events(&self, what: Ready) -> PollFlags {
        match what {
            Ready::Connection(number) => self.connections[number].events(),
            _ => PollFlags::POLLIN,
        }
    }

    /// How long nothing is due.
    fn idle(&self) -> PollTimeout {
        let told = self.connections.iter();
        let told = told.filter_map(|connection| connection.next(self.last_change));
        let retire = self.retire_until().filter(|_| self.retires());
        let next = told.chain(self.supervisor.next()).chain(retire).min();
        let left = next.map(|at| at.saturating_sub(self.supervisor.now()));
        let report = log_report::report_missing();
        let left = left.map(Duration::from_millis).into_iter().chain(report);
        left.min().map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    /// Those who connect while it retires are accepted by its successor.
    fn accepts(&self) -> bool {
        !self.retires() && self.connections.len() < MOST_CONNECTIONS
    }

    fn accept(&mut self) {
        while self.accepts() {
            match self.socket.accept() {
                Ok((stream, _)) => self.connections.extend(Connection::accept(stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Such as too many open files, for which poll(2) would not wait.
                Err(_) => return thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    /// Returns whether a listener has come.
    fn on_connections(&mut self, ready: &[Ready]) -> bool {
        let before = self.last_change;
        let numbers = ready.iter().filter_map(|ready| match ready {
            Ready::Connection(number) => Some(*number),
            _ => None,
        });
        let ended = numbers.filter(|number| self.read(*number).is_err());
        let ended = ended.collect();
        self.remove(ended);
        self.last_change != before
    }

    /// Connections that have ended, by their numbers in ascending order.
    fn remove(&mut self, ended: Vec<usize>) {
        for number in ended.into_iter().rev() {
            let connection = self.connections.remove(number);
            self.supervisor.put_back(connection.uncounted());
        }
    }

    /// Takes in what has come. The connection ends with an error.
    fn read(&mut self, number: usize) -> io::Result<()> {
        for _ in 0..MOST_READS {
            match self.connections[number].receive()? {
                Received::Nothing => break,
                Received::Messages(messages) => self.take_in(number, messages),
                Received::Listener { fd, process } => {
                    self.supervisor.add_listener(fd);
                    self.supervisor.set_process(process);
                    self.last_change += 1;
                    self.connections.iter_mut().for_each(Connection::hurry);
                    // Nothing else of the runtime's message is needed.
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        Ok(())
    }

    fn take_in(&mut self, number: usize, messages: Vec<ToKeeper>) {
        for message in messages {
            self.connections[number].take_in(message, &mut self.supervisor);
        }
    }

    /// Takes one of the opens that each listener announces. Before the next, connections have their
    /// turn, where the message may be that a port is ready.
    fn on_listeners(&mut self, ready: &[Ready]) -> io::Result<bool> {
        let mut changed = false;
        for what in ready {
            changed |= match what {
                Ready::Listener(number) => self.supervisor.on_listener(*number)?,
                Ready::HungUp(number) => self.supervisor.remove_listener(*number),
                _ => false,
            };
        }
        Ok(changed)
    }

    fn tell_followers(&mut self) {
        let (supervisor, last_change) = (&mut self.supervisor, self.last_change);
        let connections = self.connections.iter_mut().enumerate();
        let told = connections.map(|(number, c)| (number, c.tell(supervisor, last_change)));
        let ended = told.filter_map(|(number, told)| told.is_err().then_some(number));
        let ended = ended.collect();
        self.remove(ended);
    }
}

/// Moves this process to where the first keeper was. The daemon's service would end it with itself.
fn join_group_of(first: &KeeperRecord) {
    if let Err(error) = cgroup::join(&first.cgroup) {
        tracing::warn!(
            message_id = kind::KEEPER_GROUP, container_id = first.container, %error,
            "a keeper cannot be moved to the control group of the one before; it will end with \
             ttyplugd.service"
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Socket,
    StarterEnded,
    Listener(u64),
    HungUp(u64),
    Connection(usize),
}
