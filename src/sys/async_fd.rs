//! Waiting for a descriptor without blocking the loop.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Something to wait for until it can be read.
///
/// # Errors
/// The kernel cannot poll it.
pub fn readable<T: AsFd + AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    polled(inner, Interest::READABLE)
}

/// Something to wait for until it fails, such as a pipe that loses its reader.
///
/// # Errors
/// The kernel cannot poll it.
pub fn failing<T: AsFd + AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    polled(inner, Interest::ERROR)
}

fn polled<T: AsFd + AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: what has a descriptor by AsFd owns it and returns the same one until it is dropped
    // (std::os::fd), which AsyncFd does only after it has deregistered it.
    Ok(unsafe { AsyncFd::register_with_interest(inner, interest)? })
}
