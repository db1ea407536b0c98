//! One question and its answer over a unix socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::hold::protocol::{line, take};

/// Sends a message and reads the answer, within a time limit for all of it.
pub(super) fn exchange<Q, A>(socket: &Path, question: &Q, limit: Duration) -> io::Result<A>
where
    Q: Serialize,
    A: for<'de> Deserialize<'de>,
{
    let end = Instant::now() + limit;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&line(question))?;
    let mut received = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        if let Some(answer) = take(&mut received).map_err(io::Error::other)? {
            return Ok(answer);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => received.extend(&buffer[..length]),
        }
    }
}

/// A read that times out is one that would block (socket(7), SO_RCVTIMEO).
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}
