//! Decides about the opens of one container that its seccomp filters announce, and holds those of
//! ports that are not ready.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use crate::hold::ended_opens::EndedOpens;
use crate::hold::held_opens::{
    Caller, Held, HeldOpens, MOST_HELD, Open, OpenRecord, Opener, Reason,
};
use crate::hold::in_vain::InVain;
use crate::hold::protocol::{Descriptor, FromKeeper, ReleasedOpen, ToKeeper, VERSION};
use crate::hold::{ContainerPorts, DEFAULT_SECONDS};
use crate::keeper::open_target::{decode, find_names, has_containers_root, read_path};
use crate::keeper::seccomp_notify::{Listener, Notification};
use crate::keeper::state_file::{KeeperRecord, Left, PortsRecord, StateFile};
use crate::model::Hold;
use crate::model::start::FirstProcess;
use crate::sys::clock::monotonic;
use crate::sys::logging::kind;
use crate::sys::{proc_thread, process_lock, program};

/// The interval of the checks whether held opens still wait: the kernel does not report that a
/// waiting call was interrupted or its program killed. It looks through all of them to find one
/// (`find_notification` in its kernel/seccomp.c), so where many wait they are checked less often.
const SWEEP_MS: u64 = 200;
const SWEPT_AT_ONCE: u64 = 64;

/// How many keepers that take over may look at the same open. It may be what ends them.
const MOST_LOOKS: u64 = 3;

/// The default hold, in milliseconds.
const DEFAULT_HOLD_MS: u64 = DEFAULT_SECONDS * 1000;

/// What helps a process that does nothing else while its open is held.
const ONLY_THREAD: &str =
    "if it has other work, open the port in a thread, or set a shorter `hold`";

/// The supervisor of one container.
pub(super) struct Supervisor {
    /// What is known of it when another keeper takes over.
    keeper: KeeperRecord,
    state: StateFile,
    /// The socket at which it is found. Who has copies of the other descriptors has one of it.
    socket: Rc<OwnedFd>,
    /// The file of our program, as it was at the start.
    program: Option<String>,
    /// The ports that it was last told.
    told: PortsRecord,
    /// Held opens may have no reason to wait any more.
    ports_changed: bool,
    held: HeldOpens,
    in_vain: InVain,
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
            told: PortsRecord::default(),
            ports_changed: false,
            held: HeldOpens::default(),
            in_vain: InVain::default(),
            swept: 0,
            is_full: false,
            ended: EndedOpens::default(),
            listeners: BTreeMap::new(),
            next_listener: 0,
        }
    }

    /// In place of another keeper.
    pub(super) fn take_over(
        left: Left,
        state: StateFile,
        socket: OwnedFd,
        listeners: BTreeMap<u64, OwnedFd>,
    ) -> Self {
        let mut supervisor = Self::new(left.keeper, state, socket);
        supervisor.next_listener = listeners.keys().next_back().map_or(0, |last| last + 1);
        let listeners = listeners.into_iter();
        supervisor.listeners = listeners.map(|(n, fd)| (n, Listener::new(fd))).collect();
        supervisor.told = left.ports;
        supervisor.in_vain = left.in_vain;
        let opens = left.opens.into_iter();
        opens.for_each(|open| supervisor.held.restore(open));
        supervisor.answer_received();
        supervisor.sweep();
        supervisor.write();
        supervisor
    }

    /// Decides about the open that the keeper before had received when it ended.
    fn answer_received(&mut self) {
        let Some((listener, notification, found)) = self.state.inbox.find() else {
            return;
        };
        let id = notification.id;
        let held = self.held.of_thread(notification.tid).map(|held| &held.open);
        if found >= MOST_LOOKS {
            self.resume(listener, id, notification.tid);
        } else if held.is_none_or(|open| (open.listener, open.id) != (listener, id)) {
            self.on_open(listener, &notification);
        }
        self.write();
        self.state.inbox.clear();
    }

    /// Takes in the process that a runtime has put under a filter: the container's first one, before any
    /// that is executed in it. For those nothing is looked up: a listener can be lost until the daemon has a
    /// copy of it.
    pub(super) fn set_process(&mut self, pid: Option<u32>) {
        let (None, Some(pid)) = (self.keeper.process, pid) else {
            return;
        };
        let started = proc_thread::start_time(pid);
        self.keeper.process = started.map(|started| FirstProcess { pid, started });
        self.state.write_keeper(&self.keeper);
    }

    /// Lets another keeper take over.
    pub(super) fn unlock(&self) {
        process_lock::unlock(self.state.file());
    }

    /// Goes on, unless another keeper has taken over.
    pub(super) fn lock(&self) -> bool {
        process_lock::lock(self.state.file(), Duration::ZERO).is_ok()
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
        self.ports_changed |= message.let_all_go;
        if let Some(ports) = message.ports {
            let until = self.now().saturating_add(DEFAULT_HOLD_MS);
            self.put_ports(ports, message.provisional.then_some(until));
        }
    }

    fn put_ports(&mut self, ports: ContainerPorts, provisional_until: Option<u64>) {
        if self.in_vain.forget_ready(&ports) {
            self.state.write_in_vain(&self.in_vain);
        }
        self.told = PortsRecord {
            number: self.told.number + 1,
            ports,
            provisional_until,
        };
        self.ports_changed = true;
        self.state.write_ports(&self.told);
    }

    /// When something is due, by the clock of [`Self::now`].
    pub(super) fn next(&self) -> Option<u64> {
        if self.held.held().len() == 0 {
            return None;
        }
        let sweep = self.next_sweep();
        let deadlines = [self.held.next_deadline(), self.told.provisional_until];
        deadlines.into_iter().flatten().chain([sweep]).min()
    }

    fn next_sweep(&self) -> u64 {
        let more = self.held.held().len() as u64 / SWEPT_AT_ONCE;
        self.swept.saturating_add(SWEEP_MS * (1 + more))
    }

    /// Does what is due by now. Returns whether that has changed which opens are held.
    pub(super) fn tick(&mut self) -> bool {
        let now = self.now();
        let provisional = self.told.provisional_until;
        if provisional.is_some_and(|until| until <= now) {
            self.put_ports(ContainerPorts::default(), None);
        }
        let changed = !self.held.is_empty() && self.look_after_held(now);
        self.ports_changed = false;
        self.is_full &= self.held.held().len() > 0;
        changed
    }

    fn look_after_held(&mut self, now: u64) -> bool {
        let is_due = now >= self.next_sweep();
        let swept = is_due && self.sweep();
        let is_late = |deadline| deadline <= now;
        if is_due || self.ports_changed || self.held.next_deadline().is_some_and(is_late) {
            self.follow_links();
        }
        let changed = swept | self.release();
        self.write();
        changed
    }

    /// Writes down what has changed, for the next keeper. An open that cannot be on record goes on:
    /// it would wait for ever if this keeper was killed.
    fn write(&mut self) {
        let changed = self.held.take_changed().into_iter();
        let records = changed.map(|tid| (tid, self.held.record(tid)));
        let (records, removed): (Vec<_>, Vec<_>) =
            records.partition(|(_, record)| record.is_some());
        // They make room.
        for (tid, _) in removed {
            self.state.remove_open(tid);
        }
        for (tid, record) in records {
            let record = record.filter(|record| !self.state.write_open(tid, record));
            if let Some(OpenRecord { held, .. }) = record {
                self.resume(held.open.listener, held.open.id, tid);
                self.state.remove_open(tid);
            }
        }
    }

    /// Takes a notification of a listener of which poll(2) says that it has one. Returns whether that
    /// has changed which opens are held.
    ///
    /// # Errors
    /// A listener is of no use, though its programs live.
    pub(super) fn on_listener(&mut self, number: u64) -> io::Result<bool> {
        let Some(listener) = self.listeners.get(&number) else {
            return Ok(false);
        };
        let Some(notification) = self.state.inbox.receive(number, listener)? else {
            return Ok(false);
        };
        let changed = self.on_open(number, &notification);
        self.write();
        self.state.inbox.clear();
        Ok(changed)
    }

    /// Decides about one open. After any error it is resumed, and the kernel decides.
    fn on_open(&mut self, number: u64, notification: &Notification) -> bool {
        let (id, tid) = (notification.id, notification.tid);
        match self.find(notification) {
            // What was read belongs to this open only if it still waits.
            Some(_) if !self.waits(number, id) => false,
            Some((caller, path, _)) if self.held.restart(caller, &path, number, id) => false,
            Some((caller, path, hold)) if !self.in_vain.has(&self.told.ports, &path) => {
                self.hold(number, id, caller, path, hold)
            }
            _ => self.answer(number, id) && self.held.other_open(tid, self.now()),
        }
    }

    fn waits(&self, number: u64, id: u64) -> bool {
        let listener = self.listeners.get(&number);
        listener.is_some_and(|listener| listener.waits(id))
    }

    /// The caller of an open that is to wait, the name by which it is known, and for how long. Of all
    /// others no more is read than tells that they are none.
    fn find(&self, notification: &Notification) -> Option<(Caller, String, Hold)> {
        if self.keeper.let_all_go || !self.told.ports.holds_any() {
            return None;
        }
        let open = decode(notification)?;
        let caller = Caller {
            tid: notification.tid,
            instruction: notification.instruction,
            directory: open.directory,
            path: open.path,
            flags: open.flags,
        };
        let path = read_path(caller.tid, caller.path).ok()?;
        let name = self.name(&caller, &path)?;
        let hold = self.told.ports.hold(&name)?;
        has_containers_root(caller.tid).then_some((caller, name, hold))
    }

    fn name(&self, caller: &Caller, path: &[u8]) -> Option<String> {
        let names = find_names(caller.tid, caller.directory, path).ok()?;
        self.told.ports.deciding(&names).map(ToString::to_string)
    }

    /// Lets an open go on. Returns whether it was still waiting.
    fn answer(&self, number: u64, id: u64) -> bool {
        let listener = self.listeners.get(&number);
        listener.is_some_and(|listener| listener.resume(id))
    }

    /// Lets an open go on that is not held. Returns whether another one of its thread was.
    fn resume(&mut self, number: u64, id: u64, tid: u32) -> bool {
        self.answer(number, id);
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
        let status = proc_thread::Status::of(tid);
        let opener = Opener {
            command: proc_thread::command(tid),
            process: status.as_ref().and_then(|status| status.process()),
            only_thread: status.is_some_and(|status| status.is_only_one()),
        };
        if self.holds_enough_of(&opener) {
            self.log_enough(&opener, &path);
            return self.resume(listener, id, tid) | changed;
        }
        self.log_held(tid, &opener, &path);
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

    /// Whether as many opens of a process are held as may be at once: it may need another thread.
    fn holds_enough_of(&self, opener: &Opener) -> bool {
        let held = opener.process.map(|process| self.held.of_process(process));
        held.is_some_and(|held| held >= self.told.ports.per_process())
    }

    fn log_enough(&self, opener: &Opener, path: &str) {
        tracing::info!(
            container_id = self.keeper.container,
            container_path = path,
            command = opener.command,
            remedy = "set held-per-process in the configuration",
            "open not held: {} of its process are held already",
            self.told.ports.per_process()
        );
    }

    fn log_held(&self, tid: u32, opener: &Opener, path: &str) {
        let message = match opener.only_thread {
            true => "open held in the only thread of its process",
            false => "open held",
        };
        tracing::info!(
            message_id = kind::HELD,
            action = "hold",
            container_id = self.keeper.container,
            container_path = path,
            tid,
            command = opener.command,
            remedy = opener.only_thread.then_some(ONLY_THREAD),
            "{message}"
        );
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

    /// Finds again by which name opens are known that came through a link. A device that is plugged in
    /// elsewhere has another one, and the container may change links of its own.
    fn follow_links(&mut self) {
        let name = |held: &Held| {
            let caller = &held.open.caller;
            let path = read_path(caller.tid, caller.path).ok()?;
            let is_by_link = path != held.open.path.as_bytes();
            let name = is_by_link.then(|| self.name(caller, &path))??;
            // What was read belongs to this open only if it still waits.
            let is_its = waits(&self.listeners, held) && has_containers_root(caller.tid);
            is_its.then_some(name)
        };
        let renamed: BTreeMap<u32, String> = self
            .held
            .held()
            .filter_map(|held| Some((held.open.caller.tid, name(held)?)))
            .collect();
        self.ports_changed |= self.held.rename(renamed);
    }

    /// Lets those go on that have no reason to wait any more.
    fn release(&mut self) -> bool {
        let now = self.now();
        let expired = self.held.expire(now).into_iter();
        let mut released: Vec<_> = expired.map(|held| (held, Reason::Timeout)).collect();
        for (held, _) in &released {
            self.in_vain.add(&self.told.ports, &held.open.path);
        }
        if !released.is_empty() {
            self.state.write_in_vain(&self.in_vain);
        }
        if self.ports_changed {
            released.extend(self.held.release(&self.told.ports, self.keeper.let_all_go));
        }
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
            self.answer(held.open.listener, held.open.id);
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
            process: self.keeper.process,
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

fn waits(listeners: &BTreeMap<u64, Listener>, held: &Held) -> bool {
    let listener = listeners.get(&held.open.listener);
    listener.is_some_and(|listener| listener.waits(held.open.id))
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
