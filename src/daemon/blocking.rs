//! Runs work that may hang, on a container's file systems or on systemd, in threads of its own and
//! with a time limit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::timeout;

use crate::model::inventory::ContainerId;
use crate::model::problem::{Failure, Problem};

/// How long such work may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The part of a container that the work uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its root directory, which the container can make hang, e.g. by a FUSE file system.
    Root,
    /// Its control group, which nobody can make hang.
    Group,
    /// Its unit, for which systemd is asked.
    Unit,
}

/// The work that did not end in time. A blocked thread cannot be stopped, so no more work begins on
/// the same part of the container, in any start, until it ends.
#[derive(Debug, Default)]
pub struct Blocking {
    hanging: RefCell<BTreeMap<(ContainerId, Part), AbortHandle>>,
}

impl Blocking {
    /// Runs work on a part of a container.
    ///
    /// # Errors
    /// It takes too long, or panics.
    pub async fn run<T: Send + 'static>(
        &self,
        id: &ContainerId,
        part: Part,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if self.hangs(id, part) {
            return Err(part.hangs());
        }
        let mut work = spawn_blocking(work);
        match timeout(LIMIT, &mut work).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(panicked)) => {
                let cause = panicked.to_string();
                Err(Problem::passing(Failure::Look, cause, "report this bug"))
            }
            Err(_) => {
                let key = (id.clone(), part);
                self.hanging.borrow_mut().insert(key, work.abort_handle());
                Err(part.hangs())
            }
        }
    }

    fn hangs(&self, id: &ContainerId, part: Part) -> bool {
        let mut hanging = self.hanging.borrow_mut();
        hanging.retain(|_, work| !work.is_finished());
        hanging.contains_key(&(id.clone(), part))
    }
}

impl Part {
    fn hangs(self) -> Problem {
        match self {
            Self::Root => Problem::passing(
                Failure::Look,
                "reading the container's /dev takes too long",
                "check for a hanging file system in the container",
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
        }
    }
}
