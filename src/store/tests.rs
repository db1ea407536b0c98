use std::collections::BTreeSet;
use std::fs;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::known::Containers;
use super::records::Owned;
use super::*;
use crate::hold::ContainerPorts;
use crate::model::DevNum;
use crate::model::device_access::{Grant, Grants, Origin};
use crate::model::fixtures::container;
use crate::model::inventory::{ContainerId, EngineName, Inventory};
use crate::model::start::{FirstProcess, StartId};
use crate::plan::assign::{Assignments, assign};
use crate::plan::last_devices::LastDevices;
use crate::plan::{Made, Record};

fn id(character: &str) -> ContainerId {
    ContainerId::of_docker(character.repeat(64))
}

fn monday() -> StartId {
    StartId::at("monday")
}

fn tuesday() -> StartId {
    StartId::at("tuesday")
}

fn number(minor: u32) -> DevNum {
    DevNum { major: 188, minor }
}

/// A node at /dev/zwave.
fn node(minor: u32) -> Record {
    let made = Made::node(number(minor), None);
    Record::from([("/dev/zwave".parse().unwrap(), BTreeSet::from([made]))])
}

#[test]
fn a_record_holds_for_one_start_of_one_container_and_survives_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let id = id("a");
    let mut records = Records::read(directory.path());
    records.put_entries(&id, &monday(), node(0));
    records.write(&id).unwrap();

    let again = Records::read(directory.path());
    assert_eq!(again.entries(&id, &monday()), node(0));
    assert_eq!(again.entries(&id, &tuesday()), Record::new());
    records.retain(|_| false).unwrap();
    assert!(Records::read(directory.path()).has(&id));
    records.retain(|gone| *gone == id).unwrap();
    assert!(!Records::read(directory.path()).has(&id));
}

#[test]
fn what_could_not_be_written_is_written_the_next_time_and_with_it_all_that_has_come_since() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let [first, second] = ["a", "b"].map(id);
    let mut records = Records::read(&run);
    records.put_entries(&first, &monday(), node(0));
    records.write(&first).unwrap_err();
    // Nothing is to be written for it.
    records.write(&second).unwrap();
    fs::create_dir(&run).unwrap();
    records.put_entries(&second, &monday(), node(0));
    records.put_entries(&first, &monday(), node(0));
    records.write(&first).unwrap();
    let again = Records::read(&run);
    assert_eq!(again.entries(&first, &monday()), node(0));
    assert_eq!(again.entries(&second, &monday()), node(0));
}

#[test]
fn what_the_wrapper_makes_belongs_to_the_start_that_follows() {
    let directory = tempfile::tempdir().unwrap();
    let id = id("a");
    let created = |minor| Created {
        entries: node(minor),
        granted: [number(minor)].into(),
    };
    let grant = |_: &DevNum| Grant {
        defined: "r".into(),
        origin: Origin::Wrapper,
        known_to_systemd: true,
    };
    let mut records = Records::read(directory.path());
    records.put_created(&id, created(0));
    records.begin(&id, &monday(), grant);
    // It is created anew while work of the last start goes on, which then writes what it knows.
    let mondays = records.grants(&id, &monday());
    records.put_created(&id, created(1));
    records.put_grants(&id, &monday(), mondays);
    records.put_entries(&id, &monday(), Record::new());
    records.write(&id).unwrap();

    let mut again = Records::read(directory.path());
    assert_eq!(again.entries(&id, &tuesday()), Record::new());
    again.begin(&id, &tuesday(), grant);
    assert_eq!(again.entries(&id, &tuesday()), node(1));
    let granted = Grants::from([(number(1), grant(&number(1)))]);
    assert_eq!(again.grants(&id, &tuesday()), granted);
    again.write(&id).unwrap();
    assert_eq!(
        Records::read(directory.path()).grants(&id, &tuesday()),
        granted
    );
}

/// As by its wrapper's word at first, and then by an engine's list.
#[test]
fn what_is_on_record_of_a_start_is_found_whichever_engine_it_is_known_by() {
    let directory = tempfile::tempdir().unwrap();
    let process = FirstProcess { pid: 7, started: 1 };
    let told = ContainerId::new(EngineName::new("containerd/x"), "a".repeat(64));
    let grants = Grants::from([(number(0), Grant::by(Origin::Daemon))]);
    let mut records = Records::read(directory.path());
    records.put_entries(&told, &StartId::of(process), node(0));
    records.put_grants(&told, &StartId::of(process), grants.clone());

    let listed = |started| StartId {
        process: Some(FirstProcess { pid: 7, started }),
        ..monday()
    };
    records.find(&id("a"));
    records.write(&id("a")).unwrap();
    let again = Records::read(directory.path());
    assert_eq!(again.entries(&id("a"), &listed(1)), node(0));
    assert_eq!(again.grants(&id("a"), &listed(1)), grants);
    assert_eq!(again.entries(&id("a"), &listed(2)), Record::new());
    assert!(!again.has(&told));
}

#[test]
fn a_record_of_an_earlier_version_moves_to_the_run_directory() {
    let [run, state] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut earlier = Records::read(state.path());
    earlier.put_entries(&id("a"), &monday(), node(0));
    earlier.write(&id("a")).unwrap();
    fs::write(run.path().join("owned.json.new-ttyplugd-7"), "").unwrap();
    for _ in 0..2 {
        let store = Store::open(run.path(), state.path());
        assert_eq!(store.records.entries(&id("a"), &monday()), node(0));
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(run.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_damaged_record_of_an_earlier_version_is_lost() {
    let [run, state] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    fs::write(state.path().join("owned.json"), "{").unwrap();
    let store = Store::open(run.path(), state.path());
    assert!(store.records.are_lost());
}

#[test]
fn a_write_that_fails_is_made_up_for_with_all_that_has_come_since() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mut inventory = Inventory {
        containers: [(id("a"), container("first", &[]))].into(),
        ..Inventory::default()
    };
    let mut known = Known::read(&state);
    // No directory can be made below a file.
    fs::write(&state, "").unwrap();
    known.put(&inventory, &Assignments::default(), |_| true, |_| false);
    let files = known.begin_write().unwrap();
    inventory
        .containers
        .insert(id("b"), container("second", &[]));
    known.put(&inventory, &Assignments::default(), |_| true, |_| false);
    files.write().unwrap_err();
    known.end_write(false);
    fs::remove_file(&state).unwrap();
    write(&mut known);
    assert!(known.begin_write().is_none());
    let again = Known::read(&state);
    assert!(again.container(&id("a")).is_some() && again.container(&id("b")).is_some());
}

/// Writes what is to be written.
fn write(known: &mut Known) {
    if let Some(files) = known.begin_write() {
        files.write().unwrap();
        known.end_write(true);
    }
}

#[test]
fn files_of_earlier_versions_are_read_and_written_as_they_are() {
    fn unchanged<T: Default + DeserializeOwned + Serialize>(name: &str, text: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let content: T = document::read(&path).content();
        document::write(&path, &content).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
    unchanged::<Owned>(
        "owned.json",
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
        "containers.json",
        r#"{
  "schema": 1,
  "containers": {
    "c0ffee": {
      "name": "zwave",
      "labels": {
        "ttyplugd.enable": "true"
      },
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
        fs::write(directory.path().join("owned.json"), text).unwrap();
        let records = Records::read(directory.path());
        assert!(records.count() == 0 && records.are_lost(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_in_a_state_file_make_the_reader_panic(bytes: Vec<u8>) {
        let _ = document::parse::<Owned>(&bytes);
        let _ = document::parse::<Containers>(&bytes);
    }
}

/// The assignments of the container "app" by this configuration, written and read again.
fn ports_without_the_daemon(config: &str, labels: &[(&str, &str)]) -> ContainerPorts {
    let directory = tempfile::tempdir().unwrap();
    let inventory = Inventory {
        containers: [(id("a"), container("app", labels))].into(),
        ..Inventory::default()
    };
    let settings = crate::config::fixtures::settings(config);
    let assigned = assign(&settings, &inventory, &LastDevices::default());
    let mut known = Known::read(directory.path());
    known.put(&inventory, &assigned, |_| true, |_| false);
    write(&mut known);
    Known::read(directory.path()).ports(&id("a").id).unwrap()
}

#[test]
fn without_the_daemon_a_container_has_what_it_was_assigned_and_not_what_its_labels_say() {
    let every = [("ttyplugd.enable", "true")];
    assert!(ports_without_the_daemon("", &every).every);
    assert!(!ports_without_the_daemon("labels = \"off\"", &every).every);
    let unheld = [("ttyplugd.enable", "true"), ("ttyplugd.hold", "off")];
    let ports = ports_without_the_daemon("", &unheld);
    assert!(ports.every && !ports.may_hold());
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
    let id = id("a");
    let label = ("ttyplugd.enable", "true");
    let mut container = container("app", &[label]);
    container.image_labels = Some(container.labels.clone());
    let inventory = Inventory {
        containers: [(id.clone(), container.clone())].into(),
        ..Inventory::default()
    };
    let settings = crate::config::fixtures::settings("labels = \"image\"");
    let assigned = assign(&settings, &inventory, &LastDevices::default());
    let mut known = Known::read(directory.path());
    known.put(&inventory, &assigned, |_| true, |_| false);
    write(&mut known);

    let known = Known::read(directory.path());
    let stored = known.container(&id).unwrap();
    assert_eq!(stored.labels, container.labels);
    assert!(stored.own_labels().is_empty());
    // The image is gone, and the configuration is another one.
    container.image_labels = None;
    let recognised = container.recognised(known.own_labels(&id));
    assert!(recognised.own_labels().is_empty());
}
