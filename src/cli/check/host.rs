//! Conflicts on the host: other programs that use a port, and the kernel's console.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::brltty::{self, Rule};
use super::codes;
use super::finding::Report;
use super::kernel::{self, Console, Majors, UsbId};
use super::processes::{self, NumberOf, Process};
use crate::model::device::Device;
use crate::model::inventory::{ContainerId, Inventory};
use crate::plan::assign::Assignments;

/// Everything that is read from the host's files.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The root directory of these files.
    pub(super) root: PathBuf,
    pub(super) majors: Majors,
    consoles: Vec<Console>,
    usb: Vec<UsbId>,
    brltty: Vec<Rule>,
    pub(super) processes: Vec<Process>,
    /// The text of the host's group(5) file.
    pub(super) group: String,
}

impl Host {
    pub(super) fn read(root: &Path, number_of: NumberOf) -> Self {
        Self {
            root: root.to_owned(),
            majors: Majors::read(root),
            consoles: kernel::consoles(root),
            usb: kernel::usb_ids(root),
            brltty: brltty::rules(root),
            processes: processes::processes(root, number_of),
            group: kernel::text(root, "etc/group"),
        }
    }

    /// The processes of a container.
    pub(super) fn processes_in<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> impl Iterator<Item = &'a Process> {
        let is_inside = move |process: &&Process| process.container.as_ref() == Some(&id.id);
        self.processes.iter().filter(is_inside)
    }
}

/// The chips of most USB serial adapters. A braille display usually has an id of its own.
const SERIAL_CHIPS: [UsbId; 6] = [
    id(0x0403, 0x6001),
    id(0x067b, 0x2303),
    id(0x10c4, 0xea60),
    id(0x10c4, 0xea80),
    id(0x1a86, 0x55d4),
    id(0x1a86, 0x7523),
];

const fn id(vendor: u16, product: u16) -> UsbId {
    UsbId { vendor, product }
}

impl Report {
    pub(super) fn host(&mut self, host: &Host, inventory: &Inventory, assigned: &Assignments) {
        self.brltty(host, &inventory.devices);
        self.modem_manager(host, &inventory.devices);
        self.rootless(host, inventory);
        for device in inventory.devices.values() {
            let has = |id: &&ContainerId| {
                let mut wants = assigned.wants(id).iter();
                wants.any(|want| want.devnum == device.devnum)
            };
            let containers: Vec<&ContainerId> = assigned.by_container.keys().filter(has).collect();
            if !containers.is_empty() {
                self.console(host, device);
                self.openers(host, inventory, device, &containers);
            }
        }
    }

    fn brltty(&mut self, host: &Host, devices: &BTreeMap<String, Device>) {
        let mut reported = Vec::new();
        for rule in &host.brltty {
            let id = rule.id;
            if reported.contains(&id) {
                continue;
            }
            let file = &rule.file;
            match devices.values().find(|device| usb_id(device) == Some(id)) {
                Some(device) if !rule.conditional => {
                    let what = format!("brltty may take it: a rule in {file} matches every {id}");
                    let subject = device.node.as_str();
                    self.warning(codes::BRLTTY, subject, what, disable_brltty(rule));
                }
                None if host.usb.contains(&id) && SERIAL_CHIPS.contains(&id) => {
                    let what = format!(
                        "the USB serial adapter {id} is plugged in but has no tty: {file} gives it \
                         to brltty"
                    );
                    self.error(codes::BRLTTY, "brltty", what, disable_brltty(rule));
                }
                _ => continue,
            }
            reported.push(id);
        }
    }

    /// A rootless engine has its containers below the service manager of its user.
    fn rootless(&mut self, host: &Host, inventory: &Inventory) {
        let known = inventory.containers.keys().map(|id| &id.id);
        let known: BTreeSet<&String> = known.collect();
        let unknown = host.processes.iter().filter(|process| {
            let container = process.container.as_ref();
            container.is_some_and(|id| !known.contains(id))
        });
        let users: BTreeSet<u32> = unknown.filter_map(|process| process.user).collect();
        for user in users {
            let what = format!("the containers of the rootless engine of user {user} get no ports");
            let fix = "run those that need a port with root's engine";
            self.note(codes::ENGINE, "engine", what, fix);
        }
    }

    /// By default ModemManager probes only ports whose driver indicates a modem, as cdc_acm does
    /// (ModemManager(8), --filter-policy).
    fn modem_manager(&mut self, host: &Host, devices: &BTreeMap<String, Device>) {
        let mut processes = host.processes.iter();
        let Some(found) = processes.find(|p| p.command == "ModemManager" && p.is_of_host) else {
            return;
        };
        let arguments = processes::arguments(&host.root, found.pid);
        let policy = arguments
            .iter()
            .find_map(|a| a.strip_prefix("--filter-policy="));
        let is_strict = policy.is_none_or(|policy| policy.eq_ignore_ascii_case("strict"));
        let may_probe = |device: &&Device| {
            let set = |key| device.property(key).is_some_and(|value| value != "0");
            device.is_offered()
                && (!is_strict || device.driver.as_deref() == Some("cdc_acm"))
                && !set("ID_MM_PORT_IGNORE")
                && !set("ID_MM_DEVICE_IGNORE")
        };
        let ports: Vec<&str> = devices
            .values()
            .filter(may_probe)
            .map(|device| device.node.as_str())
            .collect();
        if !ports.is_empty() {
            let (pid, ports) = (found.pid, ports.join(", "));
            let what = format!("is running (pid {pid}) and may probe {ports}");
            let fix = "systemctl disable --now ModemManager; or, if you have a modem, copy \
                       70-ttyplugd.rules to /etc/udev/rules.d and uncomment the line with \
                       ID_MM_PORT_IGNORE";
            self.warning(codes::MODEMMANAGER, "ModemManager", what, fix);
        }
    }

    fn console(&mut self, host: &Host, device: &Device) {
        let mut consoles = host.consoles.iter();
        if let Some(console) = consoles.find(|console| console.devnum == device.devnum) {
            self.error(
                codes::PORT_IS_CONSOLE,
                device.node.as_str(),
                "is a console of the kernel",
                format!(
                    "remove console={} from the kernel command line (on a Raspberry Pi: \
                     console=serial0,115200 in /boot/firmware/cmdline.txt), and reboot",
                    console.name
                ),
            );
        }
    }

    /// Finds the processes that have a port open, except those in its one container.
    fn openers(
        &mut self,
        host: &Host,
        inventory: &Inventory,
        device: &Device,
        containers: &[&ContainerId],
    ) {
        let name = |id: &String| {
            let mut known = inventory.containers.iter();
            let known = known.find(|(known, _)| known.id == *id);
            let beginning = || ContainerId::of_docker(id.clone()).short().to_owned();
            known.map_or_else(beginning, |(_, container)| container.name.clone())
        };
        let mut users = BTreeSet::new();
        let opens = |process: &&Process| process.open.contains(&device.devnum);
        for process in host.processes.iter().filter(opens) {
            match &process.container {
                Some(id) if containers.iter().any(|its| its.id == *id) => {
                    users.insert(name(id));
                }
                other => self.foreign_opener(device, process, other.as_ref().map(name)),
            }
        }
        if users.len() > 1 {
            let names: Vec<String> = users.into_iter().collect();
            self.warning(
                codes::PORT_SHARED,
                device.node.as_str(),
                format!("is open in {} at the same time", names.join(" and ")),
                "give the port to one of them (`containers` of its [[port]])",
            );
        }
    }

    /// `container` is the name of the process's container.
    fn foreign_opener(&mut self, device: &Device, process: &Process, container: Option<String>) {
        let Process { pid, command, .. } = process;
        let opener = format!("is held open by {command} (pid {pid})");
        let (what, fix) = match (container, &process.unit) {
            (Some(name), _) => (
                format!("{opener} in container {name}, which does not have this port"),
                format!("remove the device from the definition of {name}"),
            ),
            (None, Some(unit)) => (
                format!("{opener} on the host"),
                format!("systemctl disable --now {unit}"),
            ),
            (None, None) => (
                format!("{opener} on the host"),
                format!("stop that program: kill {pid}"),
            ),
        };
        self.error(codes::PORT_HELD, device.node.as_str(), what, fix);
    }
}

fn usb_id(device: &Device) -> Option<UsbId> {
    UsbId::parse(
        device.property("ID_VENDOR_ID")?,
        device.property("ID_MODEL_ID")?,
    )
}

/// How to make brltty ignore the devices of a rule. A file in /etc cannot be masked.
fn disable_brltty(rule: &Rule) -> String {
    let Rule { name, file, id, .. } = rule;
    let disable = match file.starts_with("/etc/") {
        true => format!("remove its rule for {id} from {file}"),
        false => format!("ln -s /dev/null /etc/udev/rules.d/{name}"),
    };
    format!(
        "unless you use a braille display: {disable}; udevadm control --reload; plug the device in \
         again"
    )
}
