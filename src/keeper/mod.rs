//! The keeper: one small process per container start, which is the container's seccomp supervisor.
//! It owns the listeners of its filters, holds opens until their port is ready, and depends on
//! nobody.
//!
//! It is started before the container, since the runtime hands it the first listener, and ends when
//! the last program that was filtered has ended.
//!
//! Imports: `model`, `hold`, `sys`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::keeper::connection::{Connection, Received};
use crate::keeper::supervisor::Supervisor;
use crate::sys::descriptors::{close_inherited, take_stdin};
use crate::sys::log_report;

mod connection;
mod follower;
pub mod launch;
pub mod open_target;
pub mod resolve;
pub mod seccomp_notify;
mod supervisor;

/// The pause before the next try when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How many connections there may be at once. More of them wait in the socket's queue.
const MOST_CONNECTIONS: usize = 64;

/// How many notifications are taken before connections are looked at again, in which the message
/// may be that a port is ready.
const MOST_OPENS: usize = 64;

/// How often a connection is read before others have their turn.
const MOST_READS: usize = 16;

/// What a keeper is started with.
#[derive(Debug)]
pub struct Birth {
    pub container: String,
    /// Where runtimes and the daemon find it.
    pub socket: PathBuf,
    /// The process that starts the container. While no listener has come, the keeper lives as
    /// long as it does.
    pub starter: OwnedFd,
}

struct Keeper {
    birth: Birth,
    supervisor: Supervisor,
    connections: Vec<Connection>,
    /// The number of the last change of what is held.
    last_change: u64,
}

/// Lets go of everything that was inherited, and returns the socket that came as standard input.
///
/// # Errors
/// There is no /proc or no /dev/null.
pub fn take_over(starter: &OwnedFd) -> io::Result<UnixListener> {
    close_inherited(starter)?;
    Ok(UnixListener::from(take_stdin()?))
}

/// Supervises the container until no program of it is left.
///
/// # Errors
/// The socket is broken; opens that wait end with ENOSYS then.
pub fn run(birth: Birth, socket: &UnixListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut keeper = Keeper {
        supervisor: Supervisor::new(birth.container.clone()),
        birth,
        connections: Vec::new(),
        last_change: 0,
    };
    let result = keeper.run(socket);
    let _ = fs::remove_file(&keeper.birth.socket);
    result
}

impl Keeper {
    fn run(&mut self, socket: &UnixListener) -> io::Result<()> {
        loop {
            let ready = self.wait(socket)?;
            if ready.contains(&Ready::Socket) {
                self.accept(socket);
            }
            // Messages come before opens: an open that comes together with the message that its port
            // is gone has to wait.
            self.on_connections(&ready);
            let changed = self.on_listeners(&ready) | self.supervisor.tick();
            self.last_change += u64::from(changed);
            self.tell_followers();
            if self.supervisor.listeners().is_empty() {
                // Only after every connection that is there was looked at.
                let starting =
                    !self.supervisor.has_had_listeners() && !ready.contains(&Ready::StarterEnded);
                if !starting && self.connections.iter().all(Connection::follows) {
                    self.connections.iter_mut().for_each(Connection::hurry);
                    self.tell_followers();
                    log_report::report_last();
                    return Ok(());
                }
            }
        }
    }

    /// Waits for something to happen or for the next deadline.
    fn wait(&self, socket: &UnixListener) -> io::Result<Vec<Ready>> {
        // poll looks at one after the other. If the starter had ended when it was looked at, then
        // what it sent before is seen at the socket.
        let mut what = Vec::new();
        let mut fds: Vec<BorrowedFd> = Vec::new();
        if !self.supervisor.has_had_listeners() {
            what.push(Ready::StarterEnded);
            fds.push(self.birth.starter.as_fd());
        }
        if self.connections.len() < MOST_CONNECTIONS {
            what.push(Ready::Socket);
            fds.push(socket.as_fd());
        }
        for (number, listener) in self.supervisor.listeners() {
            what.push(Ready::Listener(*number));
            fds.push(listener.as_fd());
        }
        for (number, connection) in self.connections.iter().enumerate() {
            what.push(Ready::Connection(number));
            fds.push(connection.as_fd());
        }
        let fds = what.iter().zip(fds);
        let mut polled: Vec<PollFd> = fds
            .map(|(what, fd)| PollFd::new(fd, self.events(*what)))
            .collect();
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
        let next = told.chain(self.supervisor.next()).min();
        let left = next.map(|at| at.saturating_sub(self.supervisor.now()));
        let report = log_report::report_missing();
        let left = left.map(Duration::from_millis).into_iter().chain(report);
        left.min().map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    fn accept(&mut self, socket: &UnixListener) {
        while self.connections.len() < MOST_CONNECTIONS {
            match socket.accept() {
                Ok((stream, _)) => self.connections.extend(Connection::accept(stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Such as too many open files, for which poll(2) would not wait.
                Err(_) => return thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    fn on_connections(&mut self, ready: &[Ready]) {
        let numbers = ready.iter().filter_map(|ready| match ready {
            Ready::Connection(number) => Some(*number),
            _ => None,
        });
        let ended = numbers.filter(|number| self.read(*number).is_err());
        let ended = ended.collect();
        self.remove(ended);
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
        let connection = &mut self.connections[number];
        for _ in 0..MOST_READS {
            match connection.receive()? {
                Received::Nothing => break,
                Received::Messages(messages) => {
                    for message in messages {
                        connection.take_in(message, &mut self.supervisor);
                    }
                }
                Received::Listener(fd) => {
                    self.supervisor.add_listener(fd);
                    // The rest of the runtime's message is the container's state, which is known.
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        Ok(())
    }

    /// Takes the opens that are announced, some of each listener.
    fn on_listeners(&mut self, ready: &[Ready]) -> bool {
        let announcing = ready.iter().filter(|r| matches!(r, Ready::Listener(_)));
        let most = (MOST_OPENS / announcing.count().max(1)).max(1);
        let mut changed = false;
        for what in ready {
            changed |= match what {
                Ready::Listener(number) => self.supervisor.on_listener(*number, most),
                Ready::HungUp(number) => self.supervisor.remove_listener(*number),
                _ => false,
            };
        }
        changed
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Socket,
    StarterEnded,
    Listener(u64),
    HungUp(u64),
    Connection(usize),
}
