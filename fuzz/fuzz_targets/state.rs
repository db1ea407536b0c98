//! The files in the run and state directories, as a crash or another version may have left them.
#![no_main]

use std::fs::{create_dir, write};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ttyplugd::model::inventory::ContainerId;
use ttyplugd::model::start::StartId;
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
    let id = ContainerId::of_docker("c".into());
    let [first, second] = ["1", "2"].map(StartId::at);
    let mut store = Store::open(run, state);
    let taken_over = Store::read(run, state);
    let (entries, grants) = (
        store.records.entries(&id, &first),
        store.records.grants(&id, &first),
    );
    assert_eq!(taken_over.records.entries(&id, &first), entries);
    assert_eq!(taken_over.records.grants(&id, &first), grants);
    assert_eq!(taken_over.known.ports(&id.id), store.known.ports(&id.id));
    let _ = (store.known.container(&id), store.known.last_devices());

    store.records.put_entries(&id, &second, entries.clone());
    store.records.put_grants(&id, &second, grants.clone());
    store.records.write(&id).expect("there is room");
    let again = Store::read(run, state);
    assert_eq!(again.records.entries(&id, &second), entries);
    assert_eq!(again.records.grants(&id, &second), grants);
}
