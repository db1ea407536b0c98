//! The program that is registered.

use anyhow::{Context, ensure};

use crate::engine::daemon_json::PROGRAM;

/// The path of the wrapper, which is installed beside this program.
pub(super) fn wrapper() -> anyhow::Result<String> {
    let path = std::env::current_exe()?.with_file_name(PROGRAM);
    ensure!(
        path.is_file(),
        "{} not found; install both programs into one directory",
        path.display()
    );
    let name = path.to_str().map(String::from);
    name.with_context(|| format!("{} is not UTF-8", path.display()))
}
