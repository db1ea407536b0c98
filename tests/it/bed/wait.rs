//! Waiting: always for something to become true, always with a limit.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once. Far above what is normal, since it is
/// only ever waited out by a test that fails.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is `Ok`.
///
/// # Panics
/// After `limit`, with the reason that the last answer gave.
pub(crate) fn eventually<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) if Instant::now() > end => {
                panic!("not within {limit:?}: {what}\n{reason}");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Runs a program to its end, which it has to reach within a minute.
pub(crate) fn output<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Output {
    Command::new("timeout")
        .args(["--kill-after=5", "60", program])
        .args(arguments)
        .output()
        .expect("timeout, of coreutils, runs")
}

/// Runs a program that has to succeed, and returns what it printed.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let output = output(program, arguments);
    let shown: Vec<_> = arguments
        .iter()
        .map(|a| a.as_ref().to_string_lossy())
        .collect();
    assert!(
        output.status.success(),
        "{program} {}: {}\n{}",
        shown.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
