//! A disk that can be full or read-only.

use std::fs;
use std::path::{Path, PathBuf};

use super::wait::{output, run};

/// A small file system in the place of a directory.
#[derive(Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn at(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("it is ours");
        let disk = Self(directory);
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk.path()],
        );
        disk
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("it is UTF-8")
    }

    /// Makes it `full`, or else read-only.
    pub(crate) fn spoil(&self, how: &str) {
        match how {
            "full" => {
                // dd fails when there is no more room.
                let file = format!("of={}/rest", self.path());
                output("dd", &["if=/dev/zero", &file, "bs=4k"]);
            }
            _ => self.remount("ro"),
        }
    }

    pub(crate) fn mend(&self) {
        self.remount("rw");
        let _ = fs::remove_file(Path::new(self.path()).join("rest"));
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), self.path()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        output("umount", &["--lazy", self.path()]);
    }
}
