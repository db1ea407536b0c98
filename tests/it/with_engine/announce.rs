//! Applications in a container hear of their ports as those on the host do: a real libudev listens.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::bed::proxy::{Proxy, socket_of};
use crate::bed::{Bed, Container, Port, Recipe, SOON, docker_host, eventually};

use super::ZWAVE;

fn stick(number: u64) -> Port {
    Port::new(number).with("ID_SERIAL_SHORT", "Z1")
}

/// `udevadm monitor` in a container's network namespace.
struct Listener {
    child: Child,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn start(container: &Container) -> Self {
        let pid = container.inspect("{{.State.Pid}}");
        let monitor = [
            "udevadm",
            "monitor",
            "--udev",
            "--property",
            "--subsystem-match=tty",
        ];
        let mut child = Command::new("nsenter")
            .args(["--target", &pid, "--net", "--", "stdbuf", "--output=L"])
            .args(monitor)
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter, of util-linux, runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().expect("nobody panics with it").push(line);
            }
        });
        let listener = Self { child, heard };
        // It listens from this line on, and not from the one before.
        listener.hears(1, "UDEV - the event");
        listener
    }

    /// Waits until it has heard a line with these words so many times.
    fn hears(&self, count: usize, words: &str) {
        eventually(
            SOON,
            &format!("{count} lines with {words:?} are heard"),
            || {
                let heard = self.count(words);
                (heard == count).then_some(()).ok_or_else(|| self.all())
            },
        );
    }

    fn count(&self, words: &str) -> usize {
        let heard = self.heard.lock().expect("nobody panics with it");
        heard.iter().filter(|line| line.contains(words)).count()
    }

    fn all(&self) -> String {
        self.heard.lock().expect("nobody panics with it").join("\n")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_plug_and_an_unplug_are_heard_with_the_names_that_the_container_has() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    let listener = Listener::start(&container);
    let port = stick(63);
    port.plug();
    listener.hears(1, "ACTION=add");
    listener.hears(1, "DEVNAME=/dev/zwave");
    listener.hears(1, "ID_SERIAL_SHORT=Z1");
    listener.hears(1, &format!("MINOR={}", stick(63).minor()));
    assert!(container.at("/dev/zwave") == port.entry());
    port.unplug();
    listener.hears(1, "ACTION=remove");
    listener.hears(2, "DEVNAME=/dev/zwave");
    // Another device under the same name is a plug of its own.
    let other = stick(61);
    other.plug();
    listener.hears(2, "ACTION=add");
    listener.hears(1, &format!("MINOR={}", stick(61).minor()));
    daemon.stop();
}

#[test]
fn what_udev_says_anew_of_a_port_is_heard_as_a_change() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    let listener = Listener::start(&container);
    stick(63).plug();
    listener.hears(1, "ACTION=add");
    let port = stick(63).with("TEST_BY_ID", "usb-Renamed");
    port.describe();
    port.uevent("change");
    listener.hears(1, "ACTION=change");
    // udevadm shows links in an order of its own.
    listener.hears(1, "/dev/serial/by-id/usb-Renamed");
    assert_eq!(listener.count("ACTION=add"), 1, "{}", listener.all());
    daemon.stop();
}

#[test]
fn a_port_is_said_to_have_gone_when_it_has() {
    let bed = Bed::with_config(&format!("inject = \"exec\"\n{ZWAVE}"));
    let proxy = Proxy::start(bed.file("proxy.sock"), socket_of(&docker_host()).into());
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon_at(&proxy.host());
    let listener = Listener::start(&container);
    let port = stick(63);
    port.plug();
    listener.hears(1, "ACTION=add");
    proxy.fail("/exec");
    port.unplug();
    eventually(SOON, "the failed call is tried again", || {
        (proxy.failed() >= 2)
            .then_some(())
            .ok_or_else(|| daemon.log())
    });
    assert_eq!(container.at("/dev/zwave"), port.entry());
    assert_eq!(listener.count("ACTION=remove"), 0, "{}", listener.all());
    proxy.heal();
    container.loses("/dev/zwave");
    listener.hears(1, "ACTION=remove");
    assert_eq!(listener.count("ACTION=add"), 1, "{}", listener.all());
    daemon.stop();
}

#[test]
fn a_device_of_somebody_else_is_not_heard_of() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").start();
    let _daemon = bed.daemon();
    let listener = Listener::start(&container);
    Port::new(62).plug();
    stick(63).plug();
    listener.hears(1, &format!("MINOR={}", stick(63).minor()));
    assert_eq!(
        listener.count(&format!("MINOR={}", stick(62).minor())),
        0,
        "{}",
        listener.all()
    );
}

#[test]
fn what_the_host_hears_from_udevd_it_does_not_hear_again() {
    let bed = Bed::with_config(ZWAVE);
    let container = Recipe::new("zwave").network("host").start();
    let daemon = bed.daemon();
    let listener = Listener::start(&container);
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    port.unplug();
    container.loses("/dev/zwave");
    listener.hears(1, "ACTION=remove");
    assert_eq!(listener.count("ACTION=add"), 1, "{}", listener.all());
    assert_eq!(listener.count("/dev/zwave"), 0, "{}", listener.all());
    daemon.stop();
}

#[test]
fn nothing_is_announced_where_that_is_switched_off() {
    let bed = Bed::with_config(&format!("announce = false\n{ZWAVE}"));
    let container = Recipe::new("zwave").start();
    let daemon = bed.daemon();
    let listener = Listener::start(&container);
    let port = stick(63);
    port.plug();
    container.gets("/dev/zwave", &port.entry());
    daemon.logs(&["node made"]);
    bed.configure(ZWAVE);
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.logs(&["configuration read again"]);
    port.unplug();
    listener.hears(1, "ACTION=remove");
    assert_eq!(listener.count("ACTION=add"), 0, "{}", listener.all());
}
