use super::*;
use crate::config::fixtures::settings;
use crate::model::fixtures::{container, device};
use crate::model::inventory::ContainerState;

const ZWAVE: &str = r#"
    [[port]]
    name = "zwave"
    match = { vendor = "0658" }
    containers = ["app"]
    node = "/dev/zwave"
"#;

fn inventory(devices: &[Device], containers: &[(&str, Container)]) -> Inventory {
    let mut inventory = Inventory::default();
    inventory.replace_devices(devices.to_vec());
    let named = containers.iter().cloned();
    inventory.containers = named.map(|(id, c)| (ContainerId(id.into()), c)).collect();
    inventory
}

fn lines(assigned: &Assignments, id: &str) -> Vec<String> {
    let wants = assigned.wants(&ContainerId(id.into())).iter();
    wants
        .map(|w| format!("{} {} {}", w.port, w.node, w.devnum))
        .collect()
}

#[test]
fn the_device_that_a_port_has_stays_and_else_the_lowest_by_path_is_taken() {
    let (first, second) = (device("ttyUSB0", "B"), device("ttyUSB1", "A"));
    let app = [("1", container("app", &[]))];
    let both = inventory(&[first.clone(), second.clone()], &app);
    let alone = inventory(&[second], &app);

    let fresh = assign(&settings(ZWAVE), &both, &LastDevices::default());
    assert_eq!(lines(&fresh, "1"), ["zwave /dev/zwave 188:0"]);
    let moved = assign(&settings(ZWAVE), &alone, &fresh.last_devices);
    assert_eq!(lines(&moved, "1"), ["zwave /dev/zwave 188:1"]);
    let kept = assign(&settings(ZWAVE), &both, &moved.last_devices);
    assert_eq!(lines(&kept, "1"), ["zwave /dev/zwave 188:1"]);
    let gone = assign(&settings(ZWAVE), &inventory(&[], &app), &kept.last_devices);
    assert_eq!(gone.last_devices, kept.last_devices);
    let absent = &gone
        .by_container
        .values()
        .next()
        .unwrap()
        .as_ref()
        .unwrap()
        .absent[0];
    assert_eq!((absent.port.as_str(), absent.links.len()), ("zwave", 2));
}

#[test]
fn one_port_serves_many_containers_and_one_container_has_many_ports() {
    let labels = [
        ("ttyplugd.enable", "true"),
        ("ttyplugd.port.zwave.use", "true"),
    ];
    let all = inventory(
        &[device("ttyUSB0", "A"), device("ttyUSB1", "B")],
        &[
            ("1", container("app", &[])),
            ("2", container("other", &labels)),
            ("3", container("nobody", &[])),
        ],
    );
    let assigned = assign(&settings(ZWAVE), &all, &LastDevices::default());
    assert_eq!(lines(&assigned, "1"), ["zwave /dev/zwave 188:0"]);
    assert_eq!(
        lines(&assigned, "2"),
        [
            "zwave /dev/zwave 188:0",
            "ttyUSB0 /dev/ttyUSB0 188:0",
            "ttyUSB1 /dev/ttyUSB1 188:1"
        ]
    );
    assert!(!assigned.by_container.contains_key(&ContainerId("3".into())));
    // A link belongs to the first port that has the device.
    let wants = assigned.wants(&ContainerId("2".into()));
    assert_eq!(
        wants.iter().map(|w| w.links.len()).collect::<Vec<_>>(),
        [2, 0, 2]
    );
}

#[test]
fn two_ports_on_one_node_are_a_conflict_that_the_first_by_name_wins() {
    let text = format!("{ZWAVE}{}", ZWAVE.replace("\"zwave\"", "\"aeotec\""));
    let one = inventory(&[device("ttyUSB0", "A")], &[("1", container("app", &[]))]);
    let assigned = assign(&settings(&text), &one, &LastDevices::default());
    assert_eq!(lines(&assigned, "1"), ["aeotec /dev/zwave 188:0"]);
    let assignment = assigned
        .by_container
        .values()
        .next()
        .unwrap()
        .as_ref()
        .unwrap();
    let conflict = assignment.conflicts[0].to_string();
    assert!(conflict.contains("port zwave is left out"), "{conflict}");
}

#[test]
fn a_bad_label_leaves_out_that_container_alone() {
    let all = inventory(
        &[device("ttyUSB0", "A")],
        &[
            ("1", container("app", &[("ttyplugd.enable", "maybe")])),
            ("2", container("app", &[("ttyplugd.enable", "true")])),
        ],
    );
    let assigned = assign(&settings(ZWAVE), &all, &LastDevices::default());
    assert!(assigned.by_container[&ContainerId("1".into())].is_err());
    assert_eq!(lines(&assigned, "2").len(), 2);
}

#[test]
fn labels_of_the_image_count_only_when_the_file_says_so() {
    let mut app = container("x", &[("ttyplugd.enable", "true")]);
    app.image_labels = Some(app.labels.clone());
    let all = inventory(&[device("ttyUSB0", "A")], &[("1", app)]);
    assert!(
        assign(&settings(""), &all, &LastDevices::default())
            .by_container
            .is_empty()
    );
    let assigned = assign(
        &settings("labels = \"image\""),
        &all,
        &LastDevices::default(),
    );
    assert_eq!(lines(&assigned, "1").len(), 1);
}

#[test]
fn stopped_containers_are_assigned_their_ports_too() {
    let mut app = container("app", &[]);
    app.state = ContainerState::Stopped;
    let all = inventory(&[device("ttyUSB0", "A")], &[("1", app)]);
    assert_eq!(
        lines(
            &assign(&settings(ZWAVE), &all, &LastDevices::default()),
            "1"
        )
        .len(),
        1
    );
}

#[test]
fn a_name_that_two_devices_claim_goes_to_one_and_is_reported() {
    let (mut a, mut b) = (device("ttyUSB0", "A"), device("ttyUSB1", "B"));
    let shared: NodePath = "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0"
        .parse()
        .unwrap();
    a.links.insert(shared.clone());
    b.links.insert(shared.clone());
    let all = inventory(
        &[a, b],
        &[("1", container("x", &[("ttyplugd.enable", "true")]))],
    );
    let assigned = assign(&settings(""), &all, &LastDevices::default());
    let assignment = assigned
        .by_container
        .values()
        .next()
        .unwrap()
        .as_ref()
        .unwrap();
    let holders: Vec<_> = assignment
        .wants
        .iter()
        .map(|w| w.links.contains(&shared))
        .collect();
    assert_eq!(holders, [true, false]);
    assert!(matches!(&assignment.conflicts[0], Conflict::Link { link, .. } if *link == shared));
    assert_eq!(shared_links(&all.devices)[&shared], ["ttyUSB0", "ttyUSB1"]);
}

#[test]
fn no_label_counts_while_nobody_knows_those_of_the_image() {
    let mut app = container("app", &[("ttyplugd.enable", "true")]);
    app.image_labels = None;
    let all = inventory(&[device("ttyUSB0", "A")], &[("1", app)]);
    let assigned = assign(&settings(ZWAVE), &all, &LastDevices::default());
    // Its name still does.
    assert_eq!(lines(&assigned, "1"), ["zwave /dev/zwave 188:0"]);
}

#[test]
fn a_node_below_another_one_is_a_conflict() {
    let below = ZWAVE
        .replace("\"zwave\"", "\"a\"")
        .replace("/dev/zwave", "/dev/zwave/stick");
    let one = inventory(&[device("ttyUSB0", "A")], &[("1", container("app", &[]))]);
    let text = format!("{ZWAVE}{below}");
    let assigned = assign(&settings(&text), &one, &LastDevices::default());
    assert_eq!(lines(&assigned, "1"), ["a /dev/zwave/stick 188:0"]);
}
