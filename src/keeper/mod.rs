//! The hold keeper: one small process per container, which owns the listeners of its seccomp
//! filters, lets opens wait until their port is ready, and depends on nobody.
//!
//! It is born before the container, so that the runtime finds somebody to hand the first listener
//! to, and ends when the last program that was filtered has ended.
//!
//! Imports: `model`, `hold`, `sys`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::hold::held_opens::{Caller, Held, HeldOpens, Open, Opener, Reason};
use crate::hold::protocol::{FromKeeper, HeldOpen, ReleasedOpen, VERSION, line};
use crate::hold::{ContainerPorts, DEFAULT_SECONDS};
use crate::keeper::open_target::{decode, read_path, resolve};
use crate::keeper::seccomp_notify::{Listener, Notification};
use crate::sys::descriptors::{close_inherited, take_stdin};
use crate::sys::logging::kind;
use crate::sys::proc_thread;

mod connection;
pub mod launch;
pub mod open_target;
pub mod seccomp_notify;

use connection::{Connection, Received};

/// How often it is looked whether held opens still wait: the kernel tells nobody that a waiting
/// call was interrupted or its program killed.
const SWEEP_MS: u64 = 200;

/// The pause before the next try when a connection cannot be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How many notifications are taken before somebody else has a turn.
const MOST_AT_ONCE: usize = 256;

/// How many opens that have ended are remembered for a daemon that is away.
const MOST_ENDED: usize = 1024;

/// The default hold, in milliseconds.
const DEFAULT_HOLD_MS: u64 = DEFAULT_SECONDS * 1000;

/// What a keeper is told when it is born.
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
    clock: Instant,
    ports: ContainerPorts,
    /// Until when ports count that nobody has confirmed.
    provisional_until: Option<u64>,
    let_all_go: bool,
    holds: HeldOpens,
    swept: u64,
    /// Opens that have ended and that nobody has counted yet.
    ended: Vec<ReleasedOpen>,
    listeners: BTreeMap<u64, Listener>,
    next_listener: u64,
    had_listener: bool,
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

/// Keeps holds until nobody is left for whom there could be any.
///
/// # Errors
/// The socket is broken; opens that wait end with ENOSYS then.
pub fn keep(birth: Birth, socket: &UnixListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut keeper = Keeper {
        ports: ContainerPorts::default(),
        birth,
        clock: Instant::now(),
        provisional_until: None,
        let_all_go: false,
        holds: HeldOpens::default(),
        swept: 0,
        ended: Vec::new(),
        listeners: BTreeMap::new(),
        next_listener: 0,
        had_listener: false,
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
            // What was said comes before what is asked: an open that comes together with the word
            // that its port is gone has to wait.
            let mut changed = self.on_connections(&ready);
            for at in &ready {
                match at {
                    Ready::Listener(number) => changed |= self.on_listener(*number),
                    Ready::HungUp(number) => {
                        self.listeners.remove(number);
                        changed |= self.sweep();
                    }
                    _ => {}
                }
            }
            if self.now() >= self.swept.saturating_add(SWEEP_MS) {
                changed |= self.sweep();
            }
            if self
                .provisional_until
                .is_some_and(|until| until <= self.now())
            {
                self.ports = ContainerPorts::default();
                self.provisional_until = None;
            }
            changed |= self.release();
            if changed {
                self.tell_followers();
            }
            if self.listeners.is_empty() {
                // Only after every connection that is there was looked at.
                let starting = !self.had_listener && !ready.contains(&Ready::StarterEnded);
                if !starting && self.connections.iter().all(|c| c.follows) {
                    return Ok(());
                }
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits for something to happen or for the next deadline.
    fn wait(&self, socket: &UnixListener) -> io::Result<Vec<Ready>> {
        // poll looks at one after the other. If the starter had ended when it was looked at, then
        // what it sent before is seen at the socket.
        let mut what = Vec::new();
        let mut fds: Vec<BorrowedFd> = Vec::new();
        if !self.had_listener {
            what.push(Ready::StarterEnded);
            fds.push(self.birth.starter.as_fd());
        }
        what.push(Ready::Socket);
        fds.push(socket.as_fd());
        for (number, listener) in &self.listeners {
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
        let limit = if self.holds.held().is_empty() {
            PollTimeout::NONE
        } else {
            let deadline = self.holds.next_deadline().into_iter();
            let deadline = deadline.chain(self.provisional_until).min();
            let left = deadline.map_or(SWEEP_MS, |at| at.saturating_sub(self.now()).min(SWEEP_MS));
            PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)
        };
        match poll(&mut polled, limit) {
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

    /// Takes the notifications that there are, but not so many that others would wait for long.
    fn on_listener(&mut self, number: u64) -> bool {
        let mut changed = false;
        for _ in 0..MOST_AT_ONCE {
            let Some(listener) = self.listeners.get(&number) else {
                break;
            };
            match listener.receive() {
                Ok(Some(notification)) => changed |= self.on_open(number, &notification),
                Ok(None) => {}
                Err(_) => {
                    self.listeners.remove(&number);
                    self.sweep();
                    changed = true;
                }
            }
            if !self.listeners.get(&number).is_some_and(can_be_read) {
                break;
            }
        }
        changed
    }

    /// Decides about one open. Whatever goes wrong, it goes on: the kernel knows best.
    fn on_open(&mut self, number: u64, notification: &Notification) -> bool {
        let found = self.find(notification);
        let Some(listener) = self.listeners.get(&number) else {
            return false;
        };
        let (id, tid) = (notification.id, notification.tid);
        // What was read belongs to this open only if it still waits.
        if !listener.waits(id) {
            return false;
        }
        let hold = match &found {
            Some((_, path)) if !self.let_all_go => self.ports.hold(path),
            _ => None,
        };
        let (Some((caller, path)), Some(hold)) = (found, hold) else {
            listener.let_go_on(id);
            self.holds.other_open(tid);
            return false;
        };
        // A restarted open comes while its first one is still on the list.
        let listeners = &self.listeners;
        let waits = |held: &Held| {
            held.open.caller.tid != tid
                || listeners
                    .get(&held.open.listener)
                    .is_some_and(|l| l.waits(held.open.id))
        };
        let now = self.now();
        self.holds.sweep(now, waits, proc_thread::is_alive);
        let opener = Opener {
            command: proc_thread::command(tid),
            process: proc_thread::process(tid),
        };
        tracing::info!(
            message_id = kind::HELD,
            action = "hold",
            container_id = self.birth.container,
            container_path = path,
            tid,
            command = opener.command,
            "open held"
        );
        let open = Open {
            listener: number,
            id,
            caller,
            path,
            opener,
        };
        self.holds.hold(open, now, hold);
        true
    }

    fn find(&self, notification: &Notification) -> Option<(Caller, String)> {
        let open = decode(notification)?;
        let path = read_path(notification.tid, open.path).ok()?;
        let path = resolve(notification.tid, &open, &path).ok()?;
        let caller = Caller {
            tid: notification.tid,
            instruction: notification.instruction,
            path: open.path,
            flags: open.flags,
        };
        Some((caller, String::from_utf8(path).ok()?))
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
        let now = self.now();
        let connection = &mut self.connections[number];
        let messages = match connection.receive()? {
            Received::Messages(messages) => messages,
            Received::Listener(fd) => {
                self.listeners.insert(self.next_listener, Listener::new(fd));
                self.next_listener += 1;
                self.had_listener = true;
                // What else a runtime has to say is the container's state, which is known.
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        };
        let changed = !messages.is_empty();
        for message in messages {
            connection.follows |= message.follow;
            connection.counts |= message.counts;
            self.let_all_go |= message.let_all_go;
            if let Some(ports) = message.ports {
                self.ports = ports;
                let until = now.saturating_add(DEFAULT_HOLD_MS);
                self.provisional_until = message.provisional.then_some(until);
            }
        }
        Ok(changed)
    }

    fn sweep(&mut self) -> bool {
        self.swept = self.now();
        let listeners = &self.listeners;
        let waits = |held: &Held| {
            let listener = listeners.get(&held.open.listener);
            listener.is_some_and(|listener| listener.waits(held.open.id))
        };
        // Nobody comes again where nobody is left.
        let can_come_again = |tid| !listeners.is_empty() && proc_thread::is_alive(tid);
        self.holds.sweep(self.swept, waits, can_come_again)
    }

    fn release(&mut self) -> bool {
        let now = self.now();
        let gone = self.holds.take_gone();
        let released = self.holds.release(now, &self.ports, self.let_all_go);
        if released.is_empty() && gone.is_empty() {
            return false;
        }
        let gone = gone.into_iter().map(|waited| (waited, Reason::Gone));
        let went_on = released
            .iter()
            .map(|(held, reason)| (now.saturating_sub(held.since), *reason));
        let ended = gone.chain(went_on);
        self.ended
            .extend(ended.map(|(waited_ms, reason)| ReleasedOpen { waited_ms, reason }));
        let too_many = self.ended.len().saturating_sub(MOST_ENDED);
        self.ended.drain(..too_many);
        let wake_here = |here| self.listeners.values().for_each(|l| l.wake_here(here));
        wake_here(false);
        for (held, _) in &released {
            if let Some(listener) = self.listeners.get(&held.open.listener) {
                listener.let_go_on(held.open.id);
            }
        }
        wake_here(true);
        for (held, reason) in &released {
            tracing::info!(
                message_id = kind::RELEASED, action = "release", reason = ?reason,
                container_id = self.birth.container, container_path = held.open.path,
                tid = held.open.caller.tid, waited_ms = now.saturating_sub(held.since), "open released"
            );
        }
        true
    }

    /// Who does not read is not waited for: it is cut off, and finds us again.
    fn tell_followers(&mut self) {
        let now = self.now();
        let held = self.holds.held().iter().map(|held| HeldOpen {
            tid: held.open.caller.tid,
            command: held.open.opener.command.clone(),
            pid: held.open.opener.process,
            path: held.open.path.clone(),
            waited_ms: now.saturating_sub(held.since),
            left_ms: held.until.map(|until| until.saturating_sub(now)),
        });
        let mut message = FromKeeper {
            ttyplugd: VERSION,
            container: self.birth.container.clone(),
            held: held.collect(),
            released: Vec::new(),
        };
        let to_all = line(&message);
        message.released.clone_from(&self.ended);
        let to_who_counts = line(&message);
        self.connections.retain_mut(|connection| {
            if !connection.follows {
                return true;
            }
            let counts = connection.counts && !self.ended.is_empty();
            let line = if counts { &to_who_counts } else { &to_all };
            let written = connection.tell(line);
            if written && counts {
                self.ended.clear();
            }
            written
        });
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

/// A listener must not be read without asking first: the read waits, whatever its flags are.
fn can_be_read(listener: &Listener) -> bool {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let events = poll(&mut polled, PollTimeout::ZERO).map(|_| polled[0].revents());
    matches!(events, Ok(Some(events)) if events.contains(PollFlags::POLLIN))
}
