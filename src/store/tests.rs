use super::document::Document;
use super::*;
use crate::plan::Made;

#[test]
fn a_record_holds_for_one_start_of_one_container_and_survives_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let id = ContainerId("a".repeat(64));
    let made = Made::Node(DevNum {
        major: 188,
        minor: 0,
    });
    let record = Record::from([("/dev/zwave".parse().unwrap(), BTreeSet::from([made]))]);
    let mut store = Store::open(directory.path()).unwrap();
    store.put_record(&id, "monday", record.clone());
    store.write_record(&id).unwrap();

    let again = Store::open(directory.path()).unwrap();
    assert_eq!(again.record(&id, "monday"), record);
    assert_eq!(again.record(&id, "tuesday"), Record::new());
    // Whether it runs is another matter.
    let stopped = Container {
        state: ContainerState::Stopped,
        ..crate::model::fixtures::container("zwave", &[])
    };
    store
        .keep_records_of(&[(id.clone(), stopped)].into())
        .unwrap();
    assert!(Store::open(directory.path()).unwrap().has_record(&id));
    store.keep_records_of(&BTreeMap::new()).unwrap();
    assert!(!Store::open(directory.path()).unwrap().has_record(&id));
}

#[test]
fn what_could_not_be_written_is_written_the_next_time_and_with_it_all_that_has_come_since() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let [first, second] = ["a", "b"].map(|id| ContainerId(id.repeat(64)));
    let made = Made::Link("zwave".into());
    let record = Record::from([("/dev/zwave".parse().unwrap(), BTreeSet::from([made]))]);
    let mut store = Store::open(&state).unwrap();
    std::fs::remove_dir(&state).unwrap();
    store.put_record(&first, "monday", record.clone());
    store.write_record(&first).unwrap_err();
    // Nothing is to be written for it.
    store.write_record(&second).unwrap();
    std::fs::create_dir(&state).unwrap();
    store.put_record(&second, "monday", record.clone());
    store.put_record(&first, "monday", record.clone());
    store.write_record(&first).unwrap();
    let again = Store::open(&state).unwrap();
    assert_eq!(again.record(&first, "monday"), record);
    assert_eq!(again.record(&second, "monday"), record);
}

#[test]
fn what_a_container_is_created_with_belongs_to_the_start_that_follows() {
    let directory = tempfile::tempdir().unwrap();
    let id = ContainerId("a".repeat(64));
    let number = |minor| DevNum { major: 188, minor };
    let mut store = Store::open(directory.path()).unwrap();
    let container = crate::model::fixtures::container("zwave", &[]);
    let inventory = Inventory {
        containers: [(id.clone(), container)].into(),
        ..Inventory::default()
    };
    let assigned = Assigned::default();
    let policy = LabelPolicy::default();
    store
        .put_assignments(policy, &inventory, &assigned)
        .unwrap();
    let given = |_: &DevNum| Given {
        defined: "r".into(),
        created: true,
        kept: true,
    };
    store.grant(&id, [number(0)].into()).unwrap();
    store.adopt(&id, "monday", given).unwrap();
    // It is created anew while work of the last start goes on, which then writes what it knows.
    let mondays = store.granted(&id, "monday");
    store.grant(&id, [number(1)].into()).unwrap();
    store.put_granted(&id, "monday", mondays);
    store.put_record(&id, "monday", Record::new());
    store.write_record(&id).unwrap();

    let mut again = Store::open(directory.path()).unwrap();
    again.adopt(&id, "tuesday", given).unwrap();
    assert_eq!(
        again.granted(&id, "tuesday"),
        [(number(1), given(&number(1)))].into()
    );
    assert!(again.created(&id).is_empty());
}

#[test]
fn a_damaged_file_or_one_of_another_version_is_an_empty_state() {
    let directory = tempfile::tempdir().unwrap();
    for text in [
        "",
        "{",
        "[]",
        "{\"schema\": 2, \"containers\": {}}",
        "{\"containers\": 7}",
    ] {
        fs::write(directory.path().join(OWNED), text).unwrap();
        assert_eq!(
            Store::open(directory.path()).unwrap().entries(),
            0,
            "{text}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_in_a_state_file_make_the_reader_panic(bytes: Vec<u8>) {
        let _ = serde_json::from_slice::<Document<Owned>>(&bytes);
    }
}
