//! A small text file in a directory of root's, mostly of another program, that is replaced whole: its
//! readers see the old text or the new one, and its owner and mode stay.
//!
//! No other user may influence which file is written. So links are followed one by one, every
//! directory on the way must be writable by root alone, and the text is written to a new file that
//! is renamed into place (rename(2)).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::unistd::geteuid;

use crate::sys::replacement::Replacement;

/// More links than this are an error (the kernel's own limit is 40; path_resolution(7)).
const LINKS: usize = 8;

#[derive(Debug)]
pub struct WholeFile {
    /// The file itself, whatever links lead to it.
    path: PathBuf,
    before: Option<Before>,
}

#[derive(Debug)]
struct Before {
    text: String,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl WholeFile {
    /// Reads a file, which need not be there yet.
    ///
    /// # Errors
    /// It cannot be read, is not text, or other users than root could replace it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let path = resolve(path)?;
        let before = before(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, before })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text when it was read; `None` if it did not exist.
    pub fn text(&self) -> Option<&str> {
        self.before.as_ref().map(|before| before.text.as_str())
    }

    /// Replaces the text, if `check` accepts the new file.
    ///
    /// # Errors
    /// It cannot be written, or `check` does not accept it. The file is as it was then.
    pub fn replace(
        &self,
        text: &str,
        check: impl Fn(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.write(&self.path, text, check)
    }

    /// Writes the text that was read to a backup beside it, and returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn back_up(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(text) = self.text() else {
            return Ok(None);
        };
        let backup = self.backup();
        self.write(&backup, text, |_| Ok(()))?;
        Ok(Some(backup))
    }

    /// Restores it as it was when it was read.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn restore(&self) -> anyhow::Result<()> {
        match self.text() {
            Some(text) => self.replace(text, |_| Ok(())),
            None => self.remove(),
        }
    }

    /// # Errors
    /// It is there and cannot be removed.
    pub fn remove(&self) -> anyhow::Result<()> {
        remove(&self.path)
    }

    /// # Errors
    /// It is there and cannot be removed.
    pub fn remove_backup(&self) -> anyhow::Result<()> {
        remove(&self.backup())
    }

    fn backup(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".bak-ttyplugd");
        self.path.with_file_name(name)
    }

    fn write(
        &self,
        to: &Path,
        text: &str,
        check: impl Fn(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let new = self
            .create(text)
            .with_context(|| format!("cannot write to the directory of {}", to.display()))?;
        check(new.path())
            .and_then(|()| Ok(new.replace(to)?))
            .with_context(|| to.display().to_string())?;
        // The name is on the disk when its directory is (fsync(2)). The file is in place already.
        let directory = to.parent().and_then(|parent| File::open(parent).ok());
        let _ = directory.map(|directory| directory.sync_all());
        Ok(())
    }

    /// Makes the new file, and its directories if need be.
    fn create(&self, text: &str) -> std::io::Result<Replacement> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)?;
        let mut new = Replacement::beside(&self.path)?;
        new.file.write_all(text.as_bytes())?;
        let mode = match &self.before {
            Some(before) => {
                fchown(&new.file, Some(before.uid), Some(before.gid))?;
                before.mode
            }
            None => 0o644,
        };
        new.file.set_permissions(Permissions::from_mode(mode))?;
        new.file.sync_all()?;
        Ok(new)
    }
}

/// Follows links to where a file is or would be.
///
/// # Errors
/// A directory on the way does not exist or is not safe.
pub fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS {
        let name = path.file_name().context("it does not name a file")?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        // A directory that is not there yet is made where it is named.
        let directory = match fs::canonicalize(parent) {
            Err(error) if error.kind() == ErrorKind::NotFound => parent.to_owned(),
            directory => directory.with_context(|| parent.display().to_string())?,
        };
        for ancestor in directory.ancestors() {
            trust(ancestor)?;
        }
        path = directory.join(name);
        match fs::read_link(&path) {
            Ok(target) => path = directory.join(target),
            Err(_) => return Ok(path),
        }
    }
    anyhow::bail!("{}: too many links", path.display())
}

/// Only root can replace the file at a path if all directories of the path belong to root and are
/// writable by root alone. In one with the sticky bit others cannot rename or remove files of root
/// (inode(7)).
fn trust(directory: &Path) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.with_context(|| directory.display().to_string())?,
    };
    let owned = metadata.uid() == 0 || metadata.uid() == geteuid().as_raw();
    let shared = metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0;
    anyhow::ensure!(
        owned && !shared,
        "other users than root can write to {}, so no file in it is safe to edit: \
         chown root {0} && chmod go-w {0}",
        directory.display()
    );
    Ok(())
}

fn before(path: &Path) -> anyhow::Result<Option<Before>> {
    let options = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(options)
        .open(path)
    {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata()?;
    anyhow::ensure!(metadata.is_file(), "it is not a regular file");
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Some(Before {
        text,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    }))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_links_lead_to_is_replaced_and_the_links_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        let real = directory.path().join("sub/real");
        fs::create_dir(real.parent().unwrap()).unwrap();
        fs::write(&real, "old").unwrap();
        mode(&real, 0o604);
        symlink("b", &first).unwrap();
        symlink("sub/real", &second).unwrap();

        let file = WholeFile::read(&first).unwrap();
        assert_eq!(file.text(), Some("old"));
        let backup = file.back_up().unwrap().unwrap();
        file.replace("new", |new| {
            assert_eq!(fs::read_to_string(new).unwrap(), "new");
            assert_eq!(fs::read_to_string(&real).unwrap(), "old");
            Ok(())
        })
        .unwrap();
        assert!(fs::symlink_metadata(&first).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        for path in [&real, &backup] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o604);
        }
        assert_eq!(fs::read_to_string(&backup).unwrap(), "old");

        file.restore().unwrap();
        file.remove_backup().unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "old");
        assert_eq!(names(real.parent().unwrap()), ["real"]);
    }

    #[test]
    fn what_is_not_accepted_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let file = WholeFile::read(&path).unwrap();
        let error = file.replace("new", |_| anyhow::bail!("no")).unwrap_err();
        assert!(format!("{error:#}").ends_with("file: no"), "{error:#}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn a_file_and_its_directory_are_made_and_the_file_can_be_unmade() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker/daemon.json");
        let file = WholeFile::read(&path).unwrap();
        assert_eq!((file.text(), file.back_up().unwrap()), (None, None));
        file.replace("new", |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        file.restore().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_others_can_write_in_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let shared = directory.path().join("shared");
        fs::create_dir(&shared).unwrap();
        mode(&shared, 0o777);
        fs::create_dir(shared.join("inside")).unwrap();
        // Neither itself, nor what is in it, nor a link that leads through it to a good place.
        let good = directory.path().join("good");
        fs::write(&good, "").unwrap();
        symlink(&good, shared.join("link")).unwrap();
        symlink(shared.join("link"), directory.path().join("to-link")).unwrap();
        for path in ["shared/file", "shared/inside/file", "to-link"] {
            let error = WholeFile::read(&directory.path().join(path)).unwrap_err();
            assert!(error.to_string().contains("chmod go-w"), "{path}: {error}");
        }
        // In one with the sticky bit nobody can replace a file of another user.
        mode(&shared, 0o1777);
        WholeFile::read(&directory.path().join("to-link")).unwrap();
    }

    #[test]
    fn links_in_a_circle_and_what_is_no_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        symlink("b", directory.path().join("a")).unwrap();
        symlink("a", directory.path().join("b")).unwrap();
        fs::create_dir(directory.path().join("directory")).unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["a", "directory", "fifo"] {
            assert!(
                WholeFile::read(&directory.path().join(name)).is_err(),
                "{name}"
            );
        }
    }
}
