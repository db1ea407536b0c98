//! The daemon: one loop that turns events into state, and state into work.
//!
//! An event never acts. It changes the inventory; what each container should have is computed
//! anew from that, and containers for which it has changed are reconciled, each on its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::api;
use crate::assign::assign;
use crate::config::{self, Settings};
use crate::docker::Engine;
use crate::holds::{Changes, follow_keepers, serve_wrappers};
use crate::inventory::{Container, ContainerId, ContainerState, Inventory};
use crate::logging::kind;
use crate::monitor::{Heard, Monitor, enumerate};
use crate::reconcile::{World, reconcile};
use crate::report::{self, Reports, Source, Trouble};
use crate::state::Store;
use crate::watch::{News, watch};
use crate::work::Work;

/// Where the daemon keeps things.
#[derive(Debug, Clone)]
pub struct Directories {
    pub config: PathBuf,
    pub run: PathBuf,
    pub state: PathBuf,
}

/// Everything is looked at again this often, whether or not anything was heard.
const RESYNC: Duration = Duration::from_secs(60);

/// How soon after udev's events were lost everything is looked at again.
const AFTER_LOSS: Duration = Duration::from_millis(200);

/// How many containers are worked on at once. Each exec keeps the engine, its shim and a runtime
/// busy; more of them at a time make each one slower and none of them sooner.
const AT_ONCE: usize = 8;

/// How long one container may keep its place among them.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// How long work that has begun may go on after we were told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

struct Daemon {
    directories: Directories,
    /// Wakes those who tell wrappers and keepers what has changed.
    changes: Rc<Changes>,
    world: Rc<RefCell<World>>,
    engine: Option<Rc<Engine>>,
    work: BTreeMap<ContainerId, Work>,
    reports: Rc<RefCell<Reports>>,
    jobs: JoinSet<(ContainerId, Vec<Trouble>)>,
    slots: Rc<Semaphore>,
    list_again: Rc<Notify>,
    next_resync: Instant,
    /// Since the last resync, and a message has said so.
    events_lost: bool,
    /// When the work was last dispatched.
    turn: Instant,
    status: String,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Another daemon is running, or udev or the state directory cannot be used. The configuration
/// has been read already.
pub async fn run(
    directories: Directories,
    settings: Settings,
    socket: String,
) -> anyhow::Result<()> {
    let _lock = lock(&directories.run)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let store = Store::open(&directories.state)?;

    // Listen before list, for udev here and for the engine in `watch`.
    let mut monitor = listen()?;
    let mut inventory = Inventory::default();
    inventory.replace_devices(enumerate()?);

    let list_again = Rc::new(Notify::new());
    let (news_to, mut news) = mpsc::channel(64);
    tokio::task::spawn_local(watch(socket, list_again.clone(), news_to));
    let (changes, _) = tokio::sync::watch::channel(0);
    let mut daemon = Daemon {
        directories,
        changes: Rc::new(changes),
        world: Rc::new(RefCell::new(World::new(settings, inventory, store))),
        engine: None,
        work: BTreeMap::new(),
        reports: Rc::default(),
        jobs: JoinSet::new(),
        slots: Rc::new(Semaphore::new(AT_ONCE)),
        list_again,
        next_resync: Instant::now() + RESYNC,
        events_lost: false,
        turn: Instant::now(),
        status: String::new(),
    };
    serve_wrappers(
        &daemon.directories.run,
        daemon.world.clone(),
        &daemon.changes,
    )?;
    follow_keepers(
        &daemon.directories.run,
        daemon.world.clone(),
        daemon.changes.clone(),
    )?;
    api::serve(
        &daemon.directories.run,
        daemon.world.clone(),
        daemon.reports.clone(),
    )?;
    tell(&[NotifyState::Ready]);
    daemon.dispatch();

    // Half of what the service manager allows (sd_watchdog_enabled(3)).
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut next_watchdog = watchdog.map(|period| Instant::now() + period);
    loop {
        let wake = daemon.next_wake(next_watchdog);
        tokio::select! {
            heard = monitor.next() => daemon.on_heard(heard?),
            Some(news) = news.recv() => daemon.on_news(news),
            Some(done) = daemon.jobs.join_next() => {
                let (id, troubles) = done.context("a container's work has panicked")?;
                daemon.on_done(&id, troubles);
            }
            Some(()) = hangup.recv() => daemon.reload()?,
            () = sleep_until(wake) => daemon.on_timer(&mut monitor)?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if let (Some(period), Some(next)) = (watchdog, &mut next_watchdog) {
            if *next <= Instant::now() {
                tell(&[NotifyState::Watchdog]);
                *next = Instant::now() + period;
            }
        }
        daemon.dispatch();
    }
    tell(&[NotifyState::Stopping]);
    daemon.drain().await;
    Ok(())
}

/// Two daemons would each take what the other has made for a stranger's.
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
        format!("{path} cannot be opened; run as root, or choose another place with --run-dir")
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        let path = path.display();
        anyhow::anyhow!("another ttyplugd is running: {path} is locked ({error})")
    })
}

fn listen() -> anyhow::Result<Monitor> {
    let monitor = Monitor::listen()?;
    if monitor.is_deaf() {
        tracing::warn!(
            "udevd is not running, so that no plug is heard; start systemd-udevd.service (it is \
             looked for every minute)"
        );
    }
    Ok(monitor)
}

/// The containers in which something can be done.
fn running(inventory: &Inventory) -> impl Iterator<Item = (&ContainerId, &Container)> {
    let runs = |(_, container): &(_, &Container)| container.state == ContainerState::Running;
    inventory.containers.iter().filter(runs)
}

/// A container of which nobody can tell any more which labels are its image's is recognised by
/// what was known of it: labels never change.
fn recognised(container: Container, known: Option<&BTreeMap<String, String>>) -> Container {
    let image_labels = match (container.image_labels, known) {
        (None, Some(own)) => {
            let of_image = |(key, _): &(&String, _)| !own.contains_key(*key);
            let of_image = container.labels.iter().filter(of_image);
            Some(of_image.map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        (image_labels, _) => image_labels,
    };
    Container {
        image_labels,
        ..container
    }
}

/// Does work when it has its turn. A turn is over after a while, even if the work is not: who
/// takes longer is waiting for something that hangs, and must not keep the others waiting.
///
/// Returns `None` if there are no more turns, because the daemon is about to stop.
async fn in_turn<T>(turns: &Semaphore, work: impl Future<Output = T>) -> Option<T> {
    let turn = turns.acquire().await.ok()?;
    let mut work = pin!(work);
    if let Ok(result) = timeout(LONGEST_TURN, work.as_mut()).await {
        return Some(result);
    }
    drop(turn);
    Some(work.await)
}

/// Without a service manager there is nobody to tell, which is no error.
fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

impl Daemon {
    fn on_heard(&mut self, heard: Heard) {
        let mut world = self.world.borrow_mut();
        for event in heard.events {
            world.inventory.apply(event);
        }
        drop(world);
        if heard.lost && !self.events_lost {
            tracing::warn!(
                message_id = kind::EVENTS_LOST,
                "udev's events came faster than they could be read and some were lost; looking \
                 at everything again"
            );
            self.events_lost = true;
            // They may still be coming in a flood.
            self.next_resync = self.next_resync.min(Instant::now() + AFTER_LOSS);
        }
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Found {
                engine,
                version,
                containers,
            } => {
                self.reports
                    .borrow_mut()
                    .engine_found(&version, containers.len());
                self.engine = Some(engine);
                self.on_listed(containers);
                self.mark_all();
            }
            News::Listed(containers) => self.on_listed(containers),
            News::Changed(id, Some(container)) => {
                match container.state {
                    ContainerState::Running => self.mark(&id),
                    ContainerState::Paused => {}
                    ContainerState::Stopped => self.reports.borrow_mut().stopped(&id),
                }
                let mut world = self.world.borrow_mut();
                let container = recognised(container, world.store.labels(&id));
                world.inventory.containers.insert(id, container);
            }
            News::Changed(id, None) => {
                self.world.borrow_mut().inventory.containers.remove(&id);
            }
            News::Lost(error) => {
                self.engine = None;
                self.reports.borrow_mut().engine_lost(&error);
            }
        }
    }

    fn on_listed(&mut self, containers: BTreeMap<ContainerId, Container>) {
        let mut world = self.world.borrow_mut();
        let World {
            inventory, store, ..
        } = &mut *world;
        let recognise = |(id, container)| {
            let container = recognised(container, store.labels(&id));
            (id, container)
        };
        inventory.containers = containers.into_iter().map(recognise).collect();
        let now = Instant::now().into_std();
        for (id, _) in running(inventory) {
            self.work.entry(id.clone()).or_default().revisit(now);
        }
    }

    fn on_done(&mut self, id: &ContainerId, troubles: Vec<Trouble>) {
        let retry = troubles.iter().any(|trouble| trouble.retry);
        let work = self.work.entry(id.clone()).or_default();
        work.end(Instant::now().into_std(), retry);
        // If it has ended meanwhile its troubles have ended with it.
        let world = self.world.borrow();
        if let Some((_, container)) = world.inventory.alive().find(|(alive, _)| *alive == id) {
            let mut reports = self.reports.borrow_mut();
            reports.tell(id, &container.name, Source::Work, troubles);
        }
    }

    /// Reads the configuration again. One with mistakes leaves the old one in force.
    fn reload(&mut self) -> anyhow::Result<()> {
        // Type=notify-reload wants to know when the reload began (sd_notify(3), MONOTONIC_USEC).
        tell(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]);
        match config::load(&self.directories.config) {
            Ok(settings) => {
                self.world.borrow_mut().settings = settings;
                tracing::info!("configuration read again");
            }
            Err(errors) => report::rejected(&errors),
        }
        self.mark_all();
        self.resync()?;
        tell(&[NotifyState::Ready]);
        Ok(())
    }

    fn on_timer(&mut self, monitor: &mut Monitor) -> anyhow::Result<()> {
        if self.next_resync > Instant::now() {
            return Ok(());
        }
        if monitor.could_hear_now() {
            tracing::info!("udevd is there; listening to it from now on");
            *monitor = listen()?;
        }
        // Nothing is missed by what is read here: everything is looked at again.
        monitor.has_lost()?;
        self.events_lost = false;
        self.resync()
    }

    /// Looks at everything again: at the devices now, at the containers as soon as the engine has
    /// listed them.
    fn resync(&mut self) -> anyhow::Result<()> {
        let devices = enumerate()?;
        self.world.borrow_mut().inventory.replace_devices(devices);
        self.list_again.notify_one();
        self.next_resync = Instant::now() + RESYNC;
        Ok(())
    }

    /// Something has changed for a container.
    fn mark(&mut self, id: &ContainerId) {
        let work = self.work.entry(id.clone()).or_default();
        work.changed(Instant::now().into_std());
    }

    /// The operator or a new engine may have mended what was in the way, whatever it was.
    fn mark_all(&mut self) {
        let now = Instant::now().into_std();
        for (id, _) in running(&self.world.borrow().inventory) {
            self.work.entry(id.clone()).or_default().changed(now);
        }
    }

    /// Computes what everybody should have, marks those for whom that has changed, and starts
    /// the work that is due.
    fn dispatch(&mut self) {
        self.turn = Instant::now();
        self.reassign();
        let Some(engine) = self.engine.clone() else {
            return self.tell_status();
        };
        self.world.borrow_mut().listed = true;
        let world = self.world.borrow();
        let now = self.turn.into_std();
        for (id, container) in running(&world.inventory) {
            let Some(work) = self.work.get_mut(id) else {
                continue;
            };
            let Some(since) = work.begin(now) else {
                continue;
            };
            if world.assigned.wants(id).is_empty() && !world.store.has_record(id) {
                work.end(now, false);
                continue;
            }
            let (engine, world, slots) = (engine.clone(), self.world.clone(), self.slots.clone());
            let (id, name) = (id.clone(), container.name.clone());
            self.jobs.spawn_local(async move {
                let work = reconcile(&engine, &world, &id, &name, since);
                let troubles = in_turn(&slots, work).await.unwrap_or_default();
                (id, troubles)
            });
        }
        drop(world);
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
        self.tell_status();
    }

    fn reassign(&mut self) {
        let mut world = self.world.borrow_mut();
        let World {
            settings,
            inventory,
            assigned,
            store,
            served,
            ready,
            ended,
            ..
        } = &mut *world;
        let new = assign(settings, inventory, store.choices());
        let old = std::mem::replace(assigned, new);
        let alive: BTreeSet<_> = inventory.alive().map(|(id, _)| id).collect();
        // Before the engine has told what there is, nothing is known to be gone.
        if self.engine.is_some() {
            let kept = store
                .put_assignments(settings.labels, inventory, assigned)
                .and_then(|()| store.keep_records_of(&alive));
            self.reports.borrow_mut().store(kept);
            self.reports.borrow_mut().keep(&inventory.containers);
        }
        self.reports
            .borrow_mut()
            .devices(inventory.devices.values());
        // Work that has begun comes to its own end first, so that there are never two at a time
        // on one container.
        let running: BTreeSet<_> = running(inventory).map(|(id, _)| id.clone()).collect();
        self.work
            .retain(|id, work| work.is_running() || running.contains(id));
        served.retain(|id, _| alive.contains(id));
        ready.retain(|id, _| alive.contains(id));
        ended.retain(|id, _| inventory.containers.contains_key(id));
        let ids: BTreeSet<_> = old.shares.keys().chain(assigned.shares.keys()).collect();
        let changed: Vec<ContainerId> = ids
            .into_iter()
            .filter(|id| old.shares.get(id) != assigned.shares.get(id))
            .cloned()
            .collect();
        for id in &changed {
            if let Some(container) = inventory.containers.get(id) {
                let troubles = assigned.shares.get(id).map(report::of_share);
                let troubles = troubles.into_iter().flatten();
                self.reports
                    .borrow_mut()
                    .tell(id, &container.name, Source::Definition, troubles);
            }
        }
        drop(world);
        for id in changed.iter().filter(|id| running.contains(id)) {
            self.mark(id);
        }
    }

    fn next_wake(&self, watchdog: Option<Instant>) -> Instant {
        let now = self.turn.into_std();
        let retries = self.work.values().filter_map(|work| work.wake(now));
        let retries = retries.map(Instant::from_std);
        let wakes = retries.chain([self.next_resync]).chain(watchdog);
        wakes.min().unwrap_or(self.next_resync)
    }

    fn tell_status(&mut self) {
        let world = self.world.borrow();
        let troubled = self.reports.borrow().troubled();
        let offered = world
            .inventory
            .devices
            .values()
            .filter(|device| device.is_offered());
        let engine = match self.engine {
            Some(_) => "",
            None => "waiting for the engine; ",
        };
        let status = format!(
            "{engine}{} USB ports, {} containers served, {} nodes and links made, {troubled} \
             containers in trouble",
            offered.count(),
            world.assigned.shares.len(),
            world.store.entries(),
        );
        drop(world);
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Lets the work that has begun come to its end. Nodes stay: applications go on working.
    async fn drain(&mut self) {
        self.slots.close();
        let drain = async { while self.jobs.join_next().await.is_some() {} };
        if timeout(DRAIN_LIMIT, drain).await.is_err() {
            tracing::warn!(
                "stopping in the middle of an operation; the next start goes on with it"
            );
        }
    }
}
