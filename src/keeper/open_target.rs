//! Which name a trapped open is of: read from the thread that made it.
//!
//! The container controls everything that is read here. With a wrong answer an open only waits in
//! vain, or does not wait: the kernel reads the path again and makes all its checks.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::keeper::resolve::{MOST_BYTES, Tree};
use crate::keeper::seccomp_notify::Notification;
use crate::model::NodePath;

/// The smallest page of any machine. A read of another process's memory fails as a whole if one
/// page of it is missing, and a path may end right before such a page.
const PAGE: u64 = 4096;

/// An open as its arguments say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrappedOpen {
    /// `AT_FDCWD` or a descriptor of the thread's.
    pub directory: i32,
    /// Where in the thread's memory the path is.
    pub path: u64,
    pub flags: u64,
}

/// Audit architectures and the numbers of open and openat in their tables (linux/audit.h,
/// asm/unistd.h). One listener gets calls of several: an i386 program in an amd64 container.
const CALLS: [(u32, Option<i32>, i32); 4] = [
    (0xC000_003E, Some(2), 257), // x86_64
    (0x4000_0003, Some(5), 295), // i386
    (0xC000_00B7, None, 56),     // aarch64
    (0x4000_0028, Some(5), 322), // arm
];

/// x32 has the numbers of x86_64 with this bit set (asm/unistd.h, `__X32_SYSCALL_BIT`).
const X32: i32 = 0x4000_0000;

/// Reads the arguments of an open or openat; `None` for anything else.
pub fn decode(notification: &Notification) -> Option<TrappedOpen> {
    let (_, open, openat) = CALLS
        .into_iter()
        .find(|(arch, ..)| *arch == notification.arch)?;
    let call = notification.call & !X32;
    let [a, b, c, ..] = notification.arguments;
    // A descriptor is an int: the upper half of the register is ignored.
    #[allow(clippy::cast_possible_truncation)]
    let descriptor = |register: u64| register as i32;
    if Some(call) == open {
        Some(TrappedOpen {
            directory: libc::AT_FDCWD,
            path: a,
            flags: b,
        })
    } else if call == openat {
        Some(TrappedOpen {
            directory: descriptor(a),
            path: b,
            flags: c,
        })
    } else {
        None
    }
}

/// Reads the path, page by page, to its end.
///
/// # Errors
/// There is no path at that address, we may not read it, or it is longer than [`MOST_BYTES`].
pub fn read_path(tid: u32, address: u64) -> io::Result<Vec<u8>> {
    let thread = Pid::from_raw(i32::try_from(tid).map_err(io::Error::other)?);
    read_text(address, |buffer, at| {
        let from = RemoteIoVec {
            base: usize::try_from(at).map_err(io::Error::other)?,
            len: buffer.len(),
        };
        match process_vm_readv(thread, &mut [IoSliceMut::new(buffer)], &[from]) {
            // A kernel without CONFIG_CROSS_MEMORY_ATTACH has the slower way alone.
            Err(Errno::ENOSYS) => fs::File::open(format!("/proc/{tid}/mem"))?.read_at(buffer, at),
            read => Ok(read?),
        }
    })
}

fn read_text(
    address: u64,
    read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut buffer = [0u8; MOST_BYTES + 1];
    while text.len() <= MOST_BYTES {
        let at = address
            .checked_add(text.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let to_page_end = usize::try_from(PAGE - at % PAGE).unwrap_or(usize::MAX);
        let most = to_page_end.min(buffer.len() - text.len());
        let length = read(&mut buffer[..most], at)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match buffer[..length].iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend(&buffer[..end]);
                return Ok(text);
            }
            None => text.extend(&buffer[..length]),
        }
    }
    Err(Errno::ENAMETOOLONG.into())
}

/// Finds the names in the container's /dev that an open comes through and comes to, in their order.
/// The last is no link, and there is always one.
///
/// # Errors
/// It comes to none that a port may have, or finding it would be too much work.
pub fn find_names(tid: u32, directory: i32, path: &[u8]) -> io::Result<Vec<NodePath>> {
    let base = match path.first() {
        Some(b'/') => Vec::new(),
        _ => base_of(tid, directory)?,
    };
    let mut tree = Tree::of_thread(tid);
    let last = tree.resolve(&base, path)?;
    let mut names = tree.take_passed();
    names.push(last);
    Ok(names)
}

/// Whether a thread has the container's root. What one sees that has changed it (chroot(2)) has other
/// names in the container.
pub fn has_containers_root(tid: u32) -> bool {
    readlink(format!("/proc/{tid}/root").as_str()).is_ok_and(|root| root == "/")
}

/// Where a relative path begins. The links of /proc are read, not followed, which asks nobody.
fn base_of(tid: u32, directory: i32) -> io::Result<Vec<u8>> {
    let link = match directory {
        libc::AT_FDCWD => format!("/proc/{tid}/cwd"),
        fd => format!("/proc/{tid}/fd/{fd}"),
    };
    Ok(readlink(link.as_str())?.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(arch: u32, call: i32, arguments: [u64; 6]) -> Notification {
        Notification {
            id: 1,
            tid: 1,
            arch,
            call,
            instruction: 0,
            arguments,
        }
    }

    #[test]
    fn the_opens_of_every_architecture_are_understood() {
        let cwd = u64::from(u32::MAX - 99);
        for (arch, open, openat) in CALLS {
            let trapped = decode(&notification(arch, openat, [cwd, 7, 8, 0, 0, 0])).unwrap();
            assert_eq!(
                (trapped.directory, trapped.path, trapped.flags),
                (-100, 7, 8)
            );
            if let Some(open) = open {
                let trapped = decode(&notification(arch, open, [7, 8, 0, 0, 0, 0])).unwrap();
                assert_eq!(
                    (trapped.directory, trapped.path, trapped.flags),
                    (-100, 7, 8)
                );
            }
            assert_eq!(decode(&notification(arch, 9999, [0; 6])), None);
        }
        assert!(decode(&notification(0xC000_003E, 257 | X32, [0; 6])).is_some());
        assert_eq!(decode(&notification(0, 257, [0; 6])), None);
    }

    #[test]
    fn a_path_is_read_to_its_end_and_not_beyond_the_page_that_has_it() {
        // A memory of one page at 8192, and a path that ends with it.
        let mut memory = vec![b'x'; 4096];
        memory[4095] = 0;
        let read = |buffer: &mut [u8], at: u64| {
            let start = usize::try_from(at).unwrap().checked_sub(8192);
            let part = start.and_then(|start| memory.get(start..start + buffer.len()));
            buffer.copy_from_slice(part.ok_or(io::ErrorKind::Other)?);
            Ok(buffer.len())
        };
        assert_eq!(read_text(8192 + 4000, read).unwrap(), [b'x'; 95]);
        assert_eq!(read_text(8192 + 4095 - 1024, read).unwrap().len(), 1024);
        assert!(read_text(8192 + 4095 - 1025, read).is_err());
        assert!(read_text(0, read).is_err());
        assert!(read_text(u64::MAX, read).is_err());
        let endless = |buffer: &mut [u8], _| {
            buffer.fill(b'x');
            Ok(buffer.len())
        };
        assert!(read_text(100, endless).is_err());
        let us = c"/dev/zwave";
        assert_eq!(
            read_path(std::process::id(), us.as_ptr() as u64).unwrap(),
            b"/dev/zwave"
        );
        assert!(read_path(std::process::id(), 1).is_err());
    }

    /// Whose instructions tests/instructions.sh counts. None of these has to be looked up.
    #[test]
    fn opens_of_what_no_port_can_be_are_told_by_their_path() {
        let us = std::process::id();
        let longest = format!("/dev/{}null", "./".repeat(500));
        for path in ["/dev/null", "/dev/ptmx", "/dev/pts/7", "/dev/tty", &longest] {
            let text = std::ffi::CString::new(path).unwrap();
            let cwd = u64::from(u32::MAX - 99);
            let arguments = [cwd, text.as_ptr() as u64, 2, 0, 0, 0];
            let open = decode(&notification(0xC000_003E, 257, arguments)).unwrap();
            let read = read_path(us, open.path).unwrap();
            assert_eq!(read, path.as_bytes());
            assert!(find_names(us, open.directory, &read).is_err(), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_notification_makes_the_decoder_panic(
            arch in proptest::prelude::any::<u32>(), call in proptest::prelude::any::<i32>(),
            arguments in proptest::prelude::any::<[u64; 6]>(),
        ) {
            let _ = decode(&notification(arch, call, arguments));
        }
    }
}
