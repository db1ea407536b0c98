//! Applications in a container hear of their ports as those on the host do: a real libudev listens.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::testbed::proxy::Proxy;
use crate::testbed::{Container, Port, Process, Recipe, Testbed, until};

use super::setup::{ZWAVE, setup, stick, unplugged, unplugged_with};

/// `udevadm monitor` in a container's network namespace.
struct Listener(Process);

impl Listener {
    fn start(container: &Container) -> Self {
        let pid = container.inspect("{{.State.Pid}}");
        let monitor = "stdbuf --output=L udevadm monitor --udev --property --subsystem-match=tty";
        let listener = Self(Process::start(
            Command::new("nsenter")
                .args(["--target", &pid, "--net", "--"])
                .args(monitor.split(' '))
                .stdout(Stdio::piped()),
        ));
        // It listens from this line on, and not from the one before.
        listener.hears(1, &["UDEV - the event"]);
        listener
    }

    /// Waits until it has heard so many events with all of these words.
    #[track_caller]
    fn hears(&self, count: usize, words: &[&str]) {
        until(&format!("{count} events with {words:?} are heard"), || {
            if self.count(words) == count {
                return Ok(());
            }
            Err(self.0.text())
        });
    }

    /// How many events it has heard so far, no less and no more.
    #[track_caller]
    fn has_heard(&self, count: usize, words: &[&str]) {
        assert_eq!(self.count(words), count, "{words:?}\n{}", self.0.text());
    }

    /// An empty line comes after each event.
    fn count(&self, words: &[&str]) -> usize {
        let text = self.0.text();
        let events = text.split("\n\n");
        let fits = |event: &&str| words.iter().all(|word| event.contains(word));
        events.filter(fits).count()
    }
}

fn of(port: &Port) -> String {
    format!("MINOR={}\n", port.minor())
}

#[test]
fn a_plug_and_an_unplug_are_heard_with_the_names_that_the_container_has() {
    let (_bed, container, daemon, port) = unplugged();
    let listener = Listener::start(&container);
    port.plug();
    let named = "DEVNAME=/dev/zwave";
    listener.hears(1, &["ACTION=add", named, "ID_SERIAL_SHORT=Z1", &of(&port)]);
    assert!(container.at("/dev/zwave") == port.entry());
    port.unplug();
    listener.hears(1, &["ACTION=remove", named]);
    listener.has_heard(2, &[named]);
    // Another device under the same name is a plug of its own.
    let other = stick(61);
    other.plug();
    listener.hears(1, &["ACTION=add", &of(&other)]);
    listener.has_heard(2, &["ACTION=add"]);
    daemon.stop();
}

/// A network namespace outlives its container while a thread is in it, and its addresses with it.
#[test]
fn no_thread_stays_in_the_network_of_a_container() {
    let (_bed, container, daemon, port) = unplugged();
    let listener = Listener::start(&container);
    port.plug();
    listener.hears(1, &["ACTION=add", &of(&port)]);
    // A thread that has nothing to do is kept for longer.
    sleep(Duration::from_millis(50));
    let process = PathBuf::from(format!("/proc/{}", daemon.pid()));
    let network = |of: PathBuf| fs::read_link(of.join("ns/net")).ok();
    let threads = fs::read_dir(process.join("task")).expect("the daemon runs");
    let networks = threads.filter_map(|thread| network(thread.expect("it is read").path()));
    let own = network(process.clone()).expect("the daemon runs");
    let networks: Vec<_> = networks.collect();
    assert!(
        networks.iter().all(|network| *network == own),
        "{own:?} {networks:?}"
    );
    daemon.stop();
}

/// What pyudev's `device.get` and libudev's `udev_device_get_property_value` look up in an event.
#[test]
fn all_that_udevs_database_has_of_a_port_is_heard() {
    let (_bed, container, daemon, port) = unplugged();
    let listener = Listener::start(&container);
    let all = [
        "ID_SERIAL=Silicon_Labs_CP2102_Z1",
        "ID_USB_INTERFACES=:ff0000:",
        "ID_MODEL_ENC=CP2102\\x20USB\\x20to\\x20UART",
        "SYSTEMD_WANTS=reader.service",
        "OF_AN_OPERATORS_RULE=1",
    ];
    let with = |port: Port, property: &&str| {
        let (key, value) = property.split_once('=').expect("it has a value");
        port.with(key, value)
    };
    let port = all.iter().fold(port, with);
    port.plug();
    for property in all {
        listener.hears(1, &["ACTION=add", property]);
    }
    // More than a message can have: what fits is heard, and the device with it.
    let other = (0..40).fold(stick(62), |port, number| {
        port.with(&format!("LONG_{number}"), "x".repeat(500))
    });
    port.unplug();
    other.plug();
    container.has_port(&other);
    listener.hears(
        1,
        &["ACTION=add", &of(&other), "ID_SERIAL_SHORT=Z1", "LONG_1="],
    );
    daemon.stop();
}

#[test]
fn what_udev_says_anew_of_a_port_is_heard_as_a_change() {
    let (_bed, container, daemon, port) = unplugged();
    let listener = Listener::start(&container);
    port.plug();
    listener.hears(1, &["ACTION=add"]);
    let port = port.with("TEST_BY_ID", "usb-Renamed");
    port.announce("change");
    listener.hears(1, &["ACTION=change", &port.by_id()]);
    listener.has_heard(1, &["ACTION=add"]);
    daemon.stop();
}

#[test]
fn a_port_is_said_to_have_gone_when_it_has() {
    let bed = Testbed::with_config(&format!("inject = \"exec\"\n{ZWAVE}"));
    let proxy = Proxy::start(&bed);
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon_at(&proxy.host());
    let listener = Listener::start(&container);
    let port = stick(63);
    port.plug();
    listener.hears(1, &["ACTION=add"]);
    proxy.fail("/exec");
    port.unplug();
    until("the failed call is tried again", || proxy.failed() >= 2);
    assert_eq!(container.at("/dev/zwave"), port.entry());
    listener.has_heard(0, &["ACTION=remove"]);
    proxy.heal();
    container.loses("/dev/zwave");
    listener.hears(1, &["ACTION=remove"]);
    listener.has_heard(1, &["ACTION=add"]);
    daemon.stop();
}

#[test]
fn a_device_of_somebody_else_is_not_heard_of() {
    let (_bed, container, _daemon, port) = unplugged();
    let listener = Listener::start(&container);
    let other = Port::new(62);
    other.plug();
    port.plug();
    listener.hears(1, &[&of(&port)]);
    listener.has_heard(0, &[&of(&other)]);
}

#[test]
fn what_the_host_hears_from_udevd_it_does_not_hear_again() {
    let recipe = Recipe::new("zwave").network("host");
    let (_bed, container, daemon, port) = setup(Testbed::with_config(ZWAVE), recipe);
    let listener = Listener::start(&container);
    port.plug();
    container.has_port(&port);
    port.unplug();
    container.lacks_port(&port);
    listener.hears(1, &["ACTION=remove", &of(&port)]);
    listener.has_heard(1, &["ACTION=add", &of(&port)]);
    listener.has_heard(0, &["/dev/zwave"]);
    daemon.stop();
}

#[test]
fn nothing_is_announced_where_that_is_switched_off() {
    let (bed, container, daemon, port) = unplugged_with(&format!("announce = false\n{ZWAVE}"));
    let listener = Listener::start(&container);
    port.plug();
    container.has_port(&port);
    daemon.logs(&["node made"]);
    bed.configure(ZWAVE);
    daemon.reload();
    daemon.logs(&["configuration reloaded"]);
    port.unplug();
    listener.hears(1, &["ACTION=remove"]);
    listener.has_heard(0, &["ACTION=add"]);
}
