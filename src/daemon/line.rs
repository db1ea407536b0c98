//! Reads the lines of [`protocol`](crate::hold::protocol) from a connection.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::hold::protocol::take;

/// Waits for the next message. Bytes after it stay in `received`.
///
/// # Errors
/// The connection ends, or a line is no valid message.
pub async fn next<T: for<'de> serde::Deserialize<'de>>(
    stream: &mut UnixStream,
    received: &mut Vec<u8>,
) -> io::Result<T> {
    loop {
        if let Some(message) = take(received).map_err(io::Error::other)? {
            return Ok(message);
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
