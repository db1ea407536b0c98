//! Serial ports that can be plugged in: virtual consoles that nobody uses, with a udev rule
//! (tests/with-engine.sh) that gives them the identity which a test wrote for them.
//!
//! Writing to `uevent` in sysfs makes the kernel send a real uevent
//! (Documentation/ABI/testing/sysfs-uevent). The device stays in sysfs after a `remove`, but what
//! udev knew of it is gone and so are its links, as with a real one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::entry::{Entry, Node};
use super::wait::{output, run, until};
use super::{HINT, test_dir};

const NUMBERS: std::ops::RangeInclusive<u64> = 60..=63;

/// The major number of virtual consoles (Documentation/admin-guide/devices.txt).
pub(crate) const MAJOR: u64 = 4;

/// A port, and what a container that is to have it gets.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    number: u64,
    properties: BTreeMap<String, Vec<u8>>,
    container_node: Option<String>,
    mode: Option<u32>,
    owner: u32,
    group: Option<u32>,
}

impl Port {
    /// A Z-Wave stick at ttyNUMBER that is like no other port's but in vendor and product.
    pub(crate) fn new(number: u64) -> Self {
        assert!(NUMBERS.contains(&number));
        let path = format!("pci-0000:00:14.0-usb-0:{number}:1.0");
        Self {
            number,
            properties: BTreeMap::new(),
            container_node: None,
            mode: None,
            owner: 0,
            group: None,
        }
        .with("ID_BUS", "usb")
        .with("ID_VENDOR_ID", "0658")
        .with("ID_MODEL_ID", "0200")
        .with("ID_SERIAL_SHORT", format!("T{number}"))
        .with("ID_PATH", &path)
        .with("ID_USB_INTERFACE_NUM", "00")
        .with("ID_USB_DRIVER", "cdc_acm")
        .with("TEST_BY_ID", format!("usb-Test_T{number}-if00"))
        .with("TEST_BY_PATH", path)
    }

    /// Each that there is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        NUMBERS.map(Self::new)
    }

    /// Sets a property, for the next [`Port::plug`]. `TEST_BY_ID` and `TEST_BY_PATH` become
    /// links in /dev/serial, and `TEST_LINK` one in /dev.
    pub(crate) fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.properties.insert(key.into(), value.as_ref().to_vec());
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.properties.remove(key);
        self
    }

    /// Where a container gets its node: under the host's name unless a configuration says otherwise.
    pub(crate) fn at(self, node: &str) -> Self {
        let container_node = Some(node.to_owned());
        Self {
            container_node,
            ..self
        }
    }

    /// The mode in a container, the host's unless a configuration says otherwise.
    pub(crate) fn mode(self, mode: u32) -> Self {
        let mode = Some(mode);
        Self { mode, ..self }
    }

    /// The owner in a container, root unless a configuration says otherwise.
    pub(crate) fn owner(self, owner: u32) -> Self {
        Self { owner, ..self }
    }

    /// The group in a container, the host's unless a configuration says otherwise.
    pub(crate) fn group(self, group: u32) -> Self {
        let group = Some(group);
        Self { group, ..self }
    }

    /// The host's name for it, e.g. /dev/tty63.
    pub(crate) fn host_node(&self) -> String {
        format!("/dev/{}", self.sysname())
    }

    /// The kernel's name for it, e.g. tty63.
    pub(crate) fn sysname(&self) -> String {
        format!("tty{}", self.minor())
    }

    /// Each lane has ttys of its own for the ports 60 to 63 (tests/with-engine.sh).
    pub(crate) fn minor(&self) -> u64 {
        let first = std::env::var("TTYPLUGD_TEST_TTYS").expect(HINT);
        let first: u64 = first.parse().expect("it is a number");
        first + self.number - NUMBERS.start()
    }

    /// Its device number, e.g. 4:63.
    pub(crate) fn devnum(&self) -> String {
        format!("{MAJOR}:{}", self.minor())
    }

    /// Its link in /dev/serial/by-id.
    pub(crate) fn by_id(&self) -> String {
        self.link_in("/dev/serial/by-id", "TEST_BY_ID")
            .expect("it has one")
    }

    /// Its link in /dev/serial/by-path.
    pub(crate) fn by_path(&self) -> String {
        self.link_in("/dev/serial/by-path", "TEST_BY_PATH")
            .expect("it has one")
    }

    /// All its links, in alphabetical order.
    pub(crate) fn links(&self) -> Vec<String> {
        let by_id = self.link_in("/dev/serial/by-id", "TEST_BY_ID");
        let by_path = self.link_in("/dev/serial/by-path", "TEST_BY_PATH");
        let own = self.link_in("/dev", "TEST_LINK");
        let mut links: Vec<_> = [by_id, by_path, own].into_iter().flatten().collect();
        links.sort_unstable();
        links
    }

    fn link_in(&self, directory: &str, property: &str) -> Option<String> {
        let name = String::from_utf8_lossy(self.properties.get(property)?);
        Some(format!("{directory}/{name}"))
    }

    /// Plugs it in and waits until udevd is done with it.
    pub(crate) fn plug(&self) -> &Self {
        self.describe();
        self.uevent("add");
        settle();
        self
    }

    pub(crate) fn unplug(&self) {
        self.uevent("remove");
        settle();
    }

    /// The same without waiting for anything: `add` or `remove`.
    pub(crate) fn announce(&self, action: &str) {
        self.describe();
        self.uevent(action);
    }

    /// Writes its properties to where udevd will read them.
    pub(crate) fn describe(&self) {
        let mut lines = Vec::new();
        for (key, value) in &self.properties {
            lines.extend([key.as_bytes(), b"=", value, b"\n"].concat());
        }
        let file = test_dir().join(format!("ports/{}", self.sysname()));
        fs::write(file, lines).expect("the directory of the ports can be written to");
    }

    /// Has the kernel send one uevent, and does not wait for anything.
    pub(crate) fn uevent(&self, action: &str) {
        let file = PathBuf::from(format!("/sys/class/tty/{}/uevent", self.sysname()));
        fs::write(&file, action).expect("root can write to sysfs");
    }

    /// Where a container has its node.
    pub(crate) fn container_node(&self) -> String {
        let node = self.container_node.clone();
        node.unwrap_or_else(|| self.host_node())
    }

    /// The node that a container gets.
    pub(crate) fn node(&self) -> Node {
        let Entry::Node(host) = Entry::at(&PathBuf::from(self.host_node())) else {
            panic!("{} is no device", self.host_node());
        };
        assert_eq!((host.major, host.minor), (MAJOR, self.minor()));
        Node {
            mode: self.mode.unwrap_or(host.mode),
            uid: self.owner,
            gid: self.group.unwrap_or(host.gid),
            ..host
        }
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry::Node(self.node())
    }

    /// The link at a path in a container. It is relative, as udev's own are.
    pub(crate) fn link_at(&self, path: &str) -> Entry {
        let below_dev = path.matches('/').count() - 2;
        let node = self.container_node();
        Entry::link(&node.replacen("/dev/", &"../".repeat(below_dev), 1))
    }
}

/// A rule with a program that udevd waits for at an unplug before it tells anybody (udev(7), RUN). It ends
/// with this.
pub(crate) struct SlowRule {
    end: PathBuf,
}

impl SlowRule {
    const FILE: &str = "/run/udev/rules.d/99-ttyplugd-slow.rules";

    pub(crate) fn of(port: &Port) -> Self {
        let end = test_dir().join("end-of-slow-rule");
        let program = format!("until [ -e {} ]; do sleep 0.1; done", end.display());
        let sysname = port.sysname();
        let rule =
            format!("ACTION==\"remove\", KERNEL==\"{sysname}\", RUN+=\"/bin/sh -c '{program}'\"\n");
        fs::write(Self::FILE, rule).expect("root can write there");
        run("udevadm", &["control", "--reload"]);
        Self { end }
    }
}

impl Drop for SlowRule {
    fn drop(&mut self) {
        let _ = fs::remove_file(Self::FILE);
        output("udevadm", &["control", "--reload"]);
        let _ = fs::write(&self.end, "");
        settle();
        let _ = fs::remove_file(&self.end);
    }
}

/// Keeps udevd from handling any event, as one that hangs or has ended would.
pub(crate) struct HaltedUdevd;

impl HaltedUdevd {
    pub(crate) fn new() -> Self {
        run("udevadm", &["control", "--stop-exec-queue"]);
        Self
    }
}

impl Drop for HaltedUdevd {
    fn drop(&mut self) {
        output("udevadm", &["control", "--start-exec-queue"]);
    }
}

/// Waits until udevd has handled every event so far. udevd can close the connection over which it is
/// asked ("Failed to wait for daemon to reply: Broken pipe"), and is asked again then.
pub(crate) fn settle() {
    until("udevd has handled every event", || {
        let settled = output("udevadm", &["settle", "--timeout=30"]);
        match settled.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&settled.stderr).into_owned()),
        }
    });
}
