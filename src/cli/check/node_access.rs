//! Whether the processes of a container may open a node, by its owner, group and mode.

use super::codes;
use super::credentials::{Credentials, group_name};
use super::finding::Report;
use super::processes::Process;
use crate::model::{Account, Mode};
use crate::plan::{ResolvedPort, passwd};

/// The texts of the group(5) files of the host and of a container, and the container's `group_add`.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupFiles<'a> {
    pub(super) host: &'a str,
    pub(super) container: &'a str,
    pub(super) added: &'a [String],
}

impl Report {
    /// `main` is the first process of the container. If it may not open the node, that is an error,
    /// because no process that it starts has more access. Otherwise another process may have
    /// dropped its privileges, and may have no use for the port.
    pub(super) fn node_access<'p>(
        &mut self,
        subject: &str,
        node: &ResolvedPort,
        main: i64,
        processes: &[&'p Process],
        groups: GroupFiles,
    ) {
        let denied = |process: &&'p Process| {
            let credentials = process.credentials.as_ref()?;
            let may_open = credentials.may_open(node.uid, node.gid, node.mode);
            (!may_open).then_some((*process, credentials))
        };
        let denied: Vec<_> = processes.iter().filter_map(denied).collect();
        let of_main = denied.iter().find(|(process, _)| process.pid == main);
        let Some((process, credentials)) = of_main.or(denied.first()) else {
            return;
        };
        let numbers: Vec<String> = credentials.groups.iter().map(u32::to_string).collect();
        let account = format!("user {} and groups {}", credentials.uid, numbers.join(","));
        let owner = groups.describe(node);
        let is_main = process.pid == main;
        let fix = fix(credentials, is_main, node, groups);
        if is_main {
            let what = format!("runs as {account}, but {owner}");
            self.error(codes::NO_ACCESS, subject, what, fix);
        } else {
            let what = format!(
                "process {} (pid {}) runs as {account}, but {owner}: it cannot open the port",
                process.command, process.pid
            );
            self.note(codes::NO_ACCESS, subject, what, fix);
        }
    }
}

impl GroupFiles<'_> {
    /// Owner, group and mode of a node, and the names of the group if they differ.
    fn describe(self, node: &ResolvedPort) -> String {
        let (path, uid, gid) = (&node.node, node.uid, node.gid);
        let odd = match lets_owner_open(node.mode) {
            true => "",
            false => ", a mode that does not let even its owner read and write",
        };
        format!(
            "{path} is {uid}:{gid} {}{odd}{}",
            node.mode,
            self.names(gid)
        )
    }

    /// Whether the container's definition adds this group already.
    fn adds(self, gid: u32) -> bool {
        let number = |group: &String| group.parse().ok().or(self.number_in_image(group));
        self.added.iter().any(|group| number(group) == Some(gid))
    }

    fn names(self, gid: u32) -> String {
        let Some(host) = group_name(gid, self.host) else {
            return String::new();
        };
        let image = match group_name(gid, self.container) {
            Some(name) if name == host => return format!(" ({gid} is {host})"),
            Some(name) => format!("{name} in the image"),
            None => "has no name in the image".to_owned(),
        };
        let other = self.number_in_image(host);
        let other = other.map_or_else(String::new, |other| format!(", where {host} is {other}"));
        format!(" ({gid} is {host} on the host and {image}{other})")
    }

    fn number_in_image(self, name: &str) -> Option<u32> {
        let account = Account::Name(name.to_owned());
        passwd::group(&account, self.container).ok()
    }
}

fn lets_owner_open(mode: Mode) -> bool {
    mode.0 & 0o600 == 0o600
}

/// How to let a process open a node.
fn fix(process: &Credentials, is_main: bool, node: &ResolvedPort, groups: GroupFiles) -> String {
    let name = group_name(node.gid, groups.host);
    let in_image = name.and_then(|name| groups.number_in_image(name));
    let group_may_open = node.mode.0 & 0o060 == 0o060;
    if !lets_owner_open(node.mode) {
        return format!("set mode = \"{}\" for the port", Mode::DEFAULT);
    }
    let owner = format!("owner = \"{}\"", process.uid);
    let mut group_add = format!("add to its service: group_add: [\"{}\"]", node.gid);
    // A program that changes its user sets its groups anew (initgroups(3)).
    if !is_main {
        group_add += &format!("; or, where that is dropped, set {owner} for the port");
    }
    match (name, in_image) {
        _ if groups.adds(node.gid) => format!(
            "its group_add has {} already, but the process has dropped it: set {owner}, or mode = \
             \"0666\", for the port",
            node.gid
        ),
        // The process is in the image's group of that name already.
        (Some(name), Some(number)) if group_may_open && process.groups.contains(&number) => {
            format!(
                "set group = {name:?} for the port (it is looked up in the image), or {group_add}"
            )
        }
        // Group 0 would give it more than the port.
        _ if group_may_open && node.gid != 0 => group_add,
        _ => format!("set {owner} for the port"),
    }
}
