//! The daemon without a descriptor to spare: what it cannot do then it does afterwards.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;

use tempfile::TempDir;

use crate::testbed::{Daemon, SOON};

/// A daemon that needs no engine, and its files.
fn without_engine() -> (TempDir, Daemon) {
    let directory = TempDir::new().expect("a directory can be made");
    fs::write(directory.path().join("config.toml"), "").expect("a file can be written");
    let no_engine = format!("unix://{}/docker.sock", directory.path().display());
    let mut daemon = Daemon::spawn(directory.path(), &no_engine);
    daemon.notifies("READY=1");
    (directory, daemon)
}

/// A client that is no wrapper and does not ask for anything in time is hung up on.
#[test]
fn connections_are_accepted_again_once_there_are_descriptors() {
    let (directory, daemon) = without_engine();
    for name in ["runtime.sock", "api.sock"] {
        let socket = directory.path().join("run").join(name);
        let connect = || UnixStream::connect(&socket).expect("somebody listens");
        let unlimited = daemon.limit_descriptors("3");
        let waiting = connect();
        daemon.logs(&["cannot accept connections", name]);
        daemon.limit_descriptors(&unlimited);
        for mut connection in [waiting, connect()] {
            let limit = Some(SOON);
            connection.set_read_timeout(limit).expect("it is open");
            let end = connection.read(&mut [0]).expect("it is hung up on in time");
            assert_eq!(end, 0);
        }
    }
    daemon.stop();
}

#[test]
fn devices_are_looked_at_again_once_there_are_descriptors() {
    let (_directory, daemon) = without_engine();
    let unlimited = daemon.limit_descriptors("3");
    daemon.reload();
    daemon.logs(&[
        "cannot read the devices",
        "Too many open files",
        "trying again",
    ]);
    daemon.limit_descriptors(&unlimited);
    daemon.reload();
    daemon.logs(&["configuration reloaded"]);
    daemon.stop();
}
