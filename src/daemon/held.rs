//! The held opens of all containers, as their keepers report them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::hold::changes::{KnownOpen, KnownOpens};
use crate::model::inventory::ContainerId;

/// By container and keeper's socket. A container that is restarted has two keepers for a moment.
#[derive(Debug, Default)]
pub struct HeldByKeepers(BTreeMap<ContainerId, BTreeMap<OsString, KnownOpens>>);

impl HeldByKeepers {
    /// What a keeper has reported, which begins with nothing.
    pub fn of(&mut self, id: &ContainerId, keeper: &OsStr) -> &mut KnownOpens {
        let keepers = self.0.entry(id.clone()).or_default();
        keepers.entry(keeper.to_owned()).or_default()
    }

    /// Forgets what a keeper has reported.
    pub fn forget(&mut self, id: &ContainerId, keeper: &OsStr) {
        if let Some(keepers) = self.0.get_mut(id) {
            keepers.remove(keeper);
        }
        self.0.retain(|_, keepers| !keepers.is_empty());
    }

    /// A keeper's container turns out to be another one.
    pub fn hand_over(&mut self, from: &ContainerId, to: &ContainerId, keeper: &OsStr) {
        let keepers = self.0.get_mut(from);
        if let Some(reported) = keepers.and_then(|keepers| keepers.remove(keeper)) {
            *self.of(to, keeper) = reported;
        }
        self.0.retain(|_, keepers| !keepers.is_empty());
    }

    pub fn has_keeper(&self, id: &ContainerId) -> bool {
        self.0.contains_key(id)
    }

    pub fn by_container(
        &self,
    ) -> impl Iterator<Item = (&ContainerId, impl Iterator<Item = &KnownOpen>)> {
        let containers = self.0.iter();
        containers.map(|(id, keepers)| (id, keepers.values().flat_map(KnownOpens::iter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::protocol::{FromKeeper, HeldOpen};

    fn report(tid: u32) -> FromKeeper {
        FromKeeper {
            held: vec![HeldOpen {
                tid,
                command: "app".into(),
                pid: None,
                only_thread: false,
                path: "/dev/zwave".into(),
                waited_ms: 0,
                left_ms: None,
            }],
            ..FromKeeper::default()
        }
    }

    fn tids(held: &HeldByKeepers) -> Vec<u32> {
        let opens = held.by_container().flat_map(|(_, opens)| opens);
        opens.map(|known| known.open.tid).collect()
    }

    #[test]
    fn a_keeper_changes_nothing_of_what_another_one_of_the_container_reports() {
        let id = ContainerId::of_docker("a".repeat(64));
        let [old, new] = ["1", "2"].map(OsStr::new);
        let mut held = HeldByKeepers::default();
        held.of(&id, old).take_in(report(7), 0);
        // The first report is of all its opens.
        held.of(&id, new).take_in(report(8), 0);
        assert_eq!(tids(&held), [7, 8]);
        held.forget(&id, old);
        assert_eq!(tids(&held), [8]);
        assert!(held.has_keeper(&id));
        let other = ContainerId::of_docker("b".repeat(64));
        held.hand_over(&id, &other, new);
        assert_eq!(tids(&held), [8]);
        assert!(!held.has_keeper(&id));
        held.forget(&other, new);
        assert!(!held.has_keeper(&other));
    }
}
