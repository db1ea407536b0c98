//! Many uevents at once, and more than the daemon's socket holds.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use crate::testbed::{Daemon, Port, settle, until};

use super::setup::{plugged, stick};

/// How often the daemon looks at everything again, whatever it has heard.
const RESYNC: Duration = Duration::from_secs(60);

#[test]
fn two_thousand_uevents_in_a_burst_end_in_the_right_state() {
    let (_bed, container, daemon, port) = plugged();
    for _ in 0..1000 {
        port.uevent("remove");
        port.uevent("add");
    }
    port.uevent("remove");
    settle();
    container.has_only(&[]);

    for _ in 0..1000 {
        port.uevent("add");
        port.uevent("remove");
    }
    port.uevent("add");
    settle();
    container.has_port(&port);
    daemon.stop();
}

/// A datagram that does not fit is dropped and the receiver gets ENOBUFS once, however many were
/// lost (netlink(7)). libudev's buffer as root has 256 MiB, so it is made small first.
#[test]
fn lost_uevents_are_noticed_and_the_state_is_right_again() {
    let (_bed, container, daemon, old) = plugged();
    let (new, other) = (stick(62), Port::new(60));
    let (socket, number) = monitor_socket(&daemon);
    // The kernel does not go below SOCK_MIN_RCVBUF, whatever it is asked for (socket(7)).
    setsockopt(&socket, RcvBufForce, &1).expect("root can set it");
    daemon.signal(Signal::SIGSTOP);
    other.describe();
    for _ in 0..200 {
        other.uevent("add");
        other.uevent("remove");
    }
    // These two are what the daemon must not miss, and they come when nothing fits any more.
    old.unplug();
    new.plug();
    assert!(
        drops(&number) > 0,
        "nothing was lost, so this test shows nothing"
    );
    assert_eq!(container.at("/dev/zwave"), old.entry());
    daemon.signal(Signal::SIGCONT);

    // The next resync would put it right too.
    let begin = Instant::now();
    container.has_only(&[&new]);
    assert!(begin.elapsed() < RESYNC / 2, "{:?}", begin.elapsed());
    daemon.stop();
}

/// The daemon's socket for uevents: a copy of its descriptor, and its inode number.
fn monitor_socket(daemon: &Daemon) -> (OwnedFd, String) {
    let uevent_sockets: Vec<String> = netlink_sockets()
        .into_iter()
        .filter(|fields| fields[1] == libc::NETLINK_KOBJECT_UEVENT.to_string())
        .map(|fields| fields[9].clone())
        .collect();
    until("the daemon's uevent socket is there", || {
        let entries = fs::read_dir(daemon.proc().join("fd")).ok()?;
        for entry in entries.flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let found = uevent_sockets
                .iter()
                .find(|inode| target == Path::new(&format!("socket:[{inode}]")));
            if let Some(inode) = found {
                let name = entry.file_name();
                let fd = name.to_str().and_then(|name| name.parse().ok());
                return Some((copy_of(daemon, fd.expect("it is a number")), inode.clone()));
            }
        }
        None
    })
}

/// The columns of /proc/net/netlink: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
fn netlink_sockets() -> Vec<Vec<String>> {
    let table = fs::read_to_string("/proc/net/netlink").expect("netlink is there");
    let rows = table.lines().skip(1);
    rows.map(|row| row.split_whitespace().map(String::from).collect())
        .collect()
}

fn drops(inode: &str) -> u64 {
    let socket = netlink_sockets()
        .into_iter()
        .find(|fields| fields[9] == inode);
    let drops = socket.and_then(|fields| fields[8].parse().ok());
    drops.expect("the socket is still there")
}

/// pidfd_getfd(2) needs the rights of ptrace(2) over the other process.
#[allow(unsafe_code)]
fn copy_of(daemon: &Daemon, fd: i32) -> OwnedFd {
    let owned = |result: libc::c_long| {
        let fd = i32::try_from(result).expect("descriptors are small numbers");
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the call before has just returned this descriptor, and nobody else has it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    // SAFETY: pidfd_open(2) takes two numbers and touches no memory of this process.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, daemon.pid().as_raw(), 0) });
    let process = process.as_fd().as_raw_fd();
    // SAFETY: pidfd_getfd(2) takes three numbers and touches no memory of this process.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0) })
}
