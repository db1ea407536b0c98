//! Programs that are looked up and run to their end, which they have to reach in time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::sys::pidfd;

/// How much of each stream is kept: the ids of 16,000 containers.
const OUTPUT_LIMIT: usize = 1 << 20;

/// Runs a program and returns its status and output. At the time limit it is killed together with
/// its children. A child that outlives it is not waited for.
///
/// # Errors
/// It cannot be executed, has not ended in time ([`io::ErrorKind::TimedOut`]), or its output was cut: the
/// beginning of a list is not the list.
pub fn output(command: &mut Command, limit: Duration) -> io::Result<Output> {
    let end = Instant::now() + limit;
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let pipes = [
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
    ];
    let read = read_until_end(pid, pipes, end).inspect_err(|_| {
        // The number, and with it that of the group, is its own until it is waited for.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    });
    let status = child.wait()?;
    let [stdout, stderr] = read?;
    if stdout.is_cut {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Output {
        status,
        stdout: stdout.text,
        stderr: stderr.text,
    })
}

/// Where programs are looked for after PATH: that of a user names no sbin, and an engine executes its
/// runtime with any, or none.
const DIRECTORIES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program of that name in PATH or where programs are usually, or at that path.
pub fn find(program: &Path) -> Option<PathBuf> {
    let is_executable = |file: &PathBuf| {
        let found = fs::metadata(file);
        found.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(is_executable);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(std::env::split_paths(DIRECTORIES));
    // An empty one is the working directory (environ(7)), which may be anybody's.
    let directories = directories.filter(|directory| directory.is_absolute());
    let mut places = directories.map(|directory| directory.join(program));
    places.find(is_executable)
}

struct Stream {
    pipe: Option<File>,
    text: Vec<u8>,
    is_cut: bool,
}

/// Reads both streams until the process has ended and they have nothing more to give.
fn read_until_end(pid: i32, pipes: [Option<OwnedFd>; 2], end: Instant) -> io::Result<[Stream; 2]> {
    let process = pidfd::open(pid)?;
    let mut streams = pipes.map(|pipe| Stream {
        pipe: pipe.map(File::from),
        text: Vec::new(),
        is_cut: false,
    });
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let open = streams.iter().filter_map(|stream| stream.pipe.as_ref());
        let all = [process.as_fd()].into_iter().chain(open.map(AsFd::as_fd));
        let mut polled: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let limit = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polled.iter().map(|fd| fd.any().unwrap_or(false));
        let ready: Vec<bool> = ready.collect();
        if ready[0] && !ready[1..].contains(&true) {
            return Ok(streams);
        }
        let open = streams.iter_mut().filter(|stream| stream.pipe.is_some());
        for (stream, ready) in open.zip(&ready[1..]) {
            if *ready {
                stream.read()?;
            }
        }
    }
}

impl Stream {
    /// Reads what is there. What is beyond the limit is thrown away.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let mut buffer = [0; 4096];
        let length = pipe.read(&mut buffer)?;
        let room = OUTPUT_LIMIT.saturating_sub(self.text.len());
        self.text.extend(&buffer[..length.min(room)]);
        self.is_cut |= length > room;
        if length == 0 {
            self.pipe = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> io::Result<Output> {
        output(Command::new("sh").args(["-c", script]), limit)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_is_found_by_name_or_path_if_it_can_be_executed() {
        let sh = find(Path::new("sh")).unwrap();
        assert_eq!(find(&sh), Some(sh));
        for no_program in ["no such program", "/etc/passwd", "/", ""] {
            assert_eq!(find(Path::new(no_program)), None, "{no_program}");
        }
    }

    #[test]
    fn a_program_has_its_status_and_both_streams() {
        let output = sh("echo out; echo err >&2; exit 3", LONG).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (&b"out\n"[..], &b"err\n"[..])
        );
        let error = super::output(&mut Command::new("/no/such/program"), LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn more_than_a_pipe_has_room_for_is_read() {
        let output = sh("head -c 1000000 /dev/zero; echo end >&2", LONG).unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
        assert_eq!(output.stderr, b"end\n");
    }

    /// The beginning of a list would be taken for all of it.
    #[test]
    fn output_that_was_cut_is_an_error_and_a_message_that_was_cut_is_none() {
        let script = "head -c 2000000 /dev/zero";
        let cut = sh(script, LONG).map(|output| output.stdout.len());
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let output = sh(&format!("{script} >&2; exit 3"), LONG).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stderr.len(), OUTPUT_LIMIT);
    }

    #[test]
    fn a_child_that_outlives_the_program_is_not_waited_for() {
        let begin = Instant::now();
        let output = sh("sleep 40 & echo $!", LONG).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(30));
        let child: i32 = String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        nix::sys::signal::kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 1000 & echo $! > {}; wait", file.path().display());
        let error = sh(&script, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let child: i32 = std::fs::read_to_string(file.path())
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        // A signal is delivered after kill(2) has returned.
        let has_ended = || pidfd::open(child).map_or(true, |child| pidfd::has_ended(&child));
        assert!((0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            has_ended()
        }));
    }
}
