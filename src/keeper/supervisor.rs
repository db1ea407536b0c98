//! Decides about the opens of one container that its seccomp filters announce, and holds those of
//! ports that are not ready.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::hold::held_opens::{Caller, Held, HeldOpens, Open, Opener, Reason};
use crate::hold::protocol::{HeldOpen, ReleasedOpen, ToKeeper};
use crate::hold::{ContainerPorts, DEFAULT_SECONDS};
use crate::keeper::open_target::{decode, find_name, read_path};
use crate::keeper::seccomp_notify::{Listener, Notification};
use crate::sys::logging::kind;
use crate::sys::proc_thread;

/// The interval of the checks whether held opens still wait: the kernel does not report that a
/// waiting call was interrupted or its program killed.
const SWEEP_MS: u64 = 200;

/// How many notifications of one listener are taken in a row.
const MOST_AT_ONCE: usize = 256;

/// How many opens that have ended are remembered for a daemon that is away.
const MOST_ENDED: usize = 1024;

/// The default hold, in milliseconds.
const DEFAULT_HOLD_MS: u64 = DEFAULT_SECONDS * 1000;

/// The supervisor of one container.
pub(super) struct Supervisor {
    container: String,
    clock: Instant,
    ports: ContainerPorts,
    /// When provisional ports expire.
    provisional_until: Option<u64>,
    let_all_go: bool,
    held: HeldOpens,
    swept: u64,
    /// Opens that have ended and that the daemon has not counted yet.
    ended: Vec<ReleasedOpen>,
    listeners: BTreeMap<u64, Listener>,
    next_listener: u64,
}

impl Supervisor {
    pub(super) fn new(container: String) -> Self {
        Self {
            container,
            clock: Instant::now(),
            ports: ContainerPorts::default(),
            provisional_until: None,
            let_all_go: false,
            held: HeldOpens::default(),
            swept: 0,
            ended: Vec::new(),
            listeners: BTreeMap::new(),
            next_listener: 0,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
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
        self.sweep()
    }

    /// Takes in a message of the daemon or a wrapper.
    pub(super) fn take_in(&mut self, message: ToKeeper) {
        self.let_all_go |= message.let_all_go;
        if let Some(ports) = message.ports {
            self.ports = ports;
            let until = self.now().saturating_add(DEFAULT_HOLD_MS);
            self.provisional_until = message.provisional.then_some(until);
        }
    }

    /// How long nothing is due.
    pub(super) fn idle(&self) -> PollTimeout {
        if self.held.held().is_empty() {
            return PollTimeout::NONE;
        }
        let deadline = self.held.next_deadline().into_iter();
        let deadline = deadline.chain(self.provisional_until).min();
        let left = deadline.map_or(SWEEP_MS, |at| at.saturating_sub(self.now()).min(SWEEP_MS));
        PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)
    }

    /// Does what is due by now. Returns whether that has changed which opens are held.
    pub(super) fn tick(&mut self) -> bool {
        let now = self.now();
        let swept = now >= self.swept.saturating_add(SWEEP_MS) && self.sweep();
        if self.provisional_until.is_some_and(|until| until <= now) {
            self.ports = ContainerPorts::default();
            self.provisional_until = None;
        }
        swept | self.release()
    }

    /// Takes the notifications of a listener. Returns whether that has changed which opens are held.
    pub(super) fn on_listener(&mut self, number: u64) -> bool {
        let mut changed = false;
        for _ in 0..MOST_AT_ONCE {
            let Some(listener) = self.listeners.get(&number) else {
                break;
            };
            match listener.receive() {
                Ok(Some(notification)) => changed |= self.on_open(number, &notification),
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
            listener.resume(id);
            self.held.other_open(tid);
            return false;
        };
        // A restarted open comes while its first one is still on the list.
        let listeners = &self.listeners;
        let waits = |held: &Held| held.open.caller.tid != tid || waits(listeners, held);
        let now = self.now();
        self.held.sweep(now, waits, proc_thread::is_alive);
        let opener = Opener {
            command: proc_thread::command(tid),
            process: proc_thread::process(tid),
        };
        tracing::info!(
            message_id = kind::HELD,
            action = "hold",
            container_id = self.container,
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
        self.held.hold(open, now, hold);
        true
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

    fn release(&mut self) -> bool {
        let now = self.now();
        let gone = self.held.take_gone();
        let released = self.held.release(now, &self.ports, self.let_all_go);
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
                listener.resume(held.open.id);
            }
        }
        wake_here(true);
        for (held, reason) in &released {
            tracing::info!(
                message_id = kind::RELEASED, action = "release", reason = ?reason,
                container_id = self.container, container_path = held.open.path,
                tid = held.open.caller.tid, waited_ms = now.saturating_sub(held.since), "open released"
            );
        }
        true
    }

    /// The opens that are held.
    pub(super) fn held(&self) -> Vec<HeldOpen> {
        let now = self.now();
        let held = self.held.held().iter().map(|held| HeldOpen {
            tid: held.open.caller.tid,
            command: held.open.opener.command.clone(),
            pid: held.open.opener.process,
            path: held.open.path.clone(),
            waited_ms: now.saturating_sub(held.since),
            left_ms: held.until.map(|until| until.saturating_sub(now)),
        });
        held.collect()
    }

    /// Opens that have ended and that the daemon has not counted yet.
    pub(super) fn ended(&self) -> &[ReleasedOpen] {
        &self.ended
    }

    /// The daemon has counted them.
    pub(super) fn forget_ended(&mut self) {
        self.ended.clear();
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
