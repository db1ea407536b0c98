//! Files that are replaced whole: readers see the old one or the new one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the name of a new file has after that of the file that it is to replace.
const MARK: &str = ".new-ttyplugd-";

/// Whether a file is what a process that was killed while it wrote has left.
pub fn is_left_over(name: &OsStr) -> bool {
    name.to_string_lossy().contains(MARK)
}

/// A new file beside the one that it is to replace. It is removed unless it is put in its place.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    pub file: File,
}

impl Replacement {
    /// Makes a file that nobody has open or linked to, with the mode 0600.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("{MARK}{}", std::process::id()));
        let path = path.with_file_name(name);
        // A process that had the same number may have been killed before it could rename it.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { path, file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in the place of a file (rename(2)).
    ///
    /// # Errors
    /// That is a directory, or in another file system.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // Once it is in its place there is none of that name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Replaces a file by one with this content and the same mode, or 0600 where there was none.
///
/// # Errors
/// It cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = Replacement::beside(path)?;
    new.file.write_all(content)?;
    if let Ok(old) = fs::metadata(path) {
        new.file.set_permissions(old.permissions())?;
    }
    new.replace(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_keeps_its_mode_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace(&path, b"a").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // What a killed process has left is no obstacle.
        std::mem::forget(Replacement::beside(&path).unwrap());
        replace(&path, b"b").unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap()), (0o640, b"b".to_vec()));
        assert!(replace(directory.path(), b"").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
