//! Runs work that may hang, on a container's file systems or on systemd, and work that changes its thread,
//! in threads of its own and with a time limit.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::daemon::crew::{Crew, Queued, Stage};
use crate::model::inventory::ContainerId;
use crate::model::problem::{Failure, Problem};

/// How long such work may take, and how long it may wait for its turn.
const LIMIT: Duration = Duration::from_secs(5);

/// What takes longer than this waits for something, and others do not wait for it.
const TURN: Duration = Duration::from_millis(10);

/// How long a container waits for others to do the same at once. None can make it longer.
const GATHERING: Duration = Duration::from_millis(2);

/// For how many units systemd is asked at a time.
const UNITS: usize = 8;

/// The part of a container that the work uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its root directory, which the container can make hang, e.g. by a FUSE file system.
    Root,
    /// Its control group, which nobody can make hang.
    Group,
    /// Its unit, for which systemd is asked.
    Unit,
    /// Its network namespace, which the thread enters.
    Network,
}

/// Such work. Each part has threads of its own: access is revoked at once, whatever the file systems of
/// containers or systemd do.
#[derive(Debug)]
pub struct Blocking {
    roots: Crew,
    groups: Crew,
    units: Crew,
    networks: Crew,
    limit: Duration,
    /// The work that did not end in time. A blocked thread cannot be stopped, so no more work begins on
    /// the same part of the container, in any start, until it ends.
    hanging: RefCell<BTreeMap<(ContainerId, Part), Stage>>,
    /// How much has been asked for and may end soon.
    pending: Cell<usize>,
    few_pending: Notify,
}

impl Default for Blocking {
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl Blocking {
    fn with_limit(limit: Duration) -> Self {
        Self {
            roots: Crew::by_cores(TURN),
            groups: Crew::by_cores(TURN),
            units: Crew::new(UNITS, TURN),
            networks: Crew::new(1, TURN),
            limit,
            hanging: RefCell::default(),
            pending: Cell::default(),
            few_pending: Notify::default(),
        }
    }

    /// Runs work on a part of a container.
    ///
    /// # Errors
    /// It takes too long.
    pub async fn run<T: Send + 'static>(
        &self,
        id: &ContainerId,
        part: Part,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if self.hangs(id, part) {
            return Err(part.hangs());
        }
        let crew = self.crew(part);
        let mut work = crew.put(work);
        if let Some(result) = self.result(crew, &mut work).await {
            return Ok(result);
        }
        if !work.stage.withdraw() {
            let key = (id.clone(), part);
            self.hanging.borrow_mut().insert(key, work.stage);
        }
        Err(part.hangs())
    }

    /// Waits a moment until the others have come as far: what is then to be done for all containers is
    /// done once.
    pub async fn gather(&self) {
        if self.pending.get() > OWN {
            let _ = timeout(GATHERING, self.few_pending.notified()).await;
        }
    }

    /// `None` if it takes too long.
    async fn result<T>(&self, crew: &Crew, work: &mut Queued<T>) -> Option<T> {
        let pending = Pending::new(self);
        let asked = Instant::now();
        while !work.stage.is_overdue() {
            match timeout(TURN, &mut work.result).await {
                Ok(result) => return Some(result.expect("a panic ends the daemon")),
                Err(_) if asked.elapsed() > self.limit => return None,
                Err(_) => crew.replace_overdue(),
            }
        }
        drop(pending);
        let result = timeout(self.limit, &mut work.result).await.ok()?;
        Some(result.expect("a panic ends the daemon"))
    }

    fn crew(&self, part: Part) -> &Crew {
        match part {
            Part::Root => &self.roots,
            Part::Group => &self.groups,
            Part::Unit => &self.units,
            Part::Network => &self.networks,
        }
    }

    fn hangs(&self, id: &ContainerId, part: Part) -> bool {
        let mut hanging = self.hanging.borrow_mut();
        hanging.retain(|_, stage| !stage.has_ended());
        hanging.contains_key(&(id.clone(), part))
    }
}

/// The work that may be pending for the container that gathers: it is looked into while it is granted
/// access.
const OWN: usize = 1;

/// Some work that may end soon.
struct Pending<'a>(&'a Blocking);

impl<'a> Pending<'a> {
    fn new(blocking: &'a Blocking) -> Self {
        blocking.pending.set(blocking.pending.get() + 1);
        Self(blocking)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let left = self.0.pending.get() - 1;
        self.0.pending.set(left);
        if left <= OWN {
            self.0.few_pending.notify_waiters();
        }
    }
}

impl Part {
    fn hangs(self) -> Problem {
        match self {
            Self::Root => Problem::passing(
                Failure::Look,
                "reading the container's /dev takes too long",
                "check for a hanging file system in this or another container",
            ),
            Self::Group => Problem::passing(
                Failure::Right,
                "changing the container's device access takes too long",
                "wait; ttyplugd tries again",
            ),
            Self::Unit => Problem::passing(
                Failure::Right,
                "telling systemd of the container's device access takes too long",
                "check whether systemd answers: systemctl status",
            ),
            Self::Network => Problem::passing(
                Failure::Look,
                "sending uevents in the container takes too long",
                "start the application again if it has to hear of the port",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    fn id(number: usize) -> ContainerId {
        ContainerId::of_docker(format!("{number:064}"))
    }

    /// Work that hangs until all senders of this channel are gone.
    fn hang(waits: &Arc<Mutex<Receiver<()>>>) -> impl FnOnce() + Send + 'static {
        let waits = waits.clone();
        move || drop(waits.lock().map(|waits| waits.recv()))
    }

    fn hanging() -> (Sender<()>, Arc<Mutex<Receiver<()>>>) {
        let (go_on, waits) = channel();
        (go_on, Arc::new(Mutex::new(waits)))
    }

    #[tokio::test]
    async fn what_hangs_is_a_problem_of_its_own_container_until_it_ends() {
        let blocking = Blocking::with_limit(TURN * 10);
        let (go_on, waits) = hanging();
        assert!(
            blocking
                .run(&id(1), Part::Root, hang(&waits))
                .await
                .is_err()
        );
        assert!(blocking.run(&id(1), Part::Root, || 1).await.is_err());
        assert_eq!(blocking.run(&id(1), Part::Group, || 2).await, Ok(2));
        assert_eq!(blocking.run(&id(2), Part::Root, || 3).await, Ok(3));
        drop(go_on);
        while blocking.hangs(&id(1), Part::Root) {
            sleep(TURN).await;
        }
        assert_eq!(blocking.run(&id(1), Part::Root, || 4).await, Ok(4));
    }

    #[tokio::test]
    async fn what_never_gets_its_turn_is_not_waited_for_and_access_is_not_behind_it() {
        let blocking = Blocking::with_limit(TURN * 10);
        let (go_on, waits) = hanging();
        let ids: Vec<_> = (0..400).map(id).collect();
        let all = ids
            .iter()
            .map(|id| blocking.run(id, Part::Root, hang(&waits)));
        let access = async {
            sleep(TURN * 5).await;
            blocking.run(&ids[0], Part::Group, || 1).await
        };
        let (all, access) = tokio::join!(join_all(all), access);
        assert!(all.iter().all(Result::is_err));
        assert_eq!(access, Ok(1));
        // The others were never begun.
        assert!(blocking.hanging.borrow().len() < 100);
        drop(go_on);
    }

    #[tokio::test]
    async fn nobody_gathers_for_long() {
        let blocking = Blocking::default();
        let (go_on, waits) = hanging();
        let others = [1, 2].map(id);
        let others = others
            .iter()
            .map(|id| blocking.run(id, Part::Root, hang(&waits)));
        let gather = async {
            tokio::task::yield_now().await;
            assert_eq!(blocking.pending.get(), 2);
            let begin = Instant::now();
            blocking.gather().await;
            drop(go_on);
            begin.elapsed()
        };
        let (_, took) = tokio::join!(join_all(others), gather);
        assert!(took < LIMIT / 10, "{took:?}");
        assert_eq!(blocking.pending.get(), 0);
    }
}
