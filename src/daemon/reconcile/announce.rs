//! Sends uevents to the applications in a container: after a node has appeared, after its properties
//! have changed, and after it was removed.

use std::collections::BTreeMap;

use crate::container::announce::announce;
use crate::container::uevent::{Action, Announcement};
use crate::daemon::blocking::Part;
use crate::daemon::reconcile::handle::Handle;
use crate::daemon::reconcile::look::Seen;
use crate::model::NodePath;
use crate::sys::logging::kind;

type Announced = BTreeMap<NodePath, Announcement>;

impl Handle<'_> {
    /// Marks everything that is in place as announced: it was there before this daemon looked.
    pub fn was_announced(&self, seen: &Seen) {
        self.start.set_announced(self.to_announce(seen));
    }

    /// Announces the changes since the last time.
    pub async fn announce(&self, seen: &Seen) {
        for (action, announcements) in self.take_changes(seen) {
            self.send(action, announcements).await;
        }
    }

    /// The changes since the last time, which count as announced from now on. A node whose device was
    /// just unplugged stays announced until it is removed itself.
    fn take_changes(&self, seen: &Seen) -> [(Action, Vec<Announcement>); 3] {
        let mut new = self.to_announce(seen);
        let (stays, gone): (Announced, Announced) = self
            .start
            .announced()
            .into_iter()
            .partition(|(path, known)| seen.view.actual.opens(path, known.devnum));
        new.retain(|path, announcement| stays.get(path) != Some(announcement));
        let known = stays.clone().into_iter().chain(new.clone());
        self.start.set_announced(known.collect());
        let (changed, come): (Announced, Announced) = new
            .into_iter()
            .partition(|(path, _)| stays.contains_key(path));
        [
            (Action::Remove, gone),
            (Action::Change, changed),
            (Action::Add, come),
        ]
        .map(|(action, ports)| (action, ports.into_values().collect()))
    }

    /// The nodes that are in place and may be opened.
    fn to_announce(&self, seen: &Seen) -> Announced {
        let present = self.wants.iter().filter(|want| {
            seen.view.actual.opens(&want.node, want.devnum) && self.may_open(want.devnum)
        });
        let announced =
            present.filter_map(|want| Some((want.node.clone(), self.announcement(want)?)));
        announced.collect()
    }

    /// Sends uevents. Nothing depends on them, so a failure is only logged.
    async fn send(&self, action: Action, announcements: Vec<Announcement>) {
        if announcements.is_empty() || !self.announces() {
            return;
        }
        let work = self.run(Part::Network, move |entrance| {
            announce(&entrance.rootfs, action, &announcements)
        });
        let error = match work.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(problem) => problem.cause,
        };
        tracing::warn!(
            message_id = kind::NOT_ANNOUNCED,
            container_id = self.id().id,
            engine = self.engine_name(),
            "{error}"
        );
    }
}
