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

use crate::assign::{Assigned, Conflict, assign};
use crate::config::{self, ConfigError, Settings};
use crate::docker::{self, Engine};
use crate::inventory::{ContainerId, ContainerState, Inventory};
use crate::logging::kind;
use crate::monitor::{Heard, Monitor, enumerate};
use crate::reconcile::{Trouble, World, reconcile};
use crate::state::Store;
use crate::watch::{News, watch};

/// Where the daemon keeps things.
#[derive(Debug, Clone)]
pub struct Directories {
    pub config: PathBuf,
    pub run: PathBuf,
    pub state: PathBuf,
}

/// Everything is looked at again this often, whether or not anything was heard.
const RESYNC: Duration = Duration::from_secs(60);

/// How many containers are worked on at once. Each exec keeps the engine, its shim and a runtime
/// busy; more of them at a time make each one slower and none of them sooner.
const AT_ONCE: usize = 8;

/// How long one container may keep its place among them.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// How long work that has begun may go on after we were told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// How long to wait before the next try after so many failures: 1 s, doubling, at most 5 minutes.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(300.min(1 << failures.min(9)))
}

/// What is known of the work for one container.
#[derive(Debug, Default)]
struct Work {
    /// Since when there is something to do; `None` when there is nothing.
    due: Option<Instant>,
    running: bool,
    failures: u32,
    /// No sooner than this, after a failure.
    not_before: Option<Instant>,
    /// What has been reported, so that it is reported once.
    troubles: BTreeSet<Trouble>,
}

struct Daemon {
    directories: Directories,
    world: Rc<RefCell<World>>,
    engine: Option<Rc<Engine>>,
    /// The engine's last error, so that it is reported once.
    engine_error: Option<String>,
    work: BTreeMap<ContainerId, Work>,
    jobs: JoinSet<(ContainerId, Vec<Trouble>)>,
    slots: Rc<Semaphore>,
    list_again: Rc<Notify>,
    next_resync: Instant,
    status: String,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Another daemon is running, or udev or the state directory cannot be used. The configuration
/// has been read already.
pub async fn run(directories: Directories, settings: Settings) -> anyhow::Result<()> {
    let _lock = lock(&directories.run)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let socket = docker::socket_path()?;
    let store = Store::open(&directories.state)?;

    // Listen before list, for udev here and for the engine in `watch`.
    let mut monitor = listen()?;
    let mut inventory = Inventory::default();
    inventory.replace_devices(enumerate()?);

    let list_again = Rc::new(Notify::new());
    let (news_to, mut news) = mpsc::channel(64);
    tokio::task::spawn_local(watch(socket, list_again.clone(), news_to));
    let mut daemon = Daemon {
        directories,
        world: Rc::new(RefCell::new(World {
            settings,
            inventory,
            assigned: Assigned::default(),
            store,
            hanging: BTreeMap::new(),
        })),
        engine: None,
        engine_error: None,
        work: BTreeMap::new(),
        jobs: JoinSet::new(),
        slots: Rc::new(Semaphore::new(AT_ONCE)),
        list_again,
        next_resync: Instant::now() + RESYNC,
        status: String::new(),
    };
    tell(&[NotifyState::Ready]);
    daemon.dispatch();

    // Half of what the service manager allows (sd_watchdog_enabled(3)).
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut next_watchdog = watchdog.map(|period| Instant::now() + period);
    loop {
        let wake = daemon.next_wake(next_watchdog);
        tokio::select! {
            heard = monitor.next() => daemon.on_heard(heard?)?,
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
    fn on_heard(&mut self, heard: Heard) -> anyhow::Result<()> {
        let mut world = self.world.borrow_mut();
        for event in heard.events {
            world.inventory.apply(event);
        }
        drop(world);
        if heard.lost {
            tracing::warn!(
                message_id = kind::EVENTS_LOST,
                "udev's events came faster than they could be read and some were lost; looking \
                 at everything again"
            );
            self.resync()?;
        }
        Ok(())
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Found {
                engine,
                version,
                containers,
            } => {
                let count = containers.len();
                tracing::info!(
                    message_id = kind::ENGINE_FOUND,
                    engine_version = version,
                    containers = count,
                    "connected to the engine"
                );
                self.engine = Some(engine);
                self.engine_error = None;
                self.on_listed(containers);
            }
            News::Listed(containers) => self.on_listed(containers),
            News::Changed(id, Some(container)) => {
                let stopped = container.state == ContainerState::Stopped;
                let mut world = self.world.borrow_mut();
                world.inventory.containers.insert(id.clone(), container);
                drop(world);
                if stopped {
                    self.work.remove(&id);
                } else {
                    self.mark(&id);
                }
            }
            News::Changed(id, None) => {
                self.world.borrow_mut().inventory.containers.remove(&id);
                self.work.remove(&id);
            }
            News::Lost(error) => {
                self.engine = None;
                let error = error.to_string();
                if self.engine_error.as_ref() != Some(&error) {
                    tracing::warn!(
                        message_id = kind::ENGINE_LOST,
                        error,
                        "the engine is not there; waiting for it (systemctl status docker)"
                    );
                    self.engine_error = Some(error);
                }
            }
        }
    }

    fn on_listed(&mut self, containers: BTreeMap<ContainerId, crate::inventory::Container>) {
        let mut world = self.world.borrow_mut();
        world.inventory.containers = containers;
        let ids: Vec<_> = world.inventory.containers.keys().cloned().collect();
        drop(world);
        self.work.retain(|id, _| ids.contains(id));
        // A list is no news of any one container: whoever is waiting after a failure waits on.
        for id in ids {
            let work = self.work.entry(id).or_default();
            work.due = work.due.or(Some(Instant::now()));
        }
    }

    fn on_done(&mut self, id: &ContainerId, troubles: Vec<Trouble>) {
        // Stopped or destroyed meanwhile: its troubles went with it.
        let Some(work) = self.work.get_mut(id) else {
            return;
        };
        work.running = false;
        let retry = troubles.iter().any(|trouble| trouble.retry);
        if retry {
            let pause = backoff(work.failures);
            work.failures += 1;
            work.not_before = Some(Instant::now() + pause);
            work.due = work.due.or(Some(Instant::now()));
        } else {
            work.failures = 0;
        }
        self.report(id, troubles.into_iter().collect());
    }

    /// Says each trouble once, when it begins.
    fn report(&mut self, id: &ContainerId, troubles: BTreeSet<Trouble>) {
        let world = self.world.borrow();
        let name = match world.inventory.containers.get(id) {
            Some(container) => container.name.as_str(),
            None => "",
        };
        let work = self.work.entry(id.clone()).or_default();
        for trouble in troubles.difference(&work.troubles) {
            tracing::warn!(
                message_id = kind::TROUBLE,
                container_name = name,
                container_id = %id.0,
                port = trouble.port.as_deref().unwrap_or_default(),
                remedy = trouble.remedy,
                "{}", trouble.cause
            );
        }
        work.troubles = troubles;
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
            Err(errors) => reject(&errors),
        }
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
        if monitor.has_lost()? {
            tracing::warn!(message_id = kind::EVENTS_LOST, "udev's events were lost");
        }
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

    /// There may be something to do for a container, and now is the time to try.
    fn mark(&mut self, id: &ContainerId) {
        let work = self.work.entry(id.clone()).or_default();
        work.due = work.due.or(Some(Instant::now()));
        work.not_before = None;
    }

    /// Computes what everybody should have, marks those for whom that has changed, and starts
    /// the work that is due.
    fn dispatch(&mut self) {
        self.reassign();
        let Some(engine) = self.engine.clone() else {
            return self.tell_status();
        };
        let world = self.world.borrow();
        for (id, work) in &mut self.work {
            let container = world.inventory.containers.get(id);
            let Some(container) = container.filter(|c| c.state == ContainerState::Running) else {
                continue;
            };
            let now = Instant::now();
            if work.running || work.not_before.is_some_and(|at| at > now) {
                continue;
            }
            let Some(since) = work.due.take() else {
                continue;
            };
            if world.assigned.wants(id).is_empty() && !world.store.has_record(id) {
                work.failures = 0;
                continue;
            }
            work.running = true;
            let (engine, world, slots) = (engine.clone(), self.world.clone(), self.slots.clone());
            let (id, name) = (id.clone(), container.name.clone());
            self.jobs.spawn_local(async move {
                let work = reconcile(&engine, &world, &id, &name, since.into_std());
                let troubles = in_turn(&slots, work).await.unwrap_or_default();
                (id, troubles)
            });
        }
        drop(world);
        self.tell_status();
    }

    fn reassign(&mut self) {
        let mut world = self.world.borrow_mut();
        let World {
            settings,
            inventory,
            assigned,
            store,
            ..
        } = &mut *world;
        let new = assign(settings, inventory, store.choices());
        let old = std::mem::replace(assigned, new);
        if let Err(error) = store.put_assignments(inventory, assigned) {
            tracing::error!("{error:#}");
        }
        let alive: BTreeSet<_> = inventory
            .containers
            .iter()
            .filter(|(_, container)| container.state != ContainerState::Stopped)
            .map(|(id, _)| id)
            .collect();
        // Before the engine has told what there is, nothing is known to be gone.
        if self.engine.is_some() {
            if let Err(error) = store.keep_records_of(&alive) {
                tracing::error!("{error:#}");
            }
        }
        let ids: BTreeSet<_> = old.shares.keys().chain(assigned.shares.keys()).collect();
        let changed: Vec<ContainerId> = ids
            .into_iter()
            .filter(|id| old.shares.get(id) != assigned.shares.get(id))
            .cloned()
            .collect();
        drop(world);
        for id in changed {
            self.mark(&id);
            self.report_share(&id, &old);
        }
    }

    /// What cannot be given, whatever the container looks like inside.
    fn report_share(&self, id: &ContainerId, old: &Assigned) {
        let world = self.world.borrow();
        let Some(container) = world.inventory.containers.get(id) else {
            return;
        };
        let before: &[Conflict] = match old.shares.get(id) {
            Some(Ok(share)) => &share.conflicts,
            _ => &[],
        };
        let warn = |cause: &str, remedy: &str| {
            tracing::warn!(
                message_id = kind::TROUBLE,
                container_name = container.name,
                container_id = %id.0,
                remedy,
                "{cause}"
            );
        };
        match world.assigned.shares.get(id) {
            Some(Ok(share)) => share
                .conflicts
                .iter()
                .filter(|conflict| !before.contains(conflict))
                .for_each(|conflict| warn(&conflict.to_string(), conflict.remedy())),
            Some(Err(error)) => warn(
                &format!("{error}; the container gets no port"),
                "correct the label and create the container again",
            ),
            None => {}
        }
    }

    fn next_wake(&self, watchdog: Option<Instant>) -> Instant {
        let retries = self
            .work
            .values()
            .filter(|work| !work.running && work.due.is_some());
        let retries = retries.filter_map(|work| work.not_before);
        let wakes = retries.chain([self.next_resync]).chain(watchdog);
        wakes.min().unwrap_or(self.next_resync)
    }

    fn tell_status(&mut self) {
        let world = self.world.borrow();
        let troubled = self
            .work
            .values()
            .filter(|work| !work.troubles.is_empty())
            .count();
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

/// Reports what is wrong with a configuration.
pub fn reject(errors: &[ConfigError]) {
    for error in errors {
        tracing::error!(
            message_id = kind::CONFIG_REJECTED,
            file = %error.file.display(),
            line = error.line.unwrap_or(0),
            "configuration rejected: {error}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_five_minutes() {
        let seconds: Vec<_> = [0, 1, 2, 8, 9, 40, u32::MAX]
            .map(|n| backoff(n).as_secs())
            .into();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300, 300]);
    }
}
