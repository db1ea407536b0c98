//! Whether a container's device cgroup lets it open its ports.

use std::collections::BTreeSet;

use super::cgroup_rules::CgroupRules;
use super::codes;
use super::finding::{Level, Report};
use super::kernel::{Majors, module};
use crate::engine::container::Running;
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::model::inventory::EngineName;

/// The container that findings are about, and how much they matter.
pub(super) struct Of<'a> {
    pub(super) level: Level,
    pub(super) subject: &'a str,
    pub(super) engine: &'a EngineName,
}

impl Report {
    /// Compares the devices that a container has to open with its definition and, where they can
    /// be read, with the rules in effect.
    pub(super) fn device_cgroup(
        &mut self,
        of: &Of,
        running: &Running,
        in_effect: &CgroupRules,
        devices: impl Iterator<Item = DevNum>,
        majors: &Majors,
    ) {
        let (mut missing, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        for devnum in devices {
            let rules = &running.rights;
            let is_defined = rules.allow(devnum);
            match (in_effect, in_effect.allows(devnum, majors)) {
                (CgroupRules::V1(_), Some(true)) => {}
                (_, Some(false)) if is_defined && !rules.everything => {
                    dropped.insert(devnum.major);
                }
                _ if is_defined => {}
                _ => {
                    missing.insert(devnum.major);
                }
            }
        }
        for major in missing {
            let what =
                format!("its device cgroup denies access to devices of major number {major}");
            let line = DeviceRules::compose_line(DevNum { major, minor: 0 });
            let fix = format!("add to its service: {line}");
            self.add(of.level, codes::RIGHT_MISSING, of.subject, what, fix);
        }
        for major in dropped {
            let what = format!(
                "its definition has a rule for major number {major}, but its device cgroup does not"
            );
            let fix = restart(of.engine, of.subject);
            self.add(of.level, codes::RIGHT_NOT_IN_FORCE, of.subject, what, fix);
        }
    }

    /// Finds rules for a major number that has no driver yet. Only the systemd cgroup driver drops
    /// them.
    pub(super) fn missing_drivers(
        &mut self,
        of: &Of,
        running: &Running,
        cgroup_driver: &str,
        majors: &Majors,
    ) {
        if cgroup_driver != "systemd" || running.rights.everything {
            return;
        }
        let rules = running.rights.rules.iter();
        let ruled: BTreeSet<u32> = rules.filter_map(|rule| whole_major(rule)).collect();
        for major in ruled.into_iter().filter(|major| majors.lack(*major)) {
            let Some(module) = module(major) else {
                continue;
            };
            self.add(
                of.level,
                codes::DRIVER_NOT_LOADED,
                of.subject,
                format!("has a rule for c {major}:*, but no driver has that major number now"),
                format!(
                    "modprobe {module} && echo {module} > /etc/modules-load.d/{module}.conf && {}",
                    restart(of.engine, of.subject)
                ),
            );
        }
    }
}

/// The major number of a rule such as `c 188:* rwm`.
fn whole_major(rule: &str) -> Option<u32> {
    let mut words = rule.split_whitespace();
    let is_character = words.next() == Some("c");
    let (major, minor) = words.next()?.split_once(':')?;
    let major = major.parse().ok()?;
    (is_character && minor == "*").then_some(major)
}

/// How the operator starts a container again.
pub(super) fn restart(engine: &EngineName, subject: &str) -> String {
    let name = subject.strip_prefix("container ").unwrap_or(subject);
    match engine.command() {
        Some(command) => format!("{command} restart {name}"),
        None => "start the container again".to_owned(),
    }
}
