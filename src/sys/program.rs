//! Which file a program is executed from, to see whether it was replaced since.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Our own, as it was executed, even if another file has its name by now (proc(5), /proc/PID/exe).
pub const OWN: &str = "/proc/self/exe";

/// The file's identity. A package manager writes a new file for a new version, whose inode is
/// another one while the old file is still executed.
///
/// # Errors
/// It cannot be looked at.
pub fn identity(program: &Path) -> io::Result<String> {
    let file = fs::metadata(program)?;
    Ok(format!("{}:{}", file.dev(), file.ino()))
}
