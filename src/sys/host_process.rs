//! Which processes are the host's own. One in a container can have any name, command line and
//! executable.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::Signal;

use crate::sys::cgroup::containers;
use crate::sys::pidfd;

/// Whether a process, by its directory in /proc, is the host's own: one in our pid namespace
/// (pid_namespaces(7)), and in no container that we are not in as well. The container of `docker
/// run --pid host` has our pid namespace, and a control group of its own.
pub fn is_of_host(process: &Path) -> bool {
    let ours = process.with_file_name("self");
    let namespace = |process: &Path| fs::read_link(process.join("ns/pid")).ok();
    let cgroup = |process: &Path| fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let (its_cgroup, our_cgroup) = (cgroup(process), cgroup(&ours));
    let mut its_containers = containers(&its_cgroup);
    // Users other than root cannot read the namespaces of others' processes (namespaces(7)).
    let may_be_ours = namespace(process).is_none_or(|its| Some(its) == namespace(&ours));
    may_be_ours && its_containers.all(|id| containers(&our_cgroup).any(|our| our == id))
}

/// Kills the host's own processes that have `word` somewhere in their command line. Returns whether
/// there was one.
pub fn kill_with(word: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let killed = processes.filter_map(|process| kill_if_with(word, &process.path()));
    killed.count() > 0
}

/// The host's own processes that were given a file by this option whose content has `text`.
pub fn with_file(option: &str, text: &str) -> Vec<OwnedFd> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.filter_map(|process| find_with_file(option, text, &process.path()));
    found.collect()
}

/// A descriptor of a process by its directory in /proc, if it is the host's own. All that is read
/// afterwards belongs to the same process, or a signal by the descriptor reaches none. The command line
/// of a process is in its memory, and a container can make a read of it hang, so none is read before.
fn open_own(process: &Path) -> Option<OwnedFd> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    let pidfd = pidfd::open(pid).ok()?;
    is_of_host(process).then_some(pidfd)
}

fn find_with_file(option: &str, text: &str, process: &Path) -> Option<OwnedFd> {
    let pidfd = open_own(process)?;
    let command = fs::read_to_string(process.join("cmdline")).ok()?;
    let mut arguments = command.split('\0');
    arguments.find(|argument| *argument == option)?;
    // The file as it is named where the process runs.
    let file = process
        .join("root")
        .join(arguments.next()?.strip_prefix('/')?);
    let content = fs::read_to_string(file).ok()?;
    content.contains(text).then_some(pidfd)
}

/// `None` if it was not killed.
fn kill_if_with(word: &str, process: &Path) -> Option<()> {
    let pidfd = open_own(process)?;
    let command = fs::read(process.join("cmdline")).ok()?;
    let mut parts = command.windows(word.len());
    parts.find(|part| *part == word.as_bytes())?;
    pidfd::send(&pidfd, Signal::KILL).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_process_of_another_namespace_or_of_a_container_is_not_the_hosts() {
        let proc = tempfile::tempdir().unwrap();
        let process = |name: &str, namespace: &str, cgroup: &str| {
            let directory = proc.path().join(name);
            fs::create_dir_all(directory.join("ns")).unwrap();
            symlink(namespace, directory.join("ns/pid")).unwrap();
            fs::write(directory.join("cgroup"), cgroup).unwrap();
            directory
        };
        let [a, b] = ["a", "b"].map(|digit| digit.repeat(64));
        process("self", "pid:[1]", &format!("0::/docker/{a}\n"));
        for (namespace, cgroup, is_ours) in [
            (
                "pid:[1]",
                "0::/system.slice/docker.service\n".to_owned(),
                true,
            ),
            ("pid:[1]", format!("0::/docker/{a}/x.service\n"), true),
            ("pid:[2]", "0::/\n".to_owned(), false),
            ("pid:[1]", format!("4:devices:/docker/{b}\n0::/\n"), false),
            (
                "pid:[1]",
                format!("0::/docker/{a}/docker-{b}.scope\n"),
                false,
            ),
        ] {
            let its = process("7", namespace, &cgroup);
            assert_eq!(is_of_host(&its), is_ours, "{namespace} {cgroup}");
            fs::remove_dir_all(its).unwrap();
        }
        assert!(is_of_host(Path::new("/proc/self")));
    }
}
