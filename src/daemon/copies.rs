//! Copies of the descriptors of keepers: what another keeper needs to take over when one was killed,
//! or is to be replaced after an upgrade.
//!
//! The service manager has them too, and gives them to the next daemon.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::daemon::systemd::{forget, store};
use crate::hold::protocol::Descriptor;
use crate::sys::descriptors::take_stored;
use crate::sys::process_lock;
use crate::sys::ready::hangs_up;

/// The most listeners of one keeper. A container has one for itself, and one for each docker exec
/// whose programs live; it may leave such programs behind without end.
const MOST_LISTENERS: usize = 128;

/// By the names of the keepers' sockets.
#[derive(Debug, Default)]
pub struct Copies(BTreeMap<OsString, BTreeMap<Descriptor, OwnedFd>>);

impl Copies {
    /// Those that the daemon before had.
    pub(super) fn stored() -> Self {
        let stored = take_stored().unwrap_or_default().into_iter();
        let mut copies = Self::default();
        for (name, fd) in stored {
            if let Some((keeper, descriptor)) = parse(&name) {
                copies.of(keeper.as_ref()).insert(descriptor, fd);
            }
        }
        copies
    }

    pub(super) fn keepers(&self) -> impl Iterator<Item = &OsString> {
        self.0.keys()
    }

    /// Keeps what a keeper has sent.
    pub(super) fn add(&mut self, keeper: &OsStr, descriptor: Descriptor, fd: OwnedFd) {
        let copies = self.of(keeper);
        // systemd removes listeners that have hung up by itself.
        copies.retain(|descriptor, fd| !is_listener(descriptor) || !has_hung_up(fd));
        let listeners = copies.keys().filter(|copy| is_listener(copy)).count();
        if !is_listener(&descriptor) || listeners < MOST_LISTENERS {
            store(&name(keeper, descriptor), &fd);
            self.of(keeper).insert(descriptor, fd);
        }
    }

    /// Forgets a keeper whose container has ended.
    pub(super) fn forget(&mut self, keeper: &OsStr) {
        let copies = self.0.remove(keeper).unwrap_or_default();
        for descriptor in copies.into_keys() {
            forget(&name(keeper, descriptor));
        }
    }

    /// Whether the keeper has ended, and not with its container.
    pub(super) fn is_orphaned(&self, keeper: &OsStr) -> bool {
        let state = self.socket_and_state(keeper).map(|(_, state)| state);
        state.is_some_and(|state| !process_lock::is_locked(state))
    }

    /// Whether all that another keeper needs is here, but for listeners that are to come.
    pub(super) fn are_complete(&self, keeper: &OsStr) -> bool {
        self.socket_and_state(keeper).is_some()
    }

    /// Whether another keeper would have all listeners.
    pub(super) fn have_listeners(&self, keeper: &OsStr) -> bool {
        self.are_complete(keeper) && (1..MOST_LISTENERS).contains(&self.listeners(keeper).count())
    }

    /// The numbers of the living listeners, and what is handed over: the socket, the state file,
    /// and those listeners.
    pub(super) fn handed_over(&self, keeper: &OsStr) -> Option<(Vec<u64>, Vec<&OwnedFd>)> {
        let (socket, state) = self.socket_and_state(keeper)?;
        let listeners = self.listeners(keeper).filter(|(_, fd)| !has_hung_up(fd));
        let (numbers, listeners): (Vec<_>, Vec<_>) = listeners.unzip();
        let all = [socket, state].into_iter().chain(listeners);
        Some((numbers, all.collect()))
    }

    fn of(&mut self, keeper: &OsStr) -> &mut BTreeMap<Descriptor, OwnedFd> {
        self.0.entry(keeper.to_owned()).or_default()
    }

    fn socket_and_state(&self, keeper: &OsStr) -> Option<(&OwnedFd, &OwnedFd)> {
        let copies = self.0.get(keeper)?;
        let socket = copies.get(&Descriptor::Socket)?;
        Some((socket, copies.get(&Descriptor::State)?))
    }

    fn listeners(&self, keeper: &OsStr) -> impl Iterator<Item = (u64, &OwnedFd)> {
        let copies = self.0.get(keeper).into_iter().flatten();
        copies.filter_map(|(descriptor, fd)| match descriptor {
            Descriptor::Listener(number) => Some((*number, fd)),
            Descriptor::Socket | Descriptor::State => None,
        })
    }
}

fn is_listener(descriptor: &Descriptor) -> bool {
    matches!(descriptor, Descriptor::Listener(_))
}

/// Whether the last program of a listener's filter has ended.
fn has_hung_up(listener: &OwnedFd) -> bool {
    hangs_up(listener, Duration::ZERO)
}

/// The name of a stored descriptor (sd_notify(3), FDNAME=).
fn name(keeper: &OsStr, descriptor: Descriptor) -> String {
    let keeper = keeper.to_string_lossy();
    match descriptor {
        Descriptor::Socket => format!("{keeper}.socket"),
        Descriptor::State => format!("{keeper}.state"),
        Descriptor::Listener(number) => format!("{keeper}.{number}"),
    }
}

fn parse(name: &str) -> Option<(&str, Descriptor)> {
    let (keeper, descriptor) = name.rsplit_once('.')?;
    let descriptor = match descriptor {
        "socket" => Descriptor::Socket,
        "state" => Descriptor::State,
        number => Descriptor::Listener(number.parse().ok()?),
    };
    Some((keeper, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_descriptor_is_known_by_its_name() {
        let keeper = "0123456789ab-0000000000000007";
        for descriptor in [
            Descriptor::Socket,
            Descriptor::State,
            Descriptor::Listener(17),
        ] {
            let name = name(keeper.as_ref(), descriptor);
            assert_eq!(parse(&name), Some((keeper, descriptor)));
        }
        for other in ["stored", "a.b", ".", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
