//! What stands between an application and its port once the port is in the container: the device
//! cgroup, the node's owner and mode, and nodes that are older than the device.

use std::collections::{BTreeMap, BTreeSet};

use super::access::{Credentials, group_name};
use super::cgroup::InForce;
use super::codes;
use super::finding::{Level, Report};
use super::host::Host;
use super::kernel::{self, Majors, module};
use super::processes::Process;
use crate::engine::container::{Mapping, Running};
use crate::model::DevNum;
use crate::model::device::Device;
use crate::model::device_access::DeviceRules;
use crate::plan::ResolvedPort;

impl Report {
    /// The device cgroup, as it was defined and, where that can be read, as it is.
    pub(super) fn rights(
        &mut self,
        level: Level,
        subject: &str,
        running: &Running,
        in_force: &InForce,
        numbers: impl Iterator<Item = DevNum>,
        majors: &Majors,
    ) {
        let mut missing = BTreeSet::new();
        let mut dropped = BTreeSet::new();
        for devnum in numbers {
            let defined = running.rights.allow(devnum);
            match (in_force, in_force.allows(devnum, majors)) {
                (InForce::Rules(_), Some(true)) => {}
                (_, Some(false)) if defined && !running.rights.everything => {
                    dropped.insert(devnum.major);
                }
                _ if defined => {}
                _ => {
                    missing.insert(devnum.major);
                }
            }
        }
        for major in missing {
            let line = DeviceRules::compose_line(DevNum { major, minor: 0 });
            self.add(
                level,
                codes::RIGHT_MISSING,
                subject,
                format!("its device cgroup does not let it open devices of major number {major}"),
                format!("add to its service: {line}"),
            );
        }
        for major in dropped {
            self.add(
                level,
                codes::RIGHT_NOT_IN_FORCE,
                subject,
                format!(
                    "its definition has a rule for major number {major}, and its device cgroup \
                     does not"
                ),
                restart(subject),
            );
        }
    }

    /// Rules for devices that no driver has made yet.
    pub(super) fn drivers(
        &mut self,
        level: Level,
        subject: &str,
        running: &Running,
        cgroup_driver: &str,
        majors: &Majors,
    ) {
        let of_all = |rule: &String| {
            let mut words = rule.split_whitespace();
            let is_character = words.next() == Some("c");
            let (major, minor) = words.next()?.split_once(':')?;
            let major = major.parse().ok()?;
            (is_character && minor == "*").then_some(major)
        };
        let ruled: BTreeSet<u32> = running.rights.rules.iter().filter_map(of_all).collect();
        for major in ruled {
            let Some(module) = module(major).filter(|_| majors.lack(major)) else {
                continue;
            };
            // Without systemd a rule is a pair of numbers, whoever has them.
            if cgroup_driver == "systemd" && !running.rights.everything {
                self.add(
                    level,
                    codes::DRIVER_NOT_LOADED,
                    subject,
                    format!("has a rule for c {major}:*, and no driver has that number now"),
                    format!(
                        "modprobe {module} && echo {module} > /etc/modules-load.d/{module}.conf \
                         && {}",
                        restart(subject)
                    ),
                );
            }
        }
    }

    /// Whether the processes of a container may open a node. The first one decides: what it starts
    /// has no more rights than it has itself.
    pub(super) fn access_to(
        &mut self,
        subject: &str,
        node: &ResolvedPort,
        main: i64,
        inside: &[&Process],
        host_group: &str,
        group: &str,
    ) {
        let barred = |process: &&&Process| {
            let who = process.credentials.as_ref();
            who.is_some_and(|who| !who.may_open(node.uid, node.gid, node.mode))
        };
        let mut barred = inside.iter().filter(barred);
        let (process, is_main) = match barred.clone().find(|process| process.pid == main) {
            Some(main) => (main, true),
            None => match barred.next() {
                Some(other) => (other, false),
                None => return,
            },
        };
        let Some(who) = &process.credentials else {
            return;
        };
        let names = names(node.gid, host_group, group);
        let place = format!(
            "{} is {}:{} {}{names}",
            node.node, node.uid, node.gid, node.mode
        );
        let fix = fix(who, node, host_group, group);
        let groups: Vec<String> = who.groups.iter().map(u32::to_string).collect();
        let account = format!("user {} and groups {}", who.uid, groups.join(","));
        if is_main {
            let what = format!("runs as {account}, and {place}");
            self.error(codes::NO_ACCESS, subject, what, fix);
        } else {
            let what = format!(
                "its {} (pid {}) has {account}, and {place}: if that opens the port, it fails",
                process.command, process.pid
            );
            self.note(codes::NO_ACCESS, subject, what, fix);
        }
    }

    /// Nodes in a container that nobody keeps up to date: those of `--device`, and of scripts.
    pub(super) fn stale<'a>(
        &mut self,
        subject: &str,
        host: &Host,
        devices: &BTreeMap<String, Device>,
        nodes: impl Iterator<Item = &'a (String, DevNum)>,
        mappings: &[(Mapping, Option<DevNum>)],
    ) {
        for (path, devnum) in nodes.filter(|(_, number)| host.majors.is_serial(*number)) {
            let device = devices.values().find(|device| device.devnum == *devnum);
            let now = match device {
                Some(device) => format!("{}'s", device.node),
                None if kernel::exists(&host.root, *devnum) => continue,
                None => "that of no device".to_owned(),
            };
            let mapping = mappings
                .iter()
                .find(|(mapping, _)| mapping.container == *path);
            let what = match mapping {
                Some((_, Some(number))) if number == devnum => continue,
                Some((mapping, _)) => format!(
                    "{path} was made for {} when it started; its number {devnum} is {now} now",
                    mapping.host
                ),
                None if device.is_some() => continue,
                None => format!("{path} is an old node: its number {devnum} is {now} now"),
            };
            let fix = match mapping {
                Some(_) => {
                    format!("take `devices:` out of its service and give it a port at {path}")
                }
                None => format!(
                    "give it a port there, by a [[port]] with containers = [{:?}] and node = \
                     {path:?}, or remove the node",
                    name(subject)
                ),
            };
            self.warning(codes::STALE_NODE, subject, what, fix);
        }
    }
}

fn restart(subject: &str) -> String {
    format!("docker restart {}", name(subject))
}

fn name(subject: &str) -> &str {
    subject.strip_prefix("container ").unwrap_or(subject)
}

/// What a group is called on the host and in the image, where that is not the same.
fn names(gid: u32, host_group: &str, group: &str) -> String {
    let Some(host) = group_name(gid, host_group) else {
        return String::new();
    };
    let there = match group_name(gid, group) {
        Some(name) if name == host => return format!(" ({gid} is {host})"),
        Some(name) => format!("{name} in the image"),
        None => "without a name in the image".to_owned(),
    };
    let own = number_of_group(host, group);
    let own = own.map_or_else(String::new, |own| format!(", where {host} is {own}"));
    format!(" ({gid} is {host} on the host and {there}{own})")
}

fn number_of_group(name: &str, group: &str) -> Option<u32> {
    let account = crate::model::Account::Name(name.to_owned());
    crate::plan::passwd::group(&account, group).ok()
}

/// The line that lets a process open a node.
fn fix(who: &Credentials, node: &ResolvedPort, host_group: &str, group: &str) -> String {
    let host = group_name(node.gid, host_group);
    let own = host.and_then(|name| number_of_group(name, group));
    let group_may = node.mode.0 & 0o060 == 0o060;
    match (host, own) {
        // It is in the image's group of that name already.
        (Some(name), Some(own)) if group_may && who.groups.contains(&own) => format!(
            "set group = {name:?} for the port (it is looked up in the image), or add to its \
             service: group_add: [\"{}\"]",
            node.gid
        ),
        // Group 0 would give it more than the port.
        _ if group_may && node.gid != 0 => {
            format!("add to its service: group_add: [\"{}\"]", node.gid)
        }
        _ => format!("set owner = \"{}\" for the port", who.uid),
    }
}
