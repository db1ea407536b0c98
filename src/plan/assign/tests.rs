use super::*;
use crate::config::fixtures::settings;
use crate::model::fixtures::{container, device};
use crate::model::inventory::ContainerState;
use crate::plan::last_devices::LastDevices;

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
    inventory.containers = named
        .map(|(id, c)| (ContainerId::of_docker(id.into()), c))
        .collect();
    inventory
}

fn lines(assigned: &Assignments, id: &str) -> Vec<String> {
    let wants = assigned.wants(&ContainerId::of_docker(id.into())).iter();
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
    // Of both devices that it has had.
    assert_eq!((absent.port.as_str(), absent.names.len()), ("zwave", 4));
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
    assert!(
        !assigned
            .by_container
            .contains_key(&ContainerId::of_docker("3".into()))
    );
    // A link belongs to the first port that has the device.
    let wants = assigned.wants(&ContainerId::of_docker("2".into()));
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
    assert!(assigned.by_container[&ContainerId::of_docker("1".into())].is_err());
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

/// The names by which early opens of what is not plugged in are held in the container "1".
fn held(assigned: &Assignments) -> Vec<String> {
    let assignment = assigned.by_container[&ContainerId::of_docker("1".into())].as_ref();
    let ports = assignment.unwrap().ports(|_, _| true);
    let waiting = ports.ports.iter().filter(|port| !port.ready);
    let names = waiting.flat_map(|port| port.names.clone());
    names.chain(ports.every_names.clone()).collect()
}

/// What is assigned after these devices were plugged in, one set after the other.
fn after(settings: &str, labels: &[(&str, &str)], plugged: &[&[Device]]) -> Assignments {
    let settings = self::settings(settings);
    let mut assigned = Assignments::default();
    for devices in plugged {
        let inventory = inventory(devices, &[("1", container("app", labels))]);
        assigned = assign(&settings, &inventory, &assigned.last_devices);
    }
    assigned
}

#[test]
fn a_port_under_the_hosts_name_is_known_by_every_name_that_it_has_had() {
    let port = "[[port]]\nname = \"zwave\"\nmatch = { serial = \"A\" }\ncontainers = [\"app\"]";
    let as_number = |number: u32| device(&format!("ttyUSB{number}"), "A");
    assert_eq!(held(&after(port, &[], &[&[]])), [""; 0]);
    let replugged = after(port, &[], &[&[as_number(0)], &[], &[as_number(1)], &[]]);
    let names = held(&replugged);
    assert_eq!(names[..2], ["/dev/ttyUSB1", "/dev/ttyUSB0"]);
    assert!(
        names.contains(&"/dev/serial/by-id/usb-A-if00".to_owned()),
        "{names:?}"
    );

    // Another device has one of them now, so the port comes back under another name.
    let taken = [device("ttyUSB0", "B")];
    let names = held(&after(
        port,
        &[],
        &[&[as_number(0)], &[as_number(1)], &taken],
    ));
    assert_eq!(names[0], "/dev/ttyUSB1");
    assert!(!names.contains(&"/dev/ttyUSB0".to_owned()), "{names:?}");

    // The host's name is none of a port that has its own.
    let own = format!("{port}\nnode = \"/dev/zwave\"");
    let names = held(&after(&own, &[], &[&[as_number(0)], &[]]));
    assert_eq!(names[0], "/dev/zwave");
    assert!(!names.contains(&"/dev/ttyUSB0".to_owned()), "{names:?}");

    // A device that has another name at every plug.
    let many: Vec<_> = (0..100).map(|number| vec![as_number(number)]).collect();
    let mut many: Vec<&[Device]> = many.iter().map(Vec::as_slice).collect();
    many.push(&[]);
    let names = held(&after(port, &[], &many));
    assert_eq!(names[0], "/dev/ttyUSB99");
    assert_eq!(names.len(), 16);
}

#[test]
fn the_name_of_a_port_is_concluded_from_its_match() {
    let port = "[[port]]\nname = \"x\"\ncontainers = [\"app\"]\nmatch = ";
    for (of_match, expected) in [
        ("{ sysname = \"ttyAMA0\" }", &["/dev/ttyAMA0"][..]),
        (
            "{ sysname = \"/dev/ttyAMA0\", driver = \"*\" }",
            &["/dev/ttyAMA0"],
        ),
        ("{ sysname = \"ttyAMA*\" }", &[]),
        ("{ link = \"/dev/serial0\" }", &["/dev/serial0"]),
        ("{ link = \"serial?\" }", &[]),
        (
            "{ by-id = \"/dev/serial/by-id/x\", by-path = \"y\" }",
            &["/dev/serial/by-id/x", "/dev/serial/by-path/y"],
        ),
        ("{ sysname = \"ttyAMA0\" }\nnode = \"/dev/x\"", &["/dev/x"]),
    ] {
        let assigned = after(&format!("{port}{of_match}"), &[], &[&[]]);
        assert_eq!(held(&assigned), expected, "{of_match}");
    }
}

#[test]
fn a_port_that_a_rule_of_the_operators_offers_is_known_by_the_names_that_it_has_had() {
    let every = [("ttyplugd.enable", "true")];
    let (odd, usual) = (device("ttyXRUSB0", "A"), device("ttyUSB0", "B"));
    let other = device("ttyXRUSB1", "C");
    let plugged: [&[Device]; 3] = [&[odd.clone(), usual.clone()], &[odd, other], &[]];
    assert_eq!(held(&after("", &every, &plugged[..1])), [""; 0]);
    let names = held(&after("", &every, &plugged));
    assert_eq!(names, ["/dev/ttyXRUSB0", "/dev/ttyXRUSB1"]);
    // A container that has not asked for it knows nothing of it.
    let own = [("ttyplugd.port.x.match", "serial=B")];
    let names = held(&after("", &own, &plugged));
    assert!(!names.contains(&"/dev/ttyXRUSB0".to_owned()), "{names:?}");
    assert!(names.contains(&"/dev/ttyUSB0".to_owned()), "{names:?}");
}

/// Whose instructions tests/instructions.sh counts: half of the containers ask by label for all
/// ports, and half are named in the file.
#[test]
fn many_containers_have_many_ports() {
    let devices: Vec<Device> = (0..8)
        .map(|n| device(&format!("ttyUSB{n}"), &format!("S{n}")))
        .collect();
    let ids: Vec<String> = (0..32).map(|n| format!("{n:02}")).collect();
    let containers: Vec<(&str, Container)> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| match n % 2 {
            0 => (&**id, container(id, &[("ttyplugd.enable", "true")])),
            _ => (&**id, container(&format!("app-{id}"), &[])),
        })
        .collect();
    let port = |n| {
        format!(
            "[[port]]\nname = \"p{n}\"\nmatch = {{ serial = \"S{n}\" }}\nnode = \"/dev/p{n}\"\n\
             containers = [\"app-*\"]\n"
        )
    };
    let file: String = (0..8).map(port).collect();
    let all = inventory(&devices, &containers);
    let assigned = assign(&settings(&file), &all, &LastDevices::default());
    for id in &ids {
        assert_eq!(lines(&assigned, id).len(), 8, "{id}");
    }
}
