//! The daemon: one loop that turns events into state, and state into work.
//!
//! An event never acts. It changes the inventory; what each container should have is computed
//! anew from that, and containers for which it has changed are reconciled, each on its own.
//!
//! Imports: `model`, `config`, `hold`, `plan`, `sys`, `monitor`, `engine`, `container`, `store`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::config;
use crate::config::settings::Settings;
use crate::daemon::api::Api;
use crate::daemon::keepers::{follow_keepers, serve_wrappers};
use crate::daemon::notifier::Changes;
use crate::daemon::problems::{Reports, Source};
use crate::daemon::scheduler::Jobs;
use crate::daemon::state::World;
use crate::engine::Engine;
use crate::engine::events::{News, watch};
use crate::model::inventory::{Container, ContainerId, ContainerState, Inventory};
use crate::model::problem::Problem;
use crate::monitor::{Heard, Monitor, enumerate};
use crate::plan::assign::assign;
use crate::store::Store;
use crate::sys::logging::kind;

pub mod api;
pub mod keepers;
pub mod metrics;
pub mod notifier;
pub mod problems;
pub mod reconcile;
pub mod retry;
pub mod scheduler;
pub mod state;
pub mod status;
pub mod timeline;

/// Where the daemon keeps things.
#[derive(Debug, Clone)]
pub struct Directories {
    pub config: PathBuf,
    pub run: PathBuf,
    pub state: PathBuf,
}

/// Everything is looked at again this often, whether or not anything was heard.
const RESYNC: Duration = Duration::from_secs(60);

/// How soon after the start all containers are looked at again. A command that a killed daemon had
/// begun in one goes on without it, and may make after our first look what nobody wants any more.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// How soon after udev's events were lost everything is looked at again.
const AFTER_LOSS: Duration = Duration::from_millis(200);

/// How long work that has begun may go on after we were told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

struct Daemon {
    directories: Directories,
    /// Wakes those who tell others what has changed.
    changes: Rc<Changes>,
    world: Rc<RefCell<World>>,
    engine: Option<Rc<Engine>>,
    jobs: Jobs,
    reports: Rc<RefCell<Reports>>,
    list_again: Rc<Notify>,
    next_resync: Instant,
    /// Since the last resync, and a message has said so.
    events_lost: bool,
    /// What there is may have changed since it was last computed who should have what.
    stale: bool,
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
    let world = World::new(settings, inventory, store);
    let mut daemon = Daemon {
        directories,
        changes: Rc::default(),
        reports: Rc::new(RefCell::new(Reports::new(world.metrics.clone()))),
        world: Rc::new(RefCell::new(world)),
        engine: None,
        jobs: Jobs::default(),
        list_again,
        next_resync: Instant::now() + RESYNC,
        events_lost: false,
        stale: true,
        turn: Instant::now(),
        status: String::new(),
    };
    daemon.serve()?;
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
            Some(done) = daemon.jobs.next() => daemon.on_done(done?),
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
            message_id = kind::UDEVD_MISSING,
            "udevd is not running, so that no plug is heard; start systemd-udevd.service (it is \
             looked for every minute)"
        );
    }
    Ok(monitor)
}

/// Without a service manager there is nobody to tell, which is no error.
fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

impl Daemon {
    /// Answers wrappers, keepers and operators from now on.
    fn serve(&self) -> anyhow::Result<()> {
        let run_dir = &self.directories.run;
        let (world, changes) = (&self.world, &self.changes);
        serve_wrappers(run_dir, world.clone(), changes.clone())?;
        follow_keepers(run_dir, world.clone(), changes.clone())?;
        let api = Api {
            world: world.clone(),
            reports: self.reports.clone(),
            changes: changes.clone(),
        };
        api.serve(run_dir)
    }

    fn on_heard(&mut self, heard: Heard) {
        self.stale = true;
        let mut world = self.world.borrow_mut();
        world.apply(heard.events);
        world.metrics.events_lost.add(heard.lost.into());
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
        self.stale = true;
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
                let list_again = self.list_again.clone();
                tokio::task::spawn_local(async move {
                    sleep(SECOND_LOOK).await;
                    list_again.notify_one();
                });
            }
            News::Listed(containers) => self.on_listed(containers),
            News::Changed(id, Some(container)) => {
                match container.state {
                    ContainerState::Running => self.jobs.changed(&id),
                    ContainerState::Paused => {}
                    ContainerState::Stopped => self.reports.borrow_mut().stopped(&id),
                }
                let mut world = self.world.borrow_mut();
                let container = container.recognised(world.store.labels(&id));
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
            settings,
            inventory,
            store,
            ..
        } = &mut *world;
        let recognise = |(id, container): (_, Container)| {
            let container = container.recognised(store.labels(&id));
            (id, container)
        };
        inventory.containers = containers.into_iter().map(recognise).collect();
        for (id, _) in inventory.running(settings.inject.serves_paused()) {
            self.jobs.revisit(id);
        }
    }

    fn on_done(&mut self, done: Vec<(ContainerId, Vec<Problem>)>) {
        let world = self.world.borrow();
        let alive: BTreeMap<_, _> = world.inventory.alive().collect();
        for (id, problems) in done {
            match alive.get(&id) {
                Some(container) => {
                    let mut reports = self.reports.borrow_mut();
                    reports.tell(&id, &container.name, Source::Work, problems);
                }
                // It has ended meanwhile, and its problems with it. What the work has found out is
                // forgotten, too.
                None => self.stale = true,
            }
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
            Err(errors) => problems::rejected(&errors),
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
        let lost = monitor.has_lost()?;
        self.world.borrow().metrics.events_lost.add(lost.into());
        self.events_lost = false;
        self.resync()
    }

    /// Looks at everything again: at the devices now, at the containers as soon as the engine has
    /// listed them.
    fn resync(&mut self) -> anyhow::Result<()> {
        self.stale = true;
        let devices = enumerate()?;
        let mut world = self.world.borrow_mut();
        world.metrics.resyncs.add(1);
        world.replace_devices(devices);
        self.list_again.notify_one();
        self.next_resync = Instant::now() + RESYNC;
        Ok(())
    }

    /// The operator or a new engine may have mended what was in the way, whatever it was.
    fn mark_all(&mut self) {
        let world = self.world.borrow();
        let paused_too = world.settings.inject.serves_paused();
        for (id, _) in world.inventory.running(paused_too) {
            self.jobs.changed(id);
        }
    }

    /// Computes what everybody should have, marks those for whom that has changed, and starts
    /// the work that is due.
    fn dispatch(&mut self) {
        self.turn = Instant::now();
        // That work has ended changes nothing in what anybody should have.
        if std::mem::take(&mut self.stale) {
            self.reassign();
        }
        if self.engine.is_some() {
            self.world.borrow_mut().listed = true;
        }
        let engine = self.engine.as_ref();
        self.jobs.start(engine, &self.world, self.turn);
        self.world.borrow_mut().note(&self.reports.borrow());
        self.changes.tell();
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
            from_outside,
            announced,
            described,
            ..
        } = &mut *world;
        let new = assign(settings, inventory, store.last_devices());
        let old = std::mem::replace(assigned, new);
        let alive: BTreeSet<_> = inventory.alive().map(|(id, _)| id).collect();
        // Before the engine has told what there is, nothing is known to be gone.
        if self.engine.is_some() {
            let kept = store
                .put_assignments(settings.labels, inventory, assigned)
                .and_then(|()| store.keep_records_of(&inventory.containers));
            self.stale = kept.is_err();
            self.reports.borrow_mut().store(kept);
            self.reports.borrow_mut().keep(&inventory.containers);
        }
        self.reports
            .borrow_mut()
            .devices(inventory.devices.values());
        let running: BTreeSet<_> = inventory
            .running(settings.inject.serves_paused())
            .map(|(id, _)| id.clone())
            .collect();
        self.jobs.keep(&running);
        served.retain(|id, _| alive.contains(id));
        from_outside.retain(|id, _| alive.contains(id));
        announced.retain(|id, _| alive.contains(id));
        described.retain(|id, _| alive.contains(id));
        ready.retain(|id, _| alive.contains(id));
        ended.retain(|id, _| inventory.containers.contains_key(id));
        let ids: BTreeSet<_> = old
            .by_container
            .keys()
            .chain(assigned.by_container.keys())
            .collect();
        let changed: Vec<ContainerId> = ids
            .into_iter()
            .filter(|id| old.by_container.get(id) != assigned.by_container.get(id))
            .cloned()
            .collect();
        for id in &changed {
            if let Some(container) = inventory.containers.get(id) {
                let problems = assigned.by_container.get(id).map(problems::of_assignment);
                let problems = problems.into_iter().flatten();
                self.reports
                    .borrow_mut()
                    .tell(id, &container.name, Source::Definition, problems);
            }
        }
        drop(world);
        for id in changed.iter().filter(|id| running.contains(id)) {
            self.jobs.changed(id);
        }
    }

    fn next_wake(&self, watchdog: Option<Instant>) -> Instant {
        let retry = self.jobs.wake(self.turn);
        let wakes = retry.into_iter().chain([self.next_resync]).chain(watchdog);
        wakes.min().unwrap_or(self.next_resync)
    }

    fn tell_status(&mut self) {
        let world = self.world.borrow();
        let affected = self.reports.borrow().affected();
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
            "{engine}{} USB ports, {} containers served, {} nodes and links made, {affected} \
             containers with problems",
            offered.count(),
            world.assigned.by_container.len(),
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
        if !self.jobs.drain(DRAIN_LIMIT).await {
            tracing::warn!(
                message_id = kind::UNFINISHED,
                "stopping in the middle of an operation; the next start goes on with it"
            );
        }
    }
}
