//! Writes to the journal (systemd.io, "Native Journal Protocol"), and never waits for it: what it
//! does not take at once is dropped and counted. The queue of its socket is full when journald
//! hangs, or is stopped (unix(7), net.unix.max_dgram_qlen).

use std::fmt::{self, Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::socket::{setsockopt, sockopt::SndBufForce};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";

/// How much may be on its way to a journald that is slow, in bytes.
const MOST_QUEUED: usize = 1 << 20;

/// How much of a value is written, in bytes. So every entry fits into a datagram.
const LONGEST_VALUE: usize = 4096;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many entries the journal has not taken.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The journal of the machine.
pub(super) struct Journal {
    socket: UnixDatagram,
    /// SYSLOG_IDENTIFIER (systemd.journal-fields(7)).
    identifier: &'static str,
}

impl Journal {
    /// # Errors
    /// There is no journald.
    pub(super) fn connect(identifier: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // Without CAP_NET_ADMIN it is what the system has set (socket(7)).
        let _ = setsockopt(&socket, SndBufForce, &MOST_QUEUED);
        // journald ignores what is empty.
        match socket.send_to(&[], SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(Self { socket, identifier }),
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        entry.put_origin(event.metadata());
        entry.put("SYSLOG_IDENTIFIER", &self.identifier);
        event.record(&mut entry);
        if self.socket.send_to(&entry.0, SOCKET).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The fields of an entry.
#[derive(Debug, Default)]
struct Entry(Vec<u8>);

impl Entry {
    fn put_origin(&mut self, metadata: &Metadata<'_>) {
        self.put("PRIORITY", &priority(*metadata.level()));
        self.put("TARGET", &metadata.target());
        self.put("CODE_FILE", &metadata.file().unwrap_or_default());
        self.put("CODE_LINE", &metadata.line().unwrap_or_default());
    }

    /// A value with its length before it may have any bytes in it.
    fn put(&mut self, name: &str, value: &dyn fmt::Display) {
        let mut text = Value(String::new());
        // It ends with an error where the value is too long.
        let _ = write!(text, "{value}");
        let length = (text.0.len() as u64).to_le_bytes();
        let name = name.to_ascii_uppercase();
        for part in [name.as_bytes(), b"\n", &length, text.0.as_bytes(), b"\n"] {
            self.0.extend_from_slice(part);
        }
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), &format_args!("{value:?}"));
    }
}

/// The beginning of a value.
struct Value(String);

impl Write for Value {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST_VALUE - self.0.len();
        let end = (0..=room.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end));
        self.0.push_str(&text[..end.unwrap_or(0)]);
        match end == Some(text.len()) {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}

/// systemd.journal-fields(7), PRIORITY.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 5,
        Level::DEBUG => 6,
        Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_it_is_and_never_without_end() {
        let mut entry = Entry::default();
        entry.put("message", &"two\nlines=é");
        assert_eq!(entry.0, b"MESSAGE\n\x0c\0\0\0\0\0\0\0two\nlines=\xc3\xa9\n");
        let mut entry = Entry::default();
        entry.put("x", &"é".repeat(LONGEST_VALUE));
        assert_eq!(entry.0.len(), 2 + 8 + LONGEST_VALUE + 1);
        let mut entry = Entry::default();
        entry.put(
            "x",
            &format_args!("a{}{}", "é".repeat(LONGEST_VALUE), "more"),
        );
        assert_eq!(entry.0.len(), 2 + 8 + LONGEST_VALUE - 1 + 1);
    }
}
