//! The daemon: one loop that turns events into state, and state into work.
//!
//! An event only changes the inventory. The loop then computes anew what each container should have,
//! and reconciles every container for which that has changed, each on its own.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `sys`, `monitor`, `engine`, `container`, `store`.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config;
use crate::config::settings::Settings;
use crate::container::script;
use crate::daemon::api::Api;
use crate::daemon::copies::Copies;
use crate::daemon::followed::Followed;
use crate::daemon::problems::Source;
use crate::daemon::reconcile::revoke;
use crate::daemon::saver::{Saved, Saver};
use crate::daemon::scheduler::Scheduler;
use crate::daemon::shared::Shared;
use crate::daemon::state::State;
use crate::daemon::status::{note, note_all};
use crate::daemon::systemd::{Watchdog, notify};
use crate::engine::exec::end_leftovers;
use crate::engine::places::{Place, places};
use crate::model::device::Device;
use crate::model::inventory::{ContainerId, ContainerState, Inventory};
use crate::model::problem::Problem;
use crate::monitor::{Monitor, Received};
use crate::plan::assign::{Assignments, assign};
use crate::store::Store;
use crate::sys::backoff::backoff;
use crate::sys::log_report;
use crate::sys::logging::kind;

pub mod api;
pub mod blocking;
pub mod copies;
mod crew;
pub mod engines;
mod followed;
pub mod held;
mod keeper;
pub mod keepers;
pub mod line;
pub mod metrics;
mod news;
pub mod notifier;
pub mod problems;
pub mod reconcile;
pub mod retry;
pub mod saver;
pub mod scheduler;
pub mod shared;
pub mod start;
pub mod state;
pub mod status;
mod successor;
mod systemd;
pub mod timeline;
pub mod wrappers;

/// The directories that the daemon uses.
#[derive(Debug, Clone)]
pub struct Directories {
    /// The configuration's.
    pub config: PathBuf,
    /// The lock and the sockets.
    pub run: PathBuf,
    /// The state that outlives the daemon.
    pub state: PathBuf,
}

/// How often everything is looked at again, whatever events have come.
const RESYNC: Duration = Duration::from_secs(60);

/// How long after a loss of uevents the devices are looked at again: many more may still come.
const AFTER_LOSS: Duration = Duration::from_millis(200);

/// The pause between two lines for `systemctl status`. Composing one counts all containers, and the loop turns
/// after the work on each of them.
const STATUS_PAUSE: Duration = Duration::from_millis(100);

/// How long running work may take after the daemon was told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// The pause between two looks whether keepers have taken over, before the daemon stops.
const TAKEOVER_LOOK: Duration = Duration::from_millis(10);

struct Daemon {
    directories: Directories,
    shared: Rc<Shared>,
    scheduler: Scheduler,
    followed: Followed,
    next_resync: Instant,
    /// When the devices alone are looked at again.
    next_look: Option<Instant>,
    /// How often in a row the devices could not be looked at.
    failed_looks: u32,
    /// Uevents were lost since the last resync, and that was logged.
    events_lost: bool,
    /// The records could not be written. The next turn tries again.
    unsaved: bool,
    saver: Saver,
    /// The devices that the kernel had removed at the last turn, and udev had not.
    leaving: BTreeSet<String>,
    /// When the work was last dispatched.
    turn: Instant,
    /// The last status that the service manager has got.
    status: String,
    /// From when on it may get the next, and whether anything has happened since it got the last.
    next_status: Instant,
    status_is_old: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Another daemon is running, udev cannot be used, a socket cannot be made, or a job panicked.
pub async fn run(
    directories: Directories,
    settings: Settings,
    engines: Vec<Place>,
) -> anyhow::Result<()> {
    let _lock = lock(&directories.run)?;
    let copies = Copies::stored();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let store = Store::open(&directories.run, &directories.state);

    // Subscribe before listing, or what changes in between is missed. `Followed` does so for engines.
    let mut monitor = subscribe()?;
    let mut inventory = Inventory::default();
    inventory.replace_devices(monitor.enumerate()?);

    let (news_to, mut news) = mpsc::channel(64);
    let state = State::new(settings, inventory, store);
    let mut daemon = Daemon::new(directories, state, Followed::new(news_to));
    daemon.follow(engines);
    daemon.serve(copies)?;
    notify(&[NotifyState::Ready]);
    tokio::task::spawn_local(end_leftovers(script::MARK));
    daemon.dispatch();
    let shared = daemon.shared.clone();

    let mut watchdog = Watchdog::new();
    loop {
        let wake = daemon.next_wake(watchdog.as_ref());
        tokio::select! {
            received = monitor.next() => daemon.on_received(received),
            Some((engine, news)) = news.recv() => daemon.on_news(&engine, news),
            Some(done) = daemon.scheduler.next() => daemon.on_done(done?),
            Some(saved) = daemon.saver.next() => daemon.on_saved(saved),
            () = shared.notifier.stale() => {}
            Some(()) = hangup.recv() => daemon.reload(&mut monitor)?,
            () = sleep_until(wake) => daemon.on_timer(&mut monitor),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if let Some(watchdog) = &mut watchdog {
            watchdog.notify_if_due();
        }
        daemon.dispatch();
    }
    notify(&[NotifyState::Stopping]);
    daemon.drain().await;
    Ok(())
}

/// Locks the run directory: two daemons would treat each other's nodes as foreign.
fn lock(directory: &Path) -> anyhow::Result<Flock<File>> {
    let path = directory.join("lock");
    let open = || -> std::io::Result<File> {
        std::fs::create_dir_all(directory)?;
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
    };
    let file = open().with_context(|| {
        let path = path.display();
        format!("cannot open {path}; run as root, or choose another directory with --run-dir")
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        let path = path.display();
        anyhow::anyhow!("another ttyplugd is running: {path} is locked ({error})")
    })
}

/// Subscribes to uevents. Without udevd none come, and a warning says so.
fn subscribe() -> anyhow::Result<Monitor> {
    let monitor = Monitor::subscribe()?;
    if monitor.is_inactive() {
        tracing::warn!(
            message_id = kind::UDEVD_MISSING,
            "udevd is not running, so hotplug events cannot be received; start \
             systemd-udevd.service (ttyplugd looks for it every minute)"
        );
    }
    Ok(monitor)
}

/// The devices that are there, after a new subscription if udevd has been started since the last.
fn enumerate(monitor: &mut Monitor) -> anyhow::Result<Vec<Device>> {
    if monitor.could_be_active() {
        monitor.renew()?;
        tracing::info!("udevd is running; receiving hotplug events from now on");
    }
    monitor.enumerate()
}

impl Daemon {
    fn new(directories: Directories, state: State, followed: Followed) -> Self {
        Self {
            directories,
            shared: Rc::new(Shared::new(state)),
            scheduler: Scheduler::default(),
            followed,
            next_resync: Instant::now() + RESYNC,
            next_look: None,
            failed_looks: 0,
            events_lost: false,
            unsaved: false,
            saver: Saver::default(),
            leaving: BTreeSet::new(),
            turn: Instant::now(),
            status: String::new(),
            next_status: Instant::now(),
            status_is_old: false,
        }
    }

    /// Opens the sockets for wrappers and for the API, and follows the keepers.
    fn serve(&mut self, copies: Copies) -> anyhow::Result<()> {
        let run_dir = &self.directories.run;
        let told = self.shared.state.borrow().told.clone();
        wrappers::serve(run_dir, self.shared.clone())?;
        keepers::follow_all(run_dir, copies, self.shared.clone())?;
        self.followed.listen(told);
        Api(self.shared.clone()).serve(run_dir)
    }

    fn on_received(&mut self, received: anyhow::Result<Received>) {
        match received {
            Ok(Received { events, lost }) => {
                self.shared.state.borrow_mut().apply(events);
                if lost {
                    self.on_lost_events();
                }
            }
            Err(error) => self.on_failed_look(&error),
        }
    }

    fn on_lost_events(&mut self) {
        self.shared.state.borrow().metrics.events_lost.add(1);
        self.look_within(AFTER_LOSS);
        if !self.events_lost {
            tracing::warn!(
                message_id = kind::EVENTS_LOST,
                "hotplug events were lost because they came faster than they could be read; \
                 looking at all devices again"
            );
            self.events_lost = true;
        }
    }

    /// The devices could not be looked at, for example for want of descriptors.
    fn on_failed_look(&mut self, error: &anyhow::Error) {
        if self.failed_looks == 0 {
            tracing::warn!(
                message_id = kind::DEVICES_UNREADABLE,
                "{error:#}; trying again"
            );
        }
        self.look_within(backoff(self.failed_looks));
        self.failed_looks += 1;
    }

    fn look_within(&mut self, time: Duration) {
        let at = Instant::now() + time;
        self.next_look = Some(self.next_look.map_or(at, |next| next.min(at)));
    }

    /// Follows these engines, and no others any more.
    fn follow(&mut self, places: Vec<Place>) {
        let state = &mut *self.shared.state.borrow_mut();
        let names: Vec<_> = places.iter().map(|place| place.name.clone()).collect();
        let ended = self.followed.set(places, &state.settings);
        for name in &ended {
            state.engines.forget(name);
            state.forget_listed(name);
            state.stale = true;
        }
        for name in names {
            state.engines.follow(name);
        }
    }

    fn on_done(&mut self, done: Vec<(ContainerId, Vec<Problem>)>) {
        let state = &mut *self.shared.state.borrow_mut();
        for (id, problems) in done {
            let container = state.inventory.containers.get(&id);
            match container.filter(|container| container.state != ContainerState::Stopped) {
                Some(container) => {
                    let name = container.name.clone();
                    state.problems.report(&id, &name, Source::Work, problems);
                    note(state, &id);
                    self.shared.notifier.notify_watchers();
                }
                // It has ended, and its problems with it.
                None => state.stale = true,
            }
        }
    }

    fn on_saved(&mut self, saved: Saved) {
        let state = &mut *self.shared.state.borrow_mut();
        let written = match saved {
            Saved::Ended(written) => {
                state.store.known.end_write(written.is_ok());
                written
            }
            Saved::Slow => Err(anyhow::anyhow!("writing the state takes too long")),
        };
        state.problems.report_known(&written);
        self.shared.notifier.notify_watchers();
    }

    /// Reads the configuration again. An invalid one leaves the old one in force.
    fn reload(&mut self, monitor: &mut Monitor) -> anyhow::Result<()> {
        // Type=notify-reload needs the time at which the reload began (sd_notify(3), MONOTONIC_USEC).
        notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]);
        let loaded = config::load(&self.directories.config);
        match &loaded {
            Ok(_) => tracing::info!("configuration reloaded"),
            Err(errors) => problems::rejected(errors),
        }
        self.shared.state.borrow_mut().reload(loaded);
        let engines = places(self.shared.state.borrow().settings.engines.as_ref());
        self.follow(engines?);
        self.shared.notifier.notify_watchers();
        self.mark_all();
        self.resync(monitor);
        notify(&[NotifyState::Ready]);
        Ok(())
    }

    fn on_timer(&mut self, monitor: &mut Monitor) {
        let now = Instant::now();
        if self.next_resync <= now {
            self.resync(monitor);
        } else if self.next_look.is_some_and(|next| next <= now) {
            self.look(monitor);
        }
    }

    /// Looks at everything again: at the devices now, and at the containers once the engine has listed
    /// them.
    fn resync(&mut self, monitor: &mut Monitor) {
        self.shared.state.borrow().metrics.resyncs.add(1);
        self.followed.list_all_again();
        self.next_resync = Instant::now() + RESYNC;
        self.events_lost = false;
        self.look(monitor);
    }

    /// Looks at the devices again.
    fn look(&mut self, monitor: &mut Monitor) {
        self.next_look = None;
        match enumerate(monitor) {
            Ok(devices) => {
                self.failed_looks = 0;
                self.shared.state.borrow_mut().replace_devices(devices);
            }
            Err(error) => self.on_failed_look(&error),
        }
    }

    /// Schedules every container, and ends all pauses after failures: the operator or a new engine may
    /// have removed the causes.
    fn mark_all(&mut self) {
        let state = self.shared.state.borrow();
        for (id, _) in state.inventory.alive() {
            self.scheduler.changed(id);
        }
    }

    /// Computes anew what each container should have, if that may have changed, and starts the work
    /// that is due.
    fn dispatch(&mut self) {
        self.turn = Instant::now();
        if self.shared.state.borrow().stale || self.unsaved {
            self.reassign();
        }
        self.scheduler.start(&self.shared, self.turn);
        let mut state = self.shared.state.borrow_mut();
        self.saver.start(&mut state.store.known, self.turn);
        drop(state);
        self.notify_status();
    }

    /// Computes anew what each container should have, and schedules those for which it has changed.
    fn reassign(&mut self) {
        let state = &mut *self.shared.state.borrow_mut();
        let new = assign(
            &state.settings,
            &state.inventory,
            state.store.known.last_devices(),
        );
        let old = std::mem::replace(&mut state.assigned, new);
        state.stale = false;
        let devices = state.inventory.devices.values();
        state.problems.report_refused_links(devices);
        let containers = &state.inventory.containers;
        state.lives.update(|id| Some(containers.get(id)?.state));

        let alive = state.inventory.alive();
        let alive: BTreeSet<_> = alive.map(|(id, _)| id.clone()).collect();
        self.scheduler.retain(&alive);
        for id in &changed(&old, &state.assigned) {
            report_definition(state, id);
            if let Some(start) = state.lives.start(id) {
                start.retain_ready(state.assigned.wants(id));
            }
            if state.has_to_revoke(id) {
                tokio::task::spawn_local(revoke(self.shared.clone(), id.clone()));
            }
            if alive.contains(id) {
                self.scheduler.changed(id);
            }
            self.shared.notifier.notify_container(id);
        }
        let left = std::mem::replace(&mut self.leaving, state.inventory.leaving.clone());
        for id in with_one_of(&state.assigned, &(&left ^ &self.leaving)) {
            self.shared.notifier.notify_container(id);
        }
        note_all(state);
        self.unsaved = !keep_state(state);
        self.shared.notifier.notify_assigned();
        self.shared.notifier.notify_watchers();
    }

    /// When the loop has to run next without an event.
    fn next_wake(&self, watchdog: Option<&Watchdog>) -> Instant {
        let retry = self.scheduler.wake(self.turn);
        let wakes = retry.into_iter().chain(self.saver.wake());
        let wakes = wakes.chain(self.next_look).chain([self.next_resync]);
        let wakes = wakes.chain(self.status_is_old.then_some(self.next_status));
        let wakes = wakes.chain(watchdog.map(|watchdog| watchdog.next));
        let report = log_report::report_missing();
        let wakes = wakes.chain(report.map(|left| Instant::now() + left));
        wakes.min().unwrap_or(self.next_resync)
    }

    /// Sends the service manager the line that `systemctl status` shows, or lets the next turn do so.
    fn notify_status(&mut self) {
        self.status_is_old = self.turn < self.next_status;
        if self.status_is_old {
            return;
        }
        self.next_status = self.turn + STATUS_PAUSE;
        let state = self.shared.state.borrow();
        let devices = state.inventory.devices.values();
        let offered = devices.filter(|device| device.is_offered()).count();
        let engine = match state.engines.any_answers() {
            true => "",
            false => "waiting for the engine; ",
        };
        let status = format!(
            "{engine}{offered} USB ports, {} containers served, {} nodes and links made, {} \
             containers with problems",
            state.assigned.by_container.len(),
            state.store.records.count(),
            state.problems.affected(),
        );
        drop(state);
        if status != self.status {
            notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Waits for the running work, and for what is to be written. The nodes stay, and applications
    /// go on using them.
    async fn drain(&mut self) {
        self.saver
            .begin(&mut self.shared.state.borrow_mut().store.known);
        if !self.scheduler.drain(DRAIN_LIMIT).await {
            end_leftovers(script::MARK).await;
            tracing::warn!(
                message_id = kind::UNFINISHED,
                "stopped while an operation was running; it is completed at the next start"
            );
        }
        let takeovers = async {
            while !self.shared.takeovers.are_done() {
                sleep(TAKEOVER_LOOK).await;
            }
        };
        let _ = timeout(DRAIN_LIMIT, takeovers).await;
        self.saver.finish(&self.shared, DRAIN_LIMIT).await;
    }
}

/// The containers whose assignments differ.
fn changed(old: &Assignments, new: &Assignments) -> BTreeSet<ContainerId> {
    let (old, new) = (&old.by_container, &new.by_container);
    let ids = old.keys().chain(new.keys());
    ids.filter(|id| old.get(*id) != new.get(*id))
        .cloned()
        .collect()
}

/// The containers that are assigned one of these devices.
fn with_one_of<'a>(
    assigned: &'a Assignments,
    devices: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a ContainerId> {
    let wants = |id| assigned.wants(id).iter();
    let ids = assigned.by_container.keys();
    ids.filter(move |id| wants(id).any(|want| devices.contains(&want.device)))
}

/// Reports what is wrong in a container's definition.
fn report_definition(state: &mut State, id: &ContainerId) {
    let Some(container) = state.inventory.containers.get(id) else {
        return;
    };
    let assignment = state.assigned.by_container.get(id);
    let problems = assignment.map(problems::of_assignment).unwrap_or_default();
    let source = Source::Definition;
    state.problems.report(id, &container.name, source, problems);
}

/// Tells the store who the containers are, and forgets those that are gone. Returns whether the
/// records are written.
fn keep_state(state: &mut State) -> bool {
    let (containers, engines) = (&state.inventory.containers, &state.engines);
    let is_gone = |id: &ContainerId| !containers.contains_key(id) && engines.knows_all(&id.engine);
    let known = &mut state.store.known;
    let is_told = |id: &ContainerId| state.only_told.contains(id);
    known.put(&state.inventory, &state.assigned, is_gone, is_told);
    state.problems.retain(containers);
    // An engine that the configuration does not name any more may be named again, and its containers run.
    let is_left = |id: &ContainerId| id.engine.has_socket() && !engines.asks(&id.engine);
    let records = &mut state.store.records;
    let written = records.retain(|id| is_gone(id) && !is_left(id));
    state.problems.report_records(&written);
    written.is_ok()
}
