//! Decides about the opens of one container that its seccomp filters announce, and holds those of
//! ports that are not ready.

use std::collections::BTreeMap;
use std::mem::take;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::hold::ended_opens::EndedOpens;
use crate::hold::held_opens::{
    Caller, Held, HeldOpens, MOST_HELD, Open, OpenRecord, Opener, Reason,
};
use crate::hold::protocol::{Descriptor, FromKeeper, ReleasedOpen, ToKeeper, VERSION};
use crate::hold::{ContainerPorts, DEFAULT_SECONDS};
use crate::keeper::open_target::{decode, find_name, read_path};
use crate::keeper::seccomp_notify::{Listener, Notification};
use crate::keeper::state_file::{KeeperRecord, StateFile};
use crate::model::Hold;
use crate::sys::clock::monotonic;
use crate::sys::logging::kind;
use crate::sys::{proc_thread, program};

/// The interval of the checks whether held opens still wait: the kernel does not report that a
/// waiting call was interrupted or its program killed. It looks through all of them to find one
/// (`find_notification` in its kernel/seccomp.c), so where many wait they are checked less often.
const SWEEP_MS: u64 = 200;
const SWEPT_AT_ONCE: u64 = 64;

/// With how many keepers an open may end before one does not look at it: it may be the cause.
const MOST_ENDS: u64 = 3;

/// The default hold, in milliseconds.
const DEFAULT_HOLD_MS: u64 = DEFAULT_SECONDS * 1000;

/// The supervisor of one container.
pub(super) struct Supervisor {
    /// What is known of it when another keeper takes over.
    keeper: KeeperRecord,
    state: StateFile,
    /// At which it is found. Who keeps copies of the others keeps one of it.
    socket: Rc<OwnedFd>,
    /// The file of our program, as it was at the start.
    program: Option<String>,
    ports: ContainerPorts,
    /// Held opens may have no reason to wait any more.
    ports_changed: bool,
    /// When provisional ports expire.
    provisional_until: Option<u64>,
    held: HeldOpens,
    swept: u64,
    /// There is no room for another open, and that was logged.
    is_full: bool,
    /// Opens that have ended and that the daemon has not counted yet.
    ended: EndedOpens,
    listeners: BTreeMap<u64, Listener>,
    next_listener: u64,
}

impl Supervisor {
    /// Of a container that is being created.
    pub(super) fn new(keeper: KeeperRecord, state: StateFile, socket: OwnedFd) -> Self {
        Self {
            keeper,
            state,
            socket: Rc::new(socket),
            program: program::identity(program::OWN.as_ref()).ok(),
            ports: ContainerPorts::default(),
            ports_changed: false,
            provisional_until: None,
            held: HeldOpens::default(),
            swept: 0,
            is_full: false,
            ended: EndedOpens::default(),
            listeners: BTreeMap::new(),
            next_listener: 0,
        }
    }

    /// In place of another keeper, which has left `opens`.
    pub(super) fn take_over(
        mut self,
        opens: Vec<OpenRecord>,
        listeners: BTreeMap<u64, OwnedFd>,
        first: ToKeeper,
    ) -> Self {
        self.next_listener = listeners.keys().next_back().map_or(0, |last| last + 1);
        let listeners = listeners.into_iter();
        self.listeners = listeners.map(|(n, fd)| (n, Listener::new(fd))).collect();
        opens.into_iter().for_each(|open| self.held.restore(open));
        self.take_in(first);
        self.answer_received();
        self.sweep();
        self
    }

    /// Decides about the open that the keeper before had received when it ended.
    fn answer_received(&mut self) {
        let Some((listener, notification, found)) = self.state.inbox.find() else {
            return;
        };
        let id = notification.id;
        let held = self.held.of_thread(notification.tid).map(|held| &held.open);
        if found >= MOST_ENDS {
            self.resume(listener, id, notification.tid);
        } else if held.is_none_or(|open| (open.listener, open.id) != (listener, id)) {
            self.on_open(listener, &notification);
        }
        self.write();
        self.state.inbox.clear();
    }

    /// Milliseconds of the clock that all keepers have.
    pub(super) fn now(&self) -> u64 {
        monotonic()
    }

    /// The listeners by their numbers: one for each filter whose programs have not all ended.
    pub(super) fn listeners(&self) -> &BTreeMap<u64, Listener> {
        &self.listeners
    }

    pub(super) fn has_had_listeners(&self) -> bool {
        self.next_listener > 0
    }

    pub(super) fn add_listener(&mut self, fd: OwnedFd) {
        self.listeners.insert(self.next_listener, Listener::new(fd));
        self.next_listener += 1;
    }

    /// The last program of a filter has ended. Returns whether an open has ended with it.
    pub(super) fn remove_listener(&mut self, number: u64) -> bool {
        self.listeners.remove(&number);
        let changed = self.sweep();
        self.write();
        changed
    }

    /// Takes in a message of the daemon or a wrapper.
    pub(super) fn take_in(&mut self, message: ToKeeper) {
        if message.let_all_go {
            self.keeper.let_all_go = true;
            self.state.write_keeper(&self.keeper);
        }
        self.ports_changed |= message.let_all_go || message.ports.is_some();
        if let Some(ports) = message.ports {
            self.ports = ports;
            let until = self.now().saturating_add(DEFAULT_HOLD_MS);
            self.provisional_until = message.provisional.then_some(until);
        }
    }

    /// When something is due, by the clock of [`Self::now`].
    pub(super) fn next(&self) -> Option<u64> {
        if self.held.held().len() == 0 {
            return None;
        }
        let sweep = self.next_sweep();
        let deadlines = [self.held.next_deadline(), self.provisional_until];
        deadlines.into_iter().flatten().chain([sweep]).min()
    }

    fn next_sweep(&self) -> u64 {
        let more = self.held.held().len() as u64 / SWEPT_AT_ONCE;
        self.swept.saturating_add(SWEEP_MS * (1 + more))
    }

    /// Does what is due by now. Returns whether that has changed which opens are held.
    pub(super) fn tick(&mut self) -> bool {
        let now = self.now();
        let swept = now >= self.next_sweep() && self.sweep();
        if self.provisional_until.is_some_and(|until| until <= now) {
            self.ports = ContainerPorts::default();
            self.ports_changed = true;
            self.provisional_until = None;
        }
        let changed = swept | self.release();
        self.write();
        changed
    }

    /// Writes down what has changed, for the next keeper.
    fn write(&mut self) {
        for tid in self.held.take_changed() {
            self.state.write_open(tid, self.held.record(tid).as_ref());
        }
    }

    /// Takes so many notifications of a listener at most. Returns whether that has changed which
    /// opens are held.
    pub(super) fn on_listener(&mut self, number: u64, most: usize) -> bool {
        let mut changed = false;
        for _ in 0..most {
            let Some(listener) = self.listeners.get(&number) else {
                break;
            };
            match self.state.inbox.receive(number, listener) {
                Ok(Some(notification)) => {
                    changed |= self.on_open(number, &notification);
                    self.write();
                    self.state.inbox.clear();
                }
                Ok(None) => {}
                Err(_) => {
                    self.remove_listener(number);
                    changed = true;
                }
            }
            if !self.listeners.get(&number).is_some_and(can_be_read) {
                break;
            }
        }
        changed
    }

    /// Decides about one open. After any error it is resumed, and the kernel decides.
    fn on_open(&mut self, number: u64, notification: &Notification) -> bool {
        let found = find(notification);
        let (id, tid) = (notification.id, notification.tid);
        // What was read belongs to this open only if it still waits.
        if !self.listeners.get(&number).is_some_and(|l| l.waits(id)) {
            return false;
        }
        let hold = match &found {
            Some((_, path)) if !self.keeper.let_all_go => self.ports.hold(path),
            _ => None,
        };
        match (found, hold) {
            (Some((caller, path)), Some(_)) if self.held.restart(caller, &path, number, id) => {
                false
            }
            (Some((caller, path)), Some(hold)) => self.hold(number, id, caller, path, hold),
            _ => self.resume(number, id, tid),
        }
    }

    /// Lets an open go on that is not held. Returns whether another one of its thread was.
    fn resume(&mut self, number: u64, id: u64, tid: u32) -> bool {
        if let Some(listener) = self.listeners.get(&number) {
            listener.resume(id);
        }
        self.held.other_open(tid, self.now())
    }

    /// Holds an open as long as there is room.
    fn hold(&mut self, listener: u64, id: u64, caller: Caller, path: String, hold: Hold) -> bool {
        let (tid, now) = (caller.tid, self.now());
        let changed = self.held.other_open(tid, now);
        if !self.has_room(now) {
            self.log_full();
            return self.resume(listener, id, tid) | changed;
        }
        let opener = Opener {
            command: proc_thread::command(tid),
            process: proc_thread::process(tid),
        };
        tracing::info!(
            message_id = kind::HELD,
            action = "hold",
            container_id = self.keeper.container,
            container_path = path,
            tid,
            command = opener.command,
            "open held"
        );
        let open = Open {
            listener,
            id,
            caller,
            path,
            opener,
        };
        self.held.hold(open, now, hold);
        true
    }

    /// Whether one more open can be held. Those whose program was killed count until a sweep.
    fn has_room(&mut self, now: u64) -> bool {
        let can_sweep = now >= self.swept.saturating_add(SWEEP_MS);
        self.held.make_room() || can_sweep && self.sweep() && self.held.make_room()
    }

    fn log_full(&mut self) {
        if !self.is_full {
            tracing::warn!(
                message_id = kind::HOLDS_FULL,
                container_id = self.keeper.container,
                "{MOST_HELD} opens are held; further ones fail as if none were held"
            );
        }
        self.is_full = true;
    }

    /// Looks which opens still wait.
    fn sweep(&mut self) -> bool {
        self.swept = self.now();
        let listeners = &self.listeners;
        // Where no program is left no open comes again.
        let can_come_again = |tid| !listeners.is_empty() && proc_thread::is_alive(tid);
        let waits = |held: &Held| waits(listeners, held);
        self.held.sweep(self.swept, waits, can_come_again)
    }

    /// Lets those go on that have no reason to wait any more.
    fn release(&mut self) -> bool {
        let now = self.now();
        let expired = self.held.expire(now).into_iter();
        let mut released: Vec<_> = expired.map(|held| (held, Reason::Timeout)).collect();
        if take(&mut self.ports_changed) {
            released.extend(self.held.release(&self.ports, self.keeper.let_all_go));
        }
        self.is_full &= self.held.held().len() > 0;
        self.resume_all(&released);
        for (held, reason) in &released {
            self.log_released(held, *reason, now);
        }
        self.count(&released, now)
    }

    /// Counts the opens that have ended. Returns whether there are any.
    fn count(&mut self, released: &[(Held, Reason)], now: u64) -> bool {
        let went_on = released.iter();
        let went_on = went_on.map(|(held, reason)| (now.saturating_sub(held.since), *reason));
        let gone = self.held.take_gone().into_iter();
        let gone = gone.map(|waited_ms| (waited_ms, Reason::Gone));
        let mut any = false;
        for (waited_ms, reason) in gone.chain(went_on) {
            self.ended.add(ReleasedOpen {
                waited_ms,
                reason,
                count: 1,
            });
            any = true;
        }
        any
    }

    fn resume_all(&self, released: &[(Held, Reason)]) {
        if released.is_empty() {
            return;
        }
        let wake_here = |here| self.listeners.values().for_each(|l| l.wake_here(here));
        wake_here(false);
        for (held, _) in released {
            if let Some(listener) = self.listeners.get(&held.open.listener) {
                listener.resume(held.open.id);
            }
        }
        wake_here(true);
    }

    fn log_released(&self, held: &Held, reason: Reason, now: u64) {
        let waited_ms = now.saturating_sub(held.since);
        tracing::info!(
            message_id = kind::RELEASED, action = "release", reason = ?reason,
            container_id = self.keeper.container, container_path = held.open.path,
            tid = held.open.caller.tid, waited_ms, "open released"
        );
    }

    /// The opens that are held.
    pub(super) fn held(&self) -> &HeldOpens {
        &self.held
    }

    /// A message of this container's keeper.
    pub(super) fn sign(&self, message: FromKeeper) -> FromKeeper {
        FromKeeper {
            ttyplugd: VERSION,
            container: self.keeper.container.clone(),
            program: self.program.clone(),
            ..message
        }
    }

    /// What another keeper needs to take over.
    pub(super) fn descriptors(&self) -> BTreeMap<Descriptor, Rc<OwnedFd>> {
        let own = [
            (Descriptor::Socket, self.socket.clone()),
            (Descriptor::State, self.state.file().clone()),
        ];
        let listeners = self.listeners.iter();
        let listeners = listeners.map(|(n, l)| (Descriptor::Listener(*n), l.descriptor().clone()));
        own.into_iter().chain(listeners).collect()
    }

    /// Takes out the opens that have ended and that the daemon has not counted yet.
    pub(super) fn take_ended(&mut self) -> Vec<ReleasedOpen> {
        self.ended.take()
    }

    /// Takes back those of which the daemon has not heard.
    pub(super) fn put_back(&mut self, ended: Vec<ReleasedOpen>) {
        ended.into_iter().for_each(|ended| self.ended.add(ended));
    }
}

/// The caller and the path of an open, if they can be read.
fn find(notification: &Notification) -> Option<(Caller, String)> {
    let open = decode(notification)?;
    let path = read_path(notification.tid, open.path).ok()?;
    let path = find_name(notification.tid, &open, &path).ok()?;
    let caller = Caller {
        tid: notification.tid,
        instruction: notification.instruction,
        path: open.path,
        flags: open.flags,
    };
    Some((caller, path.into()))
}

fn waits(listeners: &BTreeMap<u64, Listener>, held: &Held) -> bool {
    let listener = listeners.get(&held.open.listener);
    listener.is_some_and(|listener| listener.waits(held.open.id))
}

/// A listener must be polled before it is read: the read blocks whatever its flags are.
fn can_be_read(listener: &Listener) -> bool {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let events = poll(&mut polled, PollTimeout::ZERO).map(|_| polled[0].revents());
    matches!(events, Ok(Some(events)) if events.contains(PollFlags::POLLIN))
}

#[cfg(test)]
impl Supervisor {
    /// Of a container that does nothing.
    pub(super) fn for_test() -> Self {
        let keeper = KeeperRecord::default();
        let state = StateFile::create(&keeper).unwrap();
        let socket = std::fs::File::open("/dev/null").unwrap();
        Self::new(keeper, state, socket.into())
    }
}
