//! Reads and replaces the BPF device programs of a control group (bpf(2)).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::container::device_program::Instruction;

// kernel, include/uapi/linux/bpf.h: enum bpf_cmd, bpf_prog_type and bpf_attach_type, and flags.
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const PROG_ATTACH: libc::c_int = 8;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// The most programs that can be attached to one control group (kernel, kernel/bpf/cgroup.c,
/// BPF_CGROUP_MAX_PROGS).
const MOST_PROGRAMS: usize = 64;

/// The programs that are attached to one control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    pub ids: Vec<u32>,
    /// With which flags they were attached (BPF_F_ALLOW_MULTI).
    flags: u32,
}

// The parts of union bpf_attr that are used here. None has padding: the kernel refuses bytes that it
// does not know and that are not zero (kernel, kernel/bpf/syscall.c, `CHECK_ATTR`).

#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    reserved: u32,
    // Some kernels write here even if the given length ends before it (opencontainers/cgroups,
    // devices/ebpf_linux.go).
    more: [u64; 4],
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
#[derive(Default)]
struct Pin {
    path: u64,
    program: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetInfo {
    program: u32,
    length: u32,
    info: u64,
}

/// The beginning of struct bpf_prog_info. The kernel fills in as much as there is room for.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    machine_code_length: u32,
    length: u32,
    machine_code: u64,
    instructions: u64,
    loaded: u64,
    loaded_by: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The programs that are attached to this control group, without those of the groups above it.
///
/// # Errors
/// The kernel's; CAP_NET_ADMIN or CAP_SYS_ADMIN is needed.
pub fn attached(group: &impl AsFd) -> io::Result<Attached> {
    let mut ids = [0u32; MOST_PROGRAMS];
    let mut query = Query {
        target: number(group),
        kind: CGROUP_DEVICE,
        ids: ids.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        ..Query::default()
    };
    // SAFETY: `ids` has room for the `count` numbers that the kernel writes at most.
    unsafe { bpf(PROG_QUERY, &mut query) }?;
    let count = usize::try_from(query.count).map_err(io::Error::other)?;
    Ok(Attached {
        ids: ids.into_iter().take(count).collect(),
        flags: query.attach_flags,
    })
}

/// Opens a program.
///
/// # Errors
/// There is no such program any more, or CAP_SYS_ADMIN is missing.
pub fn by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attribute = ById {
        id,
        ..ById::default()
    };
    // SAFETY: the kernel reads three numbers and writes nothing.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attribute) }?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens the program that is pinned at a path in a BPF file system.
///
/// # Errors
/// There is none, or CAP_SYS_ADMIN is missing.
pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = Pin {
        path: path.as_ptr().expose_provenance() as u64,
        ..Pin::default()
    };
    // SAFETY: the kernel reads two numbers and `path`, a C string that outlives the call.
    let fd = unsafe { bpf(OBJ_GET, &mut attribute) }?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a program at a new path in a BPF file system.
///
/// # Errors
/// The path exists, or the file system is mounted read-only.
pub fn pin(program: &impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = Pin {
        path: path.as_ptr().expose_provenance() as u64,
        program: number(program),
        ..Pin::default()
    };
    // SAFETY: the kernel reads three numbers and `path`, a C string that outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attribute) }?;
    Ok(())
}

/// A program's number, which no other one has until it is freed.
///
/// # Errors
/// The kernel's.
pub fn id(program: &impl AsFd) -> io::Result<u32> {
    Ok(info(program, &mut [])?.id)
}

/// A program's name, as given when it was loaded; empty if none was given.
///
/// # Errors
/// The kernel's.
pub fn name(program: &impl AsFd) -> io::Result<String> {
    let name = info(program, &mut [])?.name;
    let length = name.iter().position(|byte| *byte == 0);
    Ok(String::from_utf8_lossy(&name[..length.unwrap_or(name.len())]).into_owned())
}

/// The instructions of a program, as the verifier has left them.
///
/// # Errors
/// The kernel hides them (sysctl net.core.bpf_jit_harden).
pub fn instructions(program: &impl AsFd) -> io::Result<Vec<Instruction>> {
    let length = info(program, &mut [])?.length;
    let bytes = usize::try_from(length).map_err(io::Error::other)?;
    let mut instructions = vec![Instruction::default(); bytes / size_of::<Instruction>()];
    let copied = info(program, &mut instructions)?.length;
    if copied != length || instructions.is_empty() {
        return Err(io::Error::other(
            "the kernel hides the program's instructions (sysctl net.core.bpf_jit_harden)",
        ));
    }
    Ok(instructions)
}

/// Information about a program, and as many of its instructions as there is room for.
fn info(program: &impl AsFd, room: &mut [Instruction]) -> io::Result<Info> {
    let mut info = Info {
        length: u32::try_from(size_of_val(room)).map_err(io::Error::other)?,
        instructions: room.as_mut_ptr().expose_provenance() as u64,
        ..Info::default()
    };
    let mut attribute = GetInfo {
        program: number(program),
        length: u32::try_from(size_of::<Info>()).map_err(io::Error::other)?,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: `info` is as long as `attribute` says, and `room` as long as `info` says. Any bytes are
    // valid instructions.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attribute) }?;
    Ok(info)
}

/// Loads a program into the kernel.
///
/// # Errors
/// The verifier refuses it, or CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, are missing.
pub fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..8].copy_from_slice(b"ttyplugd");
    let mut attribute = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr().expose_provenance() as u64,
        // Only programs that call GPL-only functions of the kernel need another one.
        license: c"MIT".as_ptr().expose_provenance() as u64,
        name,
        ..Load::default()
    };
    // SAFETY: the kernel reads `count` instructions and a C string, which both outlive the call.
    let fd = unsafe { bpf(PROG_LOAD, &mut attribute) }?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces an attached program by another one, atomically.
///
/// # Errors
/// `old` is not attached any more, or was attached in a way that forbids replacing it.
pub fn replace(
    group: &impl AsFd,
    attached: &Attached,
    old: &impl AsFd,
    new: &impl AsFd,
) -> io::Result<()> {
    let mut attribute = Attach {
        target: number(group),
        program: number(new),
        kind: CGROUP_DEVICE,
        flags: attached.flags,
        ..Attach::default()
    };
    // Without BPF_F_ALLOW_MULTI there is only one program, and attaching replaces it.
    if attached.flags & ALLOW_MULTI != 0 {
        attribute.flags |= REPLACE;
        attribute.replaced = number(old);
    }
    // SAFETY: the kernel reads five numbers and writes nothing.
    unsafe { bpf(PROG_ATTACH, &mut attribute) }?;
    Ok(())
}

fn number(fd: &impl AsFd) -> u32 {
    // A descriptor is never negative.
    u32::try_from(fd.as_fd().as_raw_fd()).unwrap_or(u32::MAX)
}

/// # Safety
/// Every address in `attribute` has to point to memory that is as long as the command expects.
unsafe fn bpf<T>(command: libc::c_int, attribute: &mut T) -> io::Result<libc::c_int> {
    let length = libc::c_ulong::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `attribute` is `length` bytes long; the caller vouches for the addresses in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attribute, length) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}
