//! The lines that daemon, wrapper and keeper send each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ttyplugd::hold::protocol::{Created, Creating, FromKeeper, ToKeeper, line, take};
use ttyplugd_fuzz::bounded;

fuzz_target!(|data: &[u8]| {
    read::<ToKeeper>(data);
    read::<FromKeeper>(data);
    read::<Creating>(data);
    read::<Created>(data);
});

/// A message that was read is the same when it is written and read again.
fn read<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let mut received = data.to_vec();
    while let Ok(Some(message)) = bounded(|| take::<T>(&mut received)) {
        let written = line(&message);
        let mut again = written.clone();
        let read = take::<T>(&mut again).expect("it was written by us");
        assert_eq!(line(&read.expect("the line is complete")), written);
        assert!(again.is_empty());
    }
    assert!(received.len() <= data.len());
}
