//! Whether the processes of a container may open a node, by its owner, group and mode.

use super::codes;
use super::credentials::{Credentials, group_name};
use super::finding::Report;
use super::processes::Process;
use crate::model::Account;
use crate::plan::{ResolvedPort, passwd};

/// The texts of the group(5) files of the host and of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupFiles<'a> {
    pub(super) host: &'a str,
    pub(super) container: &'a str,
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
        let fix = fix(credentials, node, groups);
        if process.pid == main {
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
        format!("{path} is {uid}:{gid} {}{}", node.mode, self.names(gid))
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

/// How to let a process open a node.
fn fix(process: &Credentials, node: &ResolvedPort, groups: GroupFiles) -> String {
    let name = group_name(node.gid, groups.host);
    let in_image = name.and_then(|name| groups.number_in_image(name));
    let group_may_open = node.mode.0 & 0o060 == 0o060;
    match (name, in_image) {
        // The process is in the image's group of that name already.
        (Some(name), Some(number)) if group_may_open && process.groups.contains(&number) => {
            format!(
                "set group = {name:?} for the port (it is looked up in the image), or add to its \
                 service: group_add: [\"{}\"]",
                node.gid
            )
        }
        // Group 0 would give it more than the port.
        _ if group_may_open && node.gid != 0 => {
            format!("add to its service: group_add: [\"{}\"]", node.gid)
        }
        _ => format!("set owner = \"{}\" for the port", process.uid),
    }
}
