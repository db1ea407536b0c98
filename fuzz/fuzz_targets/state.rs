//! The files in the run and state directories, as a crash or another version may have left them.
#![no_main]

use std::fs::{create_dir, write};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ttyplugd::model::inventory::ContainerId;
use ttyplugd::store::Store;
use ttyplugd_fuzz::bounded;

const FILES: [&str; 3] = ["owned.json", "containers.json", "ports.json"];

fuzz_target!(|data: &[u8]| {
    let directory = tempfile::tempdir_in("/dev/shm").expect("there is room");
    let [run, state] = ["run", "state"].map(|name| directory.path().join(name));
    for directory in [&run, &state] {
        create_dir(directory).expect("there is room");
    }
    for file in FILES {
        write(state.join(file), data).expect("there is room");
    }
    bounded(|| open_and_write(&run, &state));
});

/// What was read is the same when it was written and is read again.
fn open_and_write(run: &Path, state: &Path) {
    let id = ContainerId("c".into());
    let mut store = Store::open(run, state);
    let taken_over = Store::read(run, state);
    let (entries, grants) = (
        store.records.entries(&id, "1"),
        store.records.grants(&id, "1"),
    );
    assert_eq!(taken_over.records.entries(&id, "1"), entries);
    assert_eq!(taken_over.records.grants(&id, "1"), grants);
    assert_eq!(taken_over.known.ports(&id), store.known.ports(&id));
    let _ = (store.known.container(&id), store.known.last_devices());

    store.records.put_entries(&id, "2", entries.clone());
    store.records.put_grants(&id, "2", grants.clone());
    store.records.write(&id).expect("there is room");
    let again = Store::read(run, state);
    assert_eq!(again.records.entries(&id, "2"), entries);
    assert_eq!(again.records.grants(&id, "2"), grants);
}
