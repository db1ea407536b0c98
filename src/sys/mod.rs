//! Linux, thinly wrapped. Nothing in here knows what a port is.
//!
//! Imports: no other room.

pub mod async_fd;
pub mod backoff;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod date;
pub mod descriptors;
pub mod host_process;
pub mod inotify;
pub mod journal;
pub mod localtime;
mod log_filter;
mod log_limit;
pub mod log_report;
pub mod logging;
pub mod mountinfo;
pub mod pidfd;
pub mod proc_thread;
pub mod process_lock;
pub mod program;
pub mod ready;
pub mod replacement;
pub mod seccomp;
pub mod socket;
pub mod trusted_file;
pub mod turns;
