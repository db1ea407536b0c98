//! What the daemon costs: memory, and processor time while nothing happens.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Daemon;

/// How long the daemon is watched doing nothing: in this time it looks at everything again once.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

pub(crate) struct Idle {
    pub(crate) cpu: Duration,
    /// How often one of its threads went to sleep by itself.
    pub(crate) wakes: u64,
}

impl Daemon {
    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid()).into()
    }

    pub(crate) fn memory_mb(&self) -> f64 {
        field(&self.proc("status"), "VmRSS:") as f64 / 1024.0
    }

    /// Watches it for [`IDLE`].
    pub(crate) fn idle(&self) -> Idle {
        // Each thread counts for itself, and one that has nothing to do ends after some seconds:
        // hence a look every second.
        let begin = Instant::now();
        let first = self.threads();
        let mut last = first.clone();
        while begin.elapsed() < IDLE {
            sleep(Duration::from_secs(1));
            last.extend(self.threads());
        }
        let mut idle = Idle {
            cpu: Duration::ZERO,
            wakes: 0,
        };
        for (thread, (cpu, wakes)) in last {
            let (cpu_before, wakes_before) = first.get(&thread).copied().unwrap_or_default();
            idle.cpu += Duration::from_nanos(cpu - cpu_before);
            idle.wakes += wakes - wakes_before;
        }
        idle
    }

    /// By thread: nanoseconds on a core, and how often it went to sleep by itself.
    fn threads(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let tasks = fs::read_dir(self.proc("task")).expect("ttyplugd runs");
        let tasks = tasks.map(|task| task.expect("ttyplugd runs").path());
        tasks
            .map(|task| {
                let cpu = field(&task.join("schedstat"), "");
                let wakes = field(&task.join("status"), "\nvoluntary_ctxt_switches:");
                (task, (cpu, wakes))
            })
            .collect()
    }
}

/// The number that follows a word in a file of /proc (proc(5)).
fn field(path: &Path, word: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let rest = text.split_once(word).map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{} has no {word:?}:\n{text}", path.display()))
}
