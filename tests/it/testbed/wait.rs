//! Waiting for something to become true, always with a limit, and running other programs.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once. Only a test that fails waits so long, so
/// it is far above what a busy machine needs.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The answer of a condition. `Err` says what is seen instead.
pub(crate) trait Answer {
    type Value;
    fn result(self) -> Result<Self::Value, String>;
}

impl Answer for bool {
    type Value = ();
    fn result(self) -> Result<(), String> {
        self.then_some(()).result()
    }
}

impl<T> Answer for Option<T> {
    type Value = T;
    fn result(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<T> Answer for Result<T, String> {
    type Value = T;
    fn result(self) -> Self {
        self
    }
}

/// Asks again and again until the answer is `true`, `Some` or `Ok`.
///
/// # Panics
/// When it has not become so soon, with what was seen last.
#[track_caller]
pub(crate) fn until<A: Answer>(what: &str, ask: impl FnMut() -> A) -> A::Value {
    until_within(SOON, what, ask)
}

#[track_caller]
pub(crate) fn until_within<A: Answer>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> A,
) -> A::Value {
    let end = Instant::now() + limit;
    loop {
        match ask().result() {
            Ok(answer) => return answer,
            Err(seen) if Instant::now() > end => panic!("not within {limit:?}: {what}\n{seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Looks again and again until what it sees is as wanted, and returns that.
#[track_caller]
pub(crate) fn eventually<T: Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    until(what, || {
        let seen = look();
        if wanted(&seen) {
            return Ok(seen);
        }
        Err(format!("{seen:#?}"))
    })
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
#[track_caller]
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

/// A text has all of these words.
#[track_caller]
pub(crate) fn has_words(text: impl AsRef<[u8]>, words: &[&str]) {
    let text = String::from_utf8_lossy(text.as_ref());
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}
