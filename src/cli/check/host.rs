//! What of the host itself is in a port's way: other programs that want it, the kernel's console.

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

/// Everything that is read from the host's files, once.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Below this all of it was read.
    pub(super) root: PathBuf,
    pub(super) majors: Majors,
    consoles: Vec<Console>,
    usb: Vec<UsbId>,
    brltty: Vec<Rule>,
    pub(super) processes: Vec<Process>,
    /// The host's group(5) file.
    pub(super) group: String,
}

impl Host {
    pub(super) fn look(root: &Path, number_of: NumberOf) -> Self {
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
    pub(super) fn inside<'a>(&'a self, id: &'a ContainerId) -> impl Iterator<Item = &'a Process> {
        let inside = move |process: &&Process| process.container.as_ref() == Some(id);
        self.processes.iter().filter(inside)
    }
}

/// The chips that most USB serial adapters have. A real braille display has an id of its own.
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
        let id_of = |device: &Device| {
            let (vendor, product) = ("ID_VENDOR_ID", "ID_MODEL_ID");
            UsbId::parse(device.property(vendor)?, device.property(product)?)
        };
        let mut told = Vec::new();
        for Rule {
            name,
            file,
            id,
            conditional,
        } in &host.brltty
        {
            if told.contains(id) {
                continue;
            }
            let mend = match file.starts_with("/etc/") {
                true => format!("take its rule for {id} out of {file}"),
                false => format!("ln -s /dev/null /etc/udev/rules.d/{name}"),
            };
            let fix = format!(
                "unless there is a braille display: {mend}; udevadm control --reload; plug \
                 the stick in again"
            );
            match devices.values().find(|device| id_of(device) == Some(*id)) {
                Some(device) if !conditional => {
                    let what = format!("brltty may take it: {file} is for every {id}");
                    self.warning(codes::BRLTTY, device.node.as_str(), what, fix);
                }
                None if host.usb.contains(id) && SERIAL_CHIPS.contains(id) => {
                    let what = format!(
                        "the USB serial adapter {id} is plugged in and has no tty: {file} gives \
                         it to brltty"
                    );
                    self.error(codes::BRLTTY, "brltty", what, fix);
                }
                _ => continue,
            }
            told.push(*id);
        }
    }

    /// By default ModemManager leaves a port alone unless its driver says that it is a modem,
    /// which cdc_acm says of many sticks (ModemManager(8), --filter-policy).
    fn modem_manager(&mut self, host: &Host, devices: &BTreeMap<String, Device>) {
        let mut processes = host.processes.iter();
        let Some(found) = processes.find(|p| p.command == "ModemManager" && p.container.is_none())
        else {
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
            let what = format!(
                "runs (pid {}) and may probe {}",
                found.pid,
                ports.join(", ")
            );
            let fix = "systemctl disable --now ModemManager; or, where there is a real modem \
                          too, take away the # before ID_MM_PORT_IGNORE in a copy of \
                          70-ttyplugd.rules in /etc/udev/rules.d";
            self.warning(codes::MODEM_MANAGER, "ModemManager", what, fix);
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
                    "take console={} (on a Raspberry Pi console=serial0,115200 in \
                     /boot/firmware/cmdline.txt) out of the kernel's command line, and reboot",
                    console.name
                ),
            );
        }
    }

    /// Who has a port open that is for containers: one container that is to have it is right.
    fn openers(
        &mut self,
        host: &Host,
        inventory: &Inventory,
        device: &Device,
        containers: &[&ContainerId],
    ) {
        let subject = device.node.as_str();
        let name = |id: &ContainerId| match inventory.containers.get(id) {
            Some(container) => container.name.clone(),
            None => id.short().to_owned(),
        };
        let mut users = BTreeSet::new();
        for process in host
            .processes
            .iter()
            .filter(|p| p.open.contains(&device.devnum))
        {
            let Process { pid, command, .. } = process;
            match &process.container {
                Some(id) if containers.contains(&id) => drop(users.insert(name(id))),
                Some(id) => {
                    let name = name(id);
                    let what = format!(
                        "is held open by {command} (pid {pid}) in container {name}, which is not \
                         to have it"
                    );
                    let fix = format!("take the device out of the definition of {name}");
                    self.error(codes::PORT_HELD, subject, what, fix);
                }
                None => {
                    let what = format!("is held open by {command} (pid {pid}) on the host");
                    let fix = match &process.unit {
                        Some(unit) => format!("systemctl disable --now {unit}"),
                        None => format!("end that program: kill {pid}"),
                    };
                    self.error(codes::PORT_HELD, subject, what, fix);
                }
            }
        }
        if users.len() > 1 {
            let names: Vec<String> = users.into_iter().collect();
            self.warning(
                codes::PORT_SHARED,
                subject,
                format!("is open in {} at once", names.join(" and ")),
                "give the port to one of them (`containers` of its [[port]])",
            );
        }
    }
}
