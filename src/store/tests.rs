use serde::Serialize;
use serde::de::DeserializeOwned;

use super::document::Document;
use super::*;
use crate::plan::Made;
use crate::plan::assign::assign;

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
        .retain_records_of(&[(id.clone(), stopped)].into())
        .unwrap();
    assert!(Store::open(directory.path()).unwrap().has_record(&id));
    store.retain_records_of(&BTreeMap::new()).unwrap();
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
fn what_the_wrapper_grants_belongs_to_the_start_that_follows() {
    let directory = tempfile::tempdir().unwrap();
    let id = ContainerId("a".repeat(64));
    let number = |minor| DevNum { major: 188, minor };
    let mut store = Store::open(directory.path()).unwrap();
    let container = crate::model::fixtures::container("zwave", &[]);
    let inventory = Inventory {
        containers: [(id.clone(), container)].into(),
        ..Inventory::default()
    };
    let assigned = Assignments::default();
    store.put_assignments(&inventory, &assigned).unwrap();
    let grant = |_: &DevNum| Grant {
        defined: "r".into(),
        origin: Origin::Wrapper,
        known_to_systemd: true,
    };
    store
        .remember_wrapper_grants(&id, [number(0)].into())
        .unwrap();
    store.record_wrapper_grants(&id, "monday", grant).unwrap();
    // It is created anew while work of the last start goes on, which then writes what it knows.
    let mondays = store.grants(&id, "monday");
    store
        .remember_wrapper_grants(&id, [number(1)].into())
        .unwrap();
    store.put_grants(&id, "monday", mondays);
    store.put_record(&id, "monday", Record::new());
    store.write_record(&id).unwrap();

    let mut again = Store::open(directory.path()).unwrap();
    again.record_wrapper_grants(&id, "tuesday", grant).unwrap();
    assert_eq!(
        again.grants(&id, "tuesday"),
        [(number(1), grant(&number(1)))].into()
    );
    assert!(again.wrapper_grants(&id).is_empty());
}

#[test]
fn files_of_earlier_versions_are_read_and_written_as_they_are() {
    fn unchanged<T: Default + DeserializeOwned + Serialize>(name: &str, text: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let content: T = read(directory.path(), name);
        write(directory.path(), name, &content).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
    unchanged::<Owned>(
        OWNED,
        r#"{
  "schema": 1,
  "containers": {
    "c0ffee": {
      "started_at": "2026-01-05T12:00:00Z",
      "entries": {
        "/dev/zwave": [
          {
            "node": "188:0"
          }
        ]
      },
      "given": {
        "188:0": {
          "defined": "r",
          "created": true,
          "kept": true
        },
        "188:1": {
          "defined": "",
          "created": false,
          "kept": false
        }
      }
    }
  }
}"#,
    );
    unchanged::<Containers>(
        CONTAINERS,
        r#"{
  "schema": 1,
  "containers": {
    "c0ffee": {
      "name": "zwave",
      "labels": {
        "ttyplugd.enable": "true"
      },
      "granted": [
        "188:0"
      ],
      "assignments": [
        {
          "port": "zwave",
          "node": "/dev/zwave",
          "links": [
            "/dev/serial/by-id/usb-0658_0200-if00"
          ],
          "hold": {
            "seconds": 60
          }
        }
      ]
    }
  }
}"#,
    );
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

/// The assignments of the container "app" by this configuration, written and read again.
fn ports_without_the_daemon(config: &str, labels: &[(&str, &str)]) -> ContainerPorts {
    let directory = tempfile::tempdir().unwrap();
    let id = ContainerId("a".repeat(64));
    let container = crate::model::fixtures::container("app", labels);
    let inventory = Inventory {
        containers: [(id.clone(), container)].into(),
        ..Inventory::default()
    };
    let settings = crate::config::fixtures::settings(config);
    let assigned = assign(&settings, &inventory, &LastDevices::default());
    Store::open(directory.path())
        .unwrap()
        .put_assignments(&inventory, &assigned)
        .unwrap();
    Store::read(directory.path()).ports(&id).unwrap()
}

#[test]
fn without_the_daemon_a_container_has_what_it_was_assigned_and_not_what_its_labels_say() {
    let every = [("ttyplugd.enable", "true")];
    assert!(ports_without_the_daemon("", &every).every);
    assert!(!ports_without_the_daemon("labels = \"off\"", &every).every);
    let invalid = [
        ("ttyplugd.enable", "true"),
        ("ttyplugd.port.x.match", "vender=1"),
    ];
    assert!(!ports_without_the_daemon("", &invalid).every);
}

#[test]
fn without_the_daemon_a_port_that_was_never_plugged_in_has_the_names_of_its_definition() {
    let ports = ports_without_the_daemon(
        "[[port]]\nname = \"zwave\"\ncontainers = [\"app\"]\nnode = \"/dev/zwave\"\n\
         match = { by-id = \"usb-0658_0200-if00\" }",
        &[],
    );
    assert_eq!(
        ports.ports[0].names,
        ["/dev/zwave", "/dev/serial/by-id/usb-0658_0200-if00"]
    );
}

#[test]
fn a_label_of_the_image_does_not_become_the_containers_own_when_the_policy_changes() {
    let directory = tempfile::tempdir().unwrap();
    let id = ContainerId("a".repeat(64));
    let label = ("ttyplugd.enable", "true");
    let mut container = crate::model::fixtures::container("app", &[label]);
    container.image_labels = Some(container.labels.clone());
    let inventory = Inventory {
        containers: [(id.clone(), container.clone())].into(),
        ..Inventory::default()
    };
    let settings = crate::config::fixtures::settings("labels = \"image\"");
    let assigned = assign(&settings, &inventory, &LastDevices::default());
    let mut store = Store::open(directory.path()).unwrap();
    store.put_assignments(&inventory, &assigned).unwrap();

    let store = Store::read(directory.path());
    let known = store.container(&id).unwrap();
    assert_eq!(known.labels, container.labels);
    assert!(known.own_labels().is_empty());
    // The image is gone, and the configuration is another one.
    container.image_labels = None;
    let recognised = container.recognised(store.own_labels(&id));
    assert!(recognised.own_labels().is_empty());
}
