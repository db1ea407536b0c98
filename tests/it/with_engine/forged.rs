//! Messages that are not udevd's: libudev takes those of any process with CAP_NET_ADMIN in the
//! network namespace, such as one of a container on the host's network (netlink(7); systemd,
//! src/libsystemd/sd-device/device-monitor.c, `device_monitor_receive` checks for user 0).

use std::fs;
use std::time::{Duration, Instant};

use ttyplugd::container::uevent::{Action, Announcement};
use ttyplugd::model::device::Device;

use crate::testbed::{Container, Daemon, Port, Recipe, Testbed};

use super::grants::{may_open, opened};
use super::setup::{ENABLE, METER, ZWAVE, meter, stick};

/// The length of the header of a message (systemd, `monitor_netlink_header`).
const HEADER: usize = 40;

/// The place of the length of the properties in it.
const LENGTH: std::ops::Range<usize> = 20..24;

/// An unplug and a plug in a flood: far more than they take, and far less than a resync is away.
const SOON_ENOUGH: Duration = Duration::from_secs(15);

type Properties<'a> = &'a [(&'a str, &'a str)];

/// A message as udevd sends it: its header says that it is of a tty, whatever its properties say.
fn message(properties: Properties) -> Vec<u8> {
    let tty = [
        ("DEVPATH", "/devices/x"),
        ("DEVNAME", "/dev/x"),
        ("MAJOR", "1"),
        ("MINOR", "1"),
    ];
    let bytes = tty.map(|(key, value)| (key.as_bytes(), value.as_bytes()));
    let device = Device::from_properties(bytes, None, 0).expect("it has a node");
    let message = Announcement::new(&device, &device.node, &[]).message(Action::Add, 1);
    let own: String = properties
        .iter()
        .map(|(key, value)| format!("{key}={value}\0"))
        .collect();
    let mut message = message[..HEADER].to_vec();
    let length = u32::try_from(own.len()).expect("it is short");
    message[LENGTH].copy_from_slice(&length.to_ne_bytes());
    [message, own.into_bytes()].concat()
}

/// A container on the host's network with the one capability, which asks for every port.
struct Forger(Container);

impl Forger {
    fn start() -> Self {
        let recipe = Recipe::new("forger").image("uevents").network("host");
        let rights = ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"];
        let own = "ttyplugd.port.own.match=serial=FORGED";
        let node = "ttyplugd.port.own.node=/dev/own";
        let recipe = recipe.with(&rights).label(ENABLE);
        Self(recipe.label(own).label(node).start())
    }

    /// Sends each of the messages so many times.
    fn write(&self, messages: &[Vec<u8>]) {
        let framed = messages.iter().flat_map(|message| {
            let length = u32::try_from(message.len()).expect("it is short");
            [&length.to_ne_bytes()[..], message].concat()
        });
        let file = self.0.path("/tmp/messages");
        fs::write(file, framed.collect::<Vec<_>>()).expect("root can write there");
    }

    fn send(&self, properties: Properties) {
        self.send_raw(&message(properties));
    }

    fn send_raw(&self, message: &[u8]) {
        self.write(&[message.to_vec()]);
        self.0.sh("uevents 1 /tmp/messages");
    }
}

/// What the daemon is to believe of a device with the number of /dev/kvm.
fn add_of<'a>(devpath: &'a str, devname: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("ACTION", "add"),
        ("DEVPATH", devpath),
        ("SUBSYSTEM", "tty"),
        ("DEVNAME", devname),
        ("MAJOR", "10"),
        ("MINOR", "232"),
        ("SEQNUM", "4711"),
        ("USEC_INITIALIZED", "1"),
        ("ID_BUS", "usb"),
        ("ID_VENDOR_ID", "0658"),
        ("ID_SERIAL_SHORT", "FORGED"),
        ("TAGS", ":ttyplugd:"),
        ("CURRENT_TAGS", ":ttyplugd:"),
    ]
}

/// The same with other values for some properties.
fn with<'a>(
    mut properties: Vec<(&'a str, &'a str)>,
    other: Properties<'a>,
) -> Vec<(&'a str, &'a str)> {
    properties.retain(|(key, _)| other.iter().all(|(changed, _)| changed != key));
    properties.extend(other);
    properties
}

/// A container with a stick, a second one for it, the forger, and the daemon.
fn victim() -> (Testbed, Container, Forger, Daemon, Port) {
    let bed = Testbed::with_config(&format!("{ZWAVE}{METER}"));
    let (container, forger) = (Recipe::new("zwave").start(), Forger::start());
    let daemon = bed.daemon();
    let port = stick(63);
    port.plug();
    container.has_port(&port);
    forger.0.has_port(&port.clone().at(&port.host_node()));
    (bed, container, forger, daemon, port)
}

/// Waits until the daemon has handled everything that was sent before, and looks whether the forger
/// has anything but what is plugged in.
#[track_caller]
fn has_got_nothing(forger: &Forger, victim: &Container, plugged: &Port) {
    let next = meter(62);
    next.plug();
    victim.has_port(&next);
    let of_host = [next.clone(), plugged.clone()].map(|port| port.clone().at(&port.host_node()));
    forger.0.has_port(&of_host[0]);
    // The next resync would take back what it has got.
    let names = |port: &Port| [port.links(), vec![port.container_node()]].concat();
    let mut expected: Vec<String> = of_host.iter().flat_map(names).collect();
    expected.sort();
    assert_eq!(forger.0.own_names(), expected);
    next.unplug();
    victim.lacks_port(&next);
}

#[test]
fn a_device_that_only_a_message_knows_is_given_to_nobody() {
    let (_bed, victim, forger, daemon, port) = victim();
    let before = opened(&forger.0);
    // A console that udev has not described, another device, nothing at all, and paths that lead
    // elsewhere.
    let unknown = Port::new(60);
    let syspath = format!("/devices/virtual/tty/{}", unknown.sysname());
    let long = format!("/devices/virtual/tty/{}", "t".repeat(300));
    for devpath in [
        &syspath,
        "/devices/virtual/tty/tty55",
        "/devices/virtual/misc/kvm",
        "/devices/virtual/mem/null",
        "/devices/virtual/tty/ttyUSB99",
        "/devices/virtual/tty/tty60/../../mem/zero",
        "/devices/virtual/tty/..",
        "/devices/virtual/tty/.",
        "/devices/virtual/tty/",
        "/devices/virtual/tty/tty!60",
        "/devices/virtual/tty/!etc!passwd",
        "/devices/virtual/tty/console",
        "/devices/virtual/tty/ptmx",
        &long,
        "/",
        "/class/tty/tty60",
    ] {
        for devname in ["/dev/ttyUSB7", "/dev/kvm", &unknown.host_node()] {
            forger.send(&add_of(devpath, devname));
            forger.send(&with(add_of(devpath, devname), &[("ACTION", "change")]));
        }
    }
    let of_another_subsystem = [("SUBSYSTEM", "misc")];
    forger.send(&with(
        add_of("/devices/virtual/misc/kvm", "/dev/kvm"),
        &of_another_subsystem,
    ));
    forger.send(&with(
        add_of(&syspath, "/dev/ttyUSB7"),
        &of_another_subsystem,
    ));
    has_got_nothing(&forger, &victim, &port);
    may_open(&forger.0, &before, &[]);
    daemon.stop();
}

#[test]
fn what_a_message_says_of_a_plugged_in_device_changes_nothing() {
    let (_bed, victim, forger, daemon, port) = victim();
    let syspath = format!("/devices/virtual/tty/{}", port.sysname());
    let victims = victim.watch("/dev/zwave");
    let forged = add_of(&syspath, "/dev/kvm");
    for other in [
        &[("ACTION", "change")][..],
        &[("ACTION", "add")],
        &[("ACTION", "bind"), ("MAJOR", "4"), ("DEVNAME", "/dev/tty0")],
        &[("ACTION", "change"), ("ID_SERIAL_SHORT", "M1")],
        &[("ACTION", "change"), ("TTYPLUGD_IGNORE", "1")],
        &[("ACTION", "change"), ("DEVLINKS", "/dev/serial/by-id/mine")],
        &[
            ("ACTION", "move"),
            ("DEVPATH_OLD", "/devices/virtual/tty/tty1"),
        ],
    ] {
        forger.send(&with(forged.clone(), other));
    }
    has_got_nothing(&forger, &victim, &port);
    assert_eq!(victims.stop(), [port.entry()]);
    daemon.stop();
}

#[test]
fn a_device_that_only_a_message_has_removed_is_still_there() {
    let (bed, victim, forger, daemon, port) = victim();
    let syspath = format!("/devices/virtual/tty/{}", port.sysname());
    let node = victim.watch("/dev/zwave");
    for action in ["remove", "unbind", "offline", "nonsense", ""] {
        forger.send(&with(add_of(&syspath, "/dev/x"), &[("ACTION", action)]));
    }
    // As the kernel sends it (lib/kobject_uevent.c).
    forger.send_raw(
        format!("remove@{syspath}\0ACTION=remove\0DEVPATH={syspath}\0SUBSYSTEM=tty\0SEQNUM=4711\0")
            .as_bytes(),
    );
    has_got_nothing(&forger, &victim, &port);
    let status = bed.status().expect("the daemon answers");
    let ports = status["ports"].as_array().expect("it has ports");
    let is_ready =
        |port: &&serde_json::Value| port["device"].is_string() && port["state"] == "ready";
    assert_eq!(ports.iter().filter(is_ready).count(), 2, "{status}");
    assert_eq!(node.stop(), [port.entry()]);
    assert_eq!(daemon.count(&["node removed", &port.devnum()]), 0);
    // One that the kernel has sent is.
    port.unplug();
    victim.has_only(&[]);
    daemon.stop();
}

/// More messages than anybody can read, of devices that exist and of such that do not.
#[test]
fn a_flood_of_messages_delays_no_port_and_says_so_once() {
    let (bed, victim, forger, daemon, port) = victim();
    let consoles = (0..64).map(|number| format!("/devices/virtual/tty/tty{number}"));
    let others = (0..64).map(|number| format!("/devices/virtual/tty/ttyUSB{number}"));
    let messages: Vec<_> = consoles
        .chain(others)
        .map(|syspath| message(&with(add_of(&syspath, "/dev/x"), &[("ACTION", "change")])))
        .collect();
    forger.write(&messages);
    forger
        .0
        .sh_detached("while [ ! -e /tmp/stop ]; do uevents 1000 /tmp/messages; done");
    for _ in 0..5 {
        let begin = Instant::now();
        port.unplug();
        victim.has_only(&[]);
        bed.status().expect("the daemon answers");
        port.plug();
        victim.has_port(&port);
        assert!(begin.elapsed() < SOON_ENOUGH, "{:?}", begin.elapsed());
    }
    forger.0.sh("touch /tmp/stop");
    assert_eq!(daemon.count(&["events were lost"]), 1, "{}", daemon.log());
    daemon.stop();
}
