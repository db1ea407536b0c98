//! The engine's own process: which configuration file it reads, and how it is made to reload it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::engine::daemon_json::{DEFAULT_FILE, has_runtimes, named_file};
use crate::sys::host_process::is_of_host;
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

/// Those of the host with the same root directory as ours, and those of snap, which have another
/// one but have to be reported.
pub fn running() -> Vec<Dockerd> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| Dockerd::with_pid(entry.file_name().to_str()?.parse().ok()?))
        .filter(|dockerd| dockerd.is_of_snap() || dockerd.has_our_root())
        .collect()
}

/// Whether dockerd is installed.
pub fn is_installed() -> bool {
    child::find(Path::new("dockerd")).is_some()
}

/// Asks dockerd whether it would start with this file. Older ones than 23.0 cannot be asked.
///
/// # Errors
/// Its error message.
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
        // Everything that is read after this belongs to the same process, or the signal reaches none.
        let process = pidfd::open(pid).ok()?;
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let name = fs::read_to_string(directory.join("comm")).ok()?;
        let is_roots = fs::metadata(&directory).ok()?.uid() == 0;
        if name.trim_end() != "dockerd" || !is_roots || !is_of_host(&directory) {
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

    /// Whether it fails to start without its file.
    pub fn needs_its_file(&self) -> bool {
        named_file(&self.arguments).is_some()
    }

    pub fn has_runtimes(&self) -> bool {
        has_runtimes(&self.arguments)
    }

    /// Makes it reload its file, as `systemctl reload docker` does (dockerd(8), "Configuration reload
    /// behavior").
    ///
    /// # Errors
    /// It has ended, or we are not root.
    pub fn reload(&self) -> io::Result<()> {
        pidfd::send(&self.process, Signal::HUP)
    }
}
