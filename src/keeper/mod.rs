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

use nix::poll::{PollFd, PollFlags, poll};

use crate::hold::protocol::{FromKeeper, VERSION, line};
use crate::keeper::connection::{Connection, Received};
use crate::keeper::supervisor::Supervisor;
use crate::sys::descriptors::{close_inherited, take_stdin};

mod connection;
pub mod launch;
pub mod open_target;
pub mod resolve;
pub mod seccomp_notify;
mod supervisor;

/// The pause before the next try when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

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
            let mut changed = self.on_connections(&ready);
            for what in &ready {
                match what {
                    Ready::Listener(number) => changed |= self.supervisor.on_listener(*number),
                    Ready::HungUp(number) => changed |= self.supervisor.remove_listener(*number),
                    _ => {}
                }
            }
            changed |= self.supervisor.tick();
            if changed {
                self.tell_followers();
            }
            if self.supervisor.listeners().is_empty() {
                // Only after every connection that is there was looked at.
                let starting =
                    !self.supervisor.has_had_listeners() && !ready.contains(&Ready::StarterEnded);
                if !starting && self.connections.iter().all(|c| c.follows) {
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
        what.push(Ready::Socket);
        fds.push(socket.as_fd());
        for (number, listener) in self.supervisor.listeners() {
            what.push(Ready::Listener(*number));
            fds.push(listener.as_fd());
        }
        for (number, connection) in self.connections.iter().enumerate() {
            what.push(Ready::Connection(number));
            fds.push(connection.as_fd());
        }
        let mut polled: Vec<PollFd> = fds
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut polled, self.supervisor.idle()) {
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

    fn accept(&mut self, socket: &UnixListener) {
        loop {
            match socket.accept() {
                Ok((stream, _)) => self.connections.extend(Connection::accept(stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Such as too many open files, for which poll(2) would not wait.
                Err(_) => return thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    fn on_connections(&mut self, ready: &[Ready]) -> bool {
        let mut changed = false;
        let mut ended = Vec::new();
        for number in ready.iter().filter_map(|ready| match ready {
            Ready::Connection(number) => Some(*number),
            _ => None,
        }) {
            match self.read(number) {
                Ok(news) => changed |= news,
                Err(_) => ended.push(number),
            }
        }
        for number in ended.into_iter().rev() {
            self.connections.remove(number);
        }
        changed
    }

    /// Takes in what has come. The connection ends with an error.
    fn read(&mut self, number: usize) -> io::Result<bool> {
        let connection = &mut self.connections[number];
        let messages = match connection.receive()? {
            Received::Messages(messages) => messages,
            Received::Listener(fd) => {
                self.supervisor.add_listener(fd);
                // The rest of the runtime's message is the container's state, which is known.
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        };
        let changed = !messages.is_empty();
        for message in messages {
            connection.follows |= message.follow;
            connection.counts |= message.counts;
            self.supervisor.take_in(message);
        }
        Ok(changed)
    }

    /// A follower that does not read is cut off, and finds us again.
    fn tell_followers(&mut self) {
        let ended = self.supervisor.ended();
        let mut message = FromKeeper {
            ttyplugd: VERSION,
            container: self.birth.container.clone(),
            held: self.supervisor.held(),
            released: Vec::new(),
        };
        let to_all = line(&message);
        message.released = ended.to_vec();
        let to_counter = line(&message);
        // Each end is counted once.
        let mut uncounted = !ended.is_empty();
        self.connections.retain_mut(|connection| {
            if !connection.follows {
                return true;
            }
            let counts = connection.counts && uncounted;
            let line = if counts { &to_counter } else { &to_all };
            let written = connection.write(line);
            uncounted &= !(written && counts);
            written
        });
        if !uncounted {
            self.supervisor.forget_ended();
        }
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
