//! Which file a trapped open means: read from the thread that made it, resolved as the kernel
//! will resolve it.
//!
//! The container controls everything that is read here. With a wrong answer an open only waits in
//! vain, or does not wait: the kernel reads the path again and makes all its checks.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::Mode;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::keeper::seccomp_notify::Notification;
use crate::sys::mountinfo::{mount_id, mount_with_id};

/// The longest path (limits.h, `PATH_MAX`).
const PATH_MAX: usize = 4096;

/// The smallest page of any machine. A read of another process's memory fails as a whole if one
/// page of it is missing, and a path may end right before such a page.
const PAGE: u64 = 4096;

/// How many symbolic links the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;

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
/// There is no path at that address, or we may not read it.
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
    let mut buffer = [0u8; 4096];
    while text.len() < PATH_MAX {
        let at = address
            .checked_add(text.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let to_page_end = usize::try_from(PAGE - at % PAGE).unwrap_or(buffer.len());
        let length = read(&mut buffer[..to_page_end], at)?;
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
    // The kernel refuses such a path with ENAMETOOLONG.
    Err(io::ErrorKind::InvalidInput.into())
}

/// Finds the path below the container's root that an open will come to, links followed. Whether
/// there is a file does not matter; a directory that is missing is taken by its name.
///
/// # Errors
/// The path cannot be followed, or following it might wait for a file server.
pub fn resolve(tid: u32, open: &TrappedOpen, path: &[u8]) -> io::Result<Vec<u8>> {
    let root = open_path(format!("/proc/{tid}/root").as_bytes())?;
    let mut path = path.to_vec();
    if !path.starts_with(b"/") {
        let base = match open.directory {
            libc::AT_FDCWD => format!("/proc/{tid}/cwd"),
            fd => format!("/proc/{tid}/fd/{fd}"),
        };
        let base = readlinkat(AT_FDCWD, base.as_str())?;
        path = below(base.as_bytes(), &name_of(&root)?)?
            .iter()
            .chain(b"/")
            .chain(&path)
            .copied()
            .collect();
    }
    for _ in 0..MAX_LINKS {
        let (directory, name) = split(&path);
        if name.is_empty() || name == b"." || name == b".." {
            // A directory, which no port is.
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let place = Directory::nearest(tid, &root, directory)?;
        let place_name = name_of(&place.fd)?;
        let target = if !place.missing.is_empty() {
            Err(Errno::ENOENT)
        } else if is_in_dev(&place_name) || is_local(tid, &place.fd) {
            readlinkat(&place.fd, name)
        } else {
            return Err(Errno::EREMOTE.into());
        };
        let real = [place_name, place.missing].concat();
        match target {
            Ok(target) if target.as_bytes().starts_with(b"/") => path = target.as_bytes().into(),
            Ok(target) => {
                path = [below(&real, &name_of(&root)?)?, b"/", target.as_bytes()].concat();
            }
            Err(_) => {
                let real = if real == b"/" { &b""[..] } else { &real };
                return Ok([real, b"/", name].concat());
            }
        }
    }
    Err(Errno::ELOOP.into())
}

/// A directory, or the nearest one above it that there is and the names that are missing.
struct Directory {
    fd: OwnedFd,
    missing: Vec<u8>,
}

impl Directory {
    fn nearest(tid: u32, root: &OwnedFd, path: &[u8]) -> io::Result<Self> {
        let mut existing = path;
        loop {
            let name = if existing.is_empty() {
                &b"/"[..]
            } else {
                existing
            };
            match look_up(tid, root, name) {
                Ok(fd) => {
                    let missing = &path[existing.len()..];
                    if missing.split(|b| *b == b'/').any(|part| part == b"..") {
                        return Err(Errno::ENOENT.into());
                    }
                    // The names as the kernel reads them: `a//./b` is `a/b`.
                    let missing = missing
                        .split(|b| *b == b'/')
                        .filter(|part| !part.is_empty() && *part != b".")
                        .flat_map(|part| b"/".iter().chain(part))
                        .copied()
                        .collect();
                    return Ok(Self { fd, missing });
                }
                Err(Errno::ENOENT) if !existing.is_empty() => {
                    existing = split(existing).0;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Opens a directory below a root. /dev is always in memory. Elsewhere a look-up may have to ask
/// a file server that is dead, and every open of the container would wait with it: so only what
/// the kernel has cached is taken (openat2(2), RESOLVE_CACHED), or what is on a local disk.
fn look_up(tid: u32, root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let in_root = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let find = |path: &[u8], flags: ResolveFlag| {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(flags);
        openat2(root, path, how)
    };
    if is_in_dev(path) {
        match find(path, in_root | ResolveFlag::RESOLVE_NO_SYMLINKS) {
            Err(Errno::ELOOP) => {}
            result => return result,
        }
    }
    let cached = in_root | ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED);
    match find(path, cached) {
        Err(Errno::EAGAIN) => {}
        result => return result,
    }
    let mut above = split(path).0;
    loop {
        let name = if above.is_empty() { &b"/"[..] } else { above };
        match find(name, cached) {
            Ok(fd) if is_local(tid, &fd) => {
                return find(path, in_root | ResolveFlag::RESOLVE_NO_XDEV);
            }
            Ok(_) => return Err(Errno::EREMOTE),
            Err(Errno::EAGAIN) if !above.is_empty() => above = split(above).0,
            Err(error) => return Err(error),
        }
    }
}

fn is_in_dev(path: &[u8]) -> bool {
    path == b"/dev" || path.starts_with(b"/dev/")
}

/// Whether look-ups in a directory end in finite time, by the type of its file system. statfs(2)
/// would ask the file server, so the mount's number is looked for in the thread's own table.
fn is_local(tid: u32, fd: &OwnedFd) -> bool {
    const LOCAL: [&str; 13] = [
        "bcachefs", "btrfs", "devtmpfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs",
        "squashfs", "tmpfs", "xfs", "zfs",
    ];
    let Ok(id) = mount_id(fd) else {
        return false;
    };
    let table = fs::read_to_string(format!("/proc/{tid}/mountinfo")).unwrap_or_default();
    mount_with_id(&table, id).is_some_and(|mount| LOCAL.contains(&mount.kind.as_str()))
}

fn open_path(path: &[u8]) -> Result<OwnedFd, Errno> {
    open(
        path,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// The name of a directory in the container's mount namespace.
fn name_of(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(readlinkat(AT_FDCWD, link.as_str())?.as_bytes().into())
}

/// What is left of `path` below `root`, starting with a slash or empty.
fn below<'a>(path: &'a [u8], root: &[u8]) -> io::Result<&'a [u8]> {
    let root = if root == b"/" { &b""[..] } else { root };
    match path.strip_prefix(root) {
        Some(b"/") => Ok(b""),
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => Ok(rest),
        // Outside of the thread's root (chroot(2)): there is no telling what the kernel will find.
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The directory and the last component. `/a` has the directory ``, as `/` has.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

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
        assert_eq!(read_text(8192, read).unwrap().len(), 4095);
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

    /// Resolves a path for this very process.
    fn resolved(path: &str) -> io::Result<String> {
        let open = TrappedOpen {
            directory: libc::AT_FDCWD,
            path: 0,
            flags: 0,
        };
        let found = resolve(std::process::id(), &open, path.as_bytes())?;
        Ok(String::from_utf8(found).unwrap())
    }

    #[test]
    fn a_path_is_followed_as_the_kernel_follows_it() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let at = |name: &str| place.join(name).into_os_string().into_string().unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        symlink("/dev/zwave", at("absolute")).unwrap();
        symlink("dir/../relative-2", at("relative")).unwrap();
        symlink("absolute", at("relative-2")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("dir", at("linked-dir")).unwrap();
        let dir = at("dir");
        for (path, expected) in [
            ("/dev/zwave".to_owned(), "/dev/zwave".to_owned()),
            ("//dev/../dev/./zwave".into(), "/dev/zwave".into()),
            ("/dev/no/such/by-id/x".into(), "/dev/no/such/by-id/x".into()),
            ("/dev/no//./such/x".into(), "/dev/no/such/x".into()),
            (at("absolute"), "/dev/zwave".into()),
            (at("relative"), "/dev/zwave".into()),
            (at("linked-dir/x"), format!("{dir}/x")),
            (at("dir/../dir/x"), format!("{dir}/x")),
            ("/x".into(), "/x".into()),
        ] {
            assert_eq!(resolved(&path).unwrap(), expected, "{path}");
        }
        for path in [
            at("loop"),
            at("dir/"),
            at("dir/.."),
            at("no/../x"),
            "/proc/self/fd/0/x".into(),
            String::new(),
        ] {
            assert!(resolved(&path).is_err(), "{path}");
        }
        let here = std::env::current_dir().unwrap().join("x");
        assert_eq!(resolved("./x").unwrap(), here.to_str().unwrap());
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_the_resolver_panic(path in proptest::collection::vec(1u8.., 0..80)) {
            let open = TrappedOpen { directory: libc::AT_FDCWD, path: 0, flags: 0 };
            let _ = resolve(std::process::id(), &open, &path);
        }

        #[test]
        fn no_notification_makes_the_decoder_panic(
            arch in proptest::prelude::any::<u32>(), call in proptest::prelude::any::<i32>(),
            arguments in proptest::prelude::any::<[u64; 6]>(),
        ) {
            let _ = decode(&notification(arch, call, arguments));
        }
    }
}
