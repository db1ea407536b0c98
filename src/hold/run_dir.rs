//! Where wrappers, keepers and the daemon find each other: the sockets in the run directory.

use std::path::{Path, PathBuf};

use crate::model::inventory::ContainerId;

/// Where the daemon answers wrappers.
pub fn wrapper_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("runtime.sock")
}

/// The directory of the keepers' sockets. Its name is short, as that of a socket has to be
/// (unix(7), `sun_path`).
pub fn keepers(run_dir: &Path) -> PathBuf {
    run_dir.join("k")
}

/// The name of a keeper's socket. A container has a new one at every start, since the one before
/// may still be in use.
pub fn keeper_name(id: &ContainerId, random: u64) -> String {
    format!("{}-{random:016x}", id.short())
}

/// Whether a socket is that of a keeper of this container.
pub fn is_keeper_of(name: &str, id: &ContainerId) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(short, _)| short == id.short())
}

/// Where a keeper's socket is until it can be connected to.
pub fn unready(socket: &Path) -> PathBuf {
    socket.with_extension("new")
}

/// Whether a keeper's socket can be connected to.
pub fn is_ready(name: &Path) -> bool {
    name.extension().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepers_socket_is_known_by_its_name() {
        let id = |text: &str| ContainerId(text.into());
        let name = keeper_name(&id("0123456789abcdef"), 7);
        assert_eq!(name, "0123456789ab-0000000000000007");
        assert!(is_keeper_of(&name, &id("0123456789abcdef")));
        assert!(!is_keeper_of(&name, &id("0123456789a")));
        assert!(is_ready(Path::new(&name)));
        assert!(!is_ready(&unready(Path::new(&name))));
    }
}
