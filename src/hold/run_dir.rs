//! Where wrappers, keepers and the daemon find each other: the sockets in the run directory.

use std::path::{Path, PathBuf};

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
pub fn keeper_name(id: &str, random: u64) -> String {
    format!("{}-{random:016x}", beginning(id))
}

/// Whether a socket may be that of a keeper of the container with this id.
pub fn is_keeper_of(name: &str, id: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(first, _)| first == beginning(id))
}

/// What a name has of a container's id: twelve plain characters tell Docker's ids apart.
fn beginning(id: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || c == '-' {
        true => c,
        false => '_',
    };
    id.chars().take(12).map(plain).collect()
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
        let name = keeper_name("0123456789abcdef", 7);
        assert_eq!(name, "0123456789ab-0000000000000007");
        assert!(is_keeper_of(&name, "0123456789abcdef"));
        assert!(!is_keeper_of(&name, "0123456789a"));
        // An id is what its maker chooses (containerd, pkg/identifiers).
        let strange = keeper_name("../a.b", 7);
        assert_eq!(strange, "___a_b-0000000000000007");
        assert!(is_keeper_of(&strange, "../a.b"));
        assert!(is_ready(Path::new(&name)));
        assert!(!is_ready(&unready(Path::new(&name))));
    }
}
