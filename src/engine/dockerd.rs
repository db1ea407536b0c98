//! The engine's own process, seen from outside: which file it reads, and that it reads it again.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::engine::daemon_json::{DEFAULT_FILE, has_runtimes, named_file};
use crate::sys::{child, pidfd};

/// How long dockerd may take to read a file.
const VALIDATE_LIMIT: Duration = Duration::from_secs(10);

/// A dockerd of this machine that root has started.
#[derive(Debug)]
pub struct Dockerd {
    process: OwnedFd,
    directory: PathBuf,
    arguments: Vec<String>,
}

/// Those that see the same files as we do, which one in a container does not, and those of snap,
/// which do not either, but should be known.
pub fn running() -> Vec<Dockerd> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| Dockerd::with_pid(entry.file_name().to_str()?.parse().ok()?))
        .filter(|dockerd| dockerd.is_of_snap() || dockerd.has_our_root())
        .collect()
}

/// Whether there is a dockerd that could be started.
pub fn is_installed() -> bool {
    child::find(Path::new("dockerd")).is_some()
}

/// Asks dockerd whether it would start with this file. Older ones than 23.0 cannot be asked.
///
/// # Errors
/// What it says that is wrong.
pub fn validate(file: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("dockerd");
    command.arg("--validate").arg("--config-file").arg(file);
    // One that cannot be executed yet cannot be asked either.
    let Ok(output) = child::output(command.stdin(Stdio::null()), VALIDATE_LIMIT) else {
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !said.contains("unknown flag: --validate") {
        anyhow::bail!("dockerd would not start with it: {}", said.trim());
    }
    Ok(())
}

impl Dockerd {
    fn with_pid(pid: i32) -> Option<Self> {
        // What is read after this is of the same process, or the signal reaches nobody.
        let process = pidfd::open(pid).ok()?;
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let name = fs::read_to_string(directory.join("comm")).ok()?;
        let is_roots = fs::metadata(&directory).ok()?.uid() == 0;
        if name.trim_end() != "dockerd" || !is_roots {
            return None;
        }
        let line = fs::read(directory.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        Some(Self {
            process,
            arguments: line.split_terminator('\0').map(String::from).collect(),
            directory,
        })
    }

    fn has_our_root(&self) -> bool {
        let root = |path: &Path| fs::metadata(path).map(|root| (root.dev(), root.ino())).ok();
        root(&self.directory.join("root")) == root(Path::new("/"))
    }

    pub fn is_of_snap(&self) -> bool {
        fs::read_link(self.directory.join("exe")).is_ok_and(|exe| exe.starts_with("/snap"))
    }

    /// The file that it reads.
    pub fn file(&self) -> PathBuf {
        let file = named_file(&self.arguments).unwrap_or(DEFAULT_FILE);
        match fs::read_link(self.directory.join("cwd")) {
            Ok(directory) => directory.join(file),
            Err(_) => file.into(),
        }
    }

    /// Whether it does not start without its file.
    pub fn needs_its_file(&self) -> bool {
        named_file(&self.arguments).is_some()
    }

    pub fn has_runtimes(&self) -> bool {
        has_runtimes(&self.arguments)
    }

    /// Has it read its file again (dockerd(8), "Configuration reload behavior"). That is what
    /// `systemctl reload docker` does too.
    ///
    /// # Errors
    /// It has ended, or we are not root.
    pub fn read_again(&self) -> io::Result<()> {
        pidfd::send(&self.process, Signal::SIGHUP)
    }
}
