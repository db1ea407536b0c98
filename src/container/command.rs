//! Whether a command of ours may still run in a container, as seen from the host.

use std::fs::File;
use std::io::Read;

use crate::container::device_cgroup::DeviceGroup;
use crate::container::rootfs::Rootfs;
use crate::container::script;
use crate::sys::proc_thread;

/// Looks through the processes of a container. Reading a command line can block: it is in the memory
/// of the process.
///
/// # Errors
/// The container has ended.
pub fn may_run(group: &DeviceGroup, rootfs: &Rootfs) -> anyhow::Result<bool> {
    let Some(processes) = group.processes()? else {
        return Ok(true);
    };
    let root = rootfs.users.on_host(0, 0).map_or(0, |(uid, _)| uid);
    let may_be_it = |pid: &u32| {
        let line = command_line(*pid).filter(|_| proc_thread::user(*pid) == Some(root));
        line.is_some_and(|line| script::may_be_command(&line))
    };
    Ok(processes.iter().any(may_be_it))
}

fn command_line(pid: u32) -> Option<Vec<u8>> {
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    let mut line = Vec::new();
    file.take(script::COMMAND_LINE)
        .read_to_end(&mut line)
        .ok()?;
    Some(line)
}
