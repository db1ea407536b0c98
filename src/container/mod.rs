//! Reads and changes one container from the host: its root directory, its device cgroup and its
//! network namespace.
//!
//! Imports: `model`, `plan`, `sys`.

pub mod announce;
pub mod bind_mount;
pub mod bpf;
pub mod command;
pub mod device_cgroup;
pub mod device_program;
pub mod inject;
pub mod observe;
pub mod root_only;
pub mod rootfs;
pub mod script;
pub mod uevent;
