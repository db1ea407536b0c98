//! The files of the state directory, as a crash or an earlier version may have left them.
#![no_main]

use std::fs::write;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ttyplugd::model::inventory::ContainerId;
use ttyplugd::store::Store;
use ttyplugd_fuzz::bounded;

const FILES: [&str; 3] = ["owned.json", "containers.json", "ports.json"];

fuzz_target!(|data: &[u8]| {
    let directory = tempfile::tempdir_in("/dev/shm").expect("there is room");
    let fill = |name: &str| write(directory.path().join(name), data).expect("there is room");
    FILES.iter().for_each(|name| fill(name));
    bounded(|| use_it(directory.path()));
});

/// What was read is the same when it was written and is read again.
fn use_it(directory: &Path) {
    let mut store = Store::open(directory).expect("the directory is there");
    let id = ContainerId("c".into());
    let (record, grants) = (store.record(&id, "1"), store.grants(&id, "1"));
    let _ = (store.ports(&id), store.container(&id), store.entries());
    store.put_record(&id, "2", record.clone());
    store.put_grants(&id, "2", grants.clone());
    store.write_record(&id).expect("there is room");
    let again = Store::read(directory);
    assert_eq!(again.record(&id, "2"), record);
    assert_eq!(again.grants(&id, "2"), grants);
    assert_eq!(again.ports(&id), store.ports(&id));
}
