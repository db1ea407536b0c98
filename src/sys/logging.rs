//! Where log lines go and what identifies their kinds.
//!
//! Values are fields of their own, never parts of the message: `journalctl CONTAINER_NAME=…`
//! finds them. The journal has `container_name` as `CONTAINER_NAME`.
//!
//! Nothing waits for the journal, and nobody but an operator decides how much is logged. Lines that
//! are missing are counted, and `log_report` says how many.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use clap::ValueEnum;
use tracing::field::Field;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::sys::journal::Journal;
use crate::sys::log_filter::LogFilter;

/// MESSAGE_ID (systemd.journal-fields(7)) of the lines that an operator may want to find by kind.
pub mod kind {
    pub const MADE: &str = "ebbf723e51c34370a2c86dac0bcf7d9a";
    pub const REMOVED: &str = "b32683bc6d3940df8a38edb115a8e3c6";
    pub const TROUBLE: &str = "c5fd0add1fc04afca4a6cac9ff6138f3";
    pub const GRANTED: &str = "592faf846ad94e98ae5b78ad7ab6824f";
    pub const REVOKED: &str = "affcaae39d284f47bf83ff2fef6c3e08";
    pub const NO_RIGHT: &str = "9bf4e2f839b34f52b70a124e87863cd0";
    pub const ON_PLUG: &str = "f2f1a3a5c8b94cd89d0c6a4f4e1b7d60";
    pub const ENGINE_LOST: &str = "e5a8fafac7514f0d98026dd80da4542a";
    pub const ENGINE_FOUND: &str = "72cadb49d6d943c1948d3b4b7b9ffb57";
    pub const CONFIG_REJECTED: &str = "cb02b1e8b1574e9ea3b168ab89b78437";
    pub const HELD: &str = "153991f772a84b1da0562df19a9e43b8";
    pub const RELEASED: &str = "cc236d142b6f4281ac2334f5bfa3cca9";
    pub const EVENTS_LOST: &str = "3a7512101aa24ecd9412f73964f0883b";
    pub const DEVICES_UNREADABLE: &str = "2adeff8b783d4f73b28cb2963924abb3";
    pub const UDEVD_MISSING: &str = "4abd93f8ba1d468ba19cda042378130c";
    pub const NAMES_REFUSED: &str = "5ec68961b7654c35b55fe355606d4a0f";
    pub const NOT_HELD: &str = "025a978d373e45f196bc9360292c808e";
    pub const DAEMON_SILENT: &str = "923f8e32762743a480f1c71975d3b81b";
    pub const KEEPER_ENDED: &str = "26d10443f303442fbe968b65bd89a1cb";
    pub const KEEPER_REPLACED: &str = "c85d439d6ee64e89b8ed1efeed40ef86";
    pub const KEEPER_GROUP: &str = "e9f381266c0f45818b8137d5834a9bad";
    pub const RUNTIME_MISSING: &str = "b966c4e7bb5048b283eeba660153dcdd";
    pub const STATE_NOT_KEPT: &str = "920a6ac563544a01ac6fcb2564e1070c";
    pub const STATE_LOST: &str = "da4ea7f6f139425084f61a4cb88c4352";
    pub const RIGHT_NOT_KEPT: &str = "307859093a3945c1827204bf755beff6";
    pub const NOT_ANNOUNCED: &str = "8bf152477a42496cbbc18f9c6a7341f4";
    pub const UNFINISHED: &str = "1819fa67fcb548b9bafa2a20649568ea";
    pub const CONFIG_MISSING: &str = "af174f4e540540ffa55a2524d8bc49d8";
    pub const SOCKET_FAILED: &str = "88b8e7b8097a4d648a6c87bc468d9258";
    pub const DAEMON_FAILED: &str = "4a93501f6d254e56bb7f0bbc0defcd08";
    pub const HOLDS_FULL: &str = "ddf2e50d73774930bd203f058ab5d761";
    pub const LINES_MISSING: &str = "21c246806e90411cbd1b4c4010ee9756";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// The journal where standard error is connected to it, else text.
    Auto,
    /// The journal.
    Journal,
    /// Text on standard error.
    Text,
}

/// How many lines about one container the daemon logs at once. A hub that is plugged in makes as
/// many.
const BURST_OF_DAEMON: u64 = 100;

/// The same for a wrapper or a keeper.
const BURST_OF_RUNTIME: u64 = 20;

/// Sets up logging for the rest of the process.
///
/// # Errors
/// The journal was asked for and is not there.
pub fn start(format: LogFormat) -> io::Result<()> {
    let journal = match format {
        LogFormat::Journal => true,
        LogFormat::Text => false,
        LogFormat::Auto => stderr_is_the_journal(),
    };
    let registry = tracing_subscriber::registry();
    let filter = LogFilter::new(BURST_OF_DAEMON);
    if journal {
        let layer = Journal::connect("ttyplugd")?;
        registry.with(layer).with(filter).with(level()).init();
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_target(false)
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .fmt_fields(debug_fn(text));
        registry.with(layer).with(filter).with(level()).init();
    }
    Ok(())
}

/// Sets up logging for a program that has neither a standard error that anybody reads nor a
/// service manager: to the journal, or to a file in the run directory where there is none.
pub fn short_lived(run_dir: &Path) {
    let registry = tracing_subscriber::registry();
    let filter = LogFilter::new(BURST_OF_RUNTIME);
    if let Ok(layer) = Journal::connect("ttyplug-runtime") {
        let _ = registry.with(layer).with(filter).with(level()).try_init();
    } else if let Ok(file) = LogFile::open(&run_dir.join("runtime.log")) {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(Mutex::new(file))
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(debug_fn(text));
        let _ = registry.with(layer).with(filter).with(level()).try_init();
    }
}

/// How large the file may grow that stands in for a journal, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// A log file to which several programs append. It is begun anew when it is full.
struct LogFile(File);

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        Ok(Self(file))
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = self.0.metadata()?.len();
        if length.saturating_add(line.len() as u64) > LARGEST_FILE {
            self.0.set_len(0)?;
        }
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn level() -> tracing_subscriber::filter::LevelFilter {
    tracing_subscriber::filter::LevelFilter::INFO
}

/// Writes a field for a person, who has no use for the 128-bit name of a kind of message.
fn text(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut writer = OneLine(writer);
    match field.name() {
        "message_id" => Ok(()),
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, " {name}={value:?}"),
    }
}

/// Escapes control characters: a container chooses some of what is logged, and is to begin no line
/// and command no terminal.
struct OneLine<W>(W);

impl<W: fmt::Write> fmt::Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| self.write_char(char))
    }

    fn write_char(&mut self, char: char) -> fmt::Result {
        match char.is_control() {
            true => write!(self.0, "{}", char.escape_default()),
            false => self.0.write_char(char),
        }
    }
}

/// A service manager that connects standard error to the journal says so, with the device and
/// inode of the stream, which a program that redirects it does not have
/// (systemd.exec(5), $JOURNAL_STREAM).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_to_which_several_programs_append_does_not_outgrow_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut programs = [(); 3].map(|()| LogFile::open(&path).unwrap());
        let line = [b'x'; 1000];
        for _ in 0..1000 {
            for program in &mut programs {
                program.write_all(&line).unwrap();
                assert!(path.metadata().unwrap().len() <= LARGEST_FILE);
            }
        }
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn text_is_one_line_whatever_is_in_its_values() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(Mutex::new(LogFile::open(&path).unwrap()))
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(debug_fn(text));
        let text = "a\nb\u{1b}[2J\u{9b}é";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(text, shown = %text, debug = ?text, "{text}");
        });
        let escaped = r"a\nb\u{1b}[2J\u{9b}é";
        let line =
            format!(" INFO {escaped} text=\"{escaped}\" shown={escaped} debug=\"{escaped}\"\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line);
    }

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_the_file_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let [target, link, pipe] = ["target", "link", "pipe"].map(|n| directory.path().join(n));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(LogFile::open(&link).is_err());
        assert!(LogFile::open(&pipe).is_err());
        assert!(!target.exists());
    }
}
