//! What a run has come to, in figures.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::testbed::{entries, test_dir};

use super::machine::Machine;
use super::opens::{Open, Verdict};
use super::operation::Operation;
use super::pulse::Standstill;

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) operations: u64,
    by_word: BTreeMap<&'static str, u64>,
    /// How long each comparison waited, in microseconds.
    settled: Vec<u64>,
    opens: u64,
    failed: u64,
    held: u64,
    unknown: u64,
    /// How long after an unplug an open has still succeeded, in microseconds.
    late: Vec<u64>,
    /// How long the machine stood still each time, in microseconds.
    stood_still: Vec<u64>,
    /// Of the daemon after so many operations: its own memory in kB, and its descriptors.
    samples: Vec<(u64, u64, usize)>,
}

impl Report {
    /// Counts one more, and returns its number.
    pub(super) fn count(&mut self, operation: &Operation) -> u64 {
        self.operations += 1;
        *self.by_word.entry(operation.word()).or_default() += 1;
        self.operations
    }

    pub(super) fn settled(&mut self, took: u64) {
        self.settled.push(took);
    }

    pub(super) fn open(&mut self, open: &Open, verdict: &Verdict) {
        self.opens += 1;
        self.failed += u64::from(!open.is_ok());
        self.held += u64::from(open.was_held());
        self.unknown += u64::from(*verdict == Verdict::Unknown);
        if let Verdict::Late(late) = verdict {
            self.late.push(*late);
        }
    }

    pub(super) fn stood_still(&mut self, when: &[Standstill]) {
        let times = when.iter().map(|(from, to)| to - from);
        self.stood_still.extend(times);
    }

    pub(super) fn sample(&mut self, machine: &Machine) {
        let (memory, descriptors) = machine.size_of_daemon();
        self.samples.push((self.operations, memory, descriptors));
    }

    pub(super) fn print(&self) {
        let words = self.by_word.iter();
        let words: Vec<_> = words
            .map(|(word, count)| format!("{word} {count}"))
            .collect();
        println!("\n{} operations: {}", self.operations, words.join(", "));
        println!(
            "{} opens, {} of them held; {} failed as they may; of {} nothing can be said",
            self.opens, self.held, self.failed, self.unknown
        );
        let ms = |sorted: &[u64], percent| percentile(sorted, percent).unwrap_or_default() / 1000;
        let settled = sorted(&self.settled);
        println!(
            "everything was right {} ms after the last operation (median; p99 {} ms, n {})",
            ms(&settled, 50),
            ms(&settled, 99),
            settled.len()
        );
        let late = sorted(&self.late);
        println!(
            "opens that have succeeded after an unplug: {}, {} ms after it (median; p99 {} ms, most {} ms)",
            late.len(),
            ms(&late, 50),
            ms(&late, 99),
            ms(&late, 100)
        );
        println!(
            "the machine stood still {} times, for {} ms at most",
            self.stood_still.len(),
            ms(&sorted(&self.stood_still), 100)
        );
        println!(
            "the daemon had {} kB of its own up to operation 500, {} kB at the end; {} descriptors",
            self.memory(0, 500),
            self.memory(self.operations.saturating_sub(500), self.operations),
            self.samples.last().map_or(0, |last| last.2)
        );
    }

    /// The median between these operations.
    fn memory(&self, from: u64, to: u64) -> u64 {
        let samples = self.samples.iter().filter(|s| (from..=to).contains(&s.0));
        let samples: Vec<_> = samples.map(|sample| sample.1).collect();
        percentile(&sorted(&samples), 50).unwrap_or_default()
    }
}

pub(super) fn sorted(values: &[u64]) -> Vec<u64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values
}

/// By nearest rank: the smallest value that so many per cent did not exceed.
pub(super) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Where a run leaves its files: target/chaos. It belongs to whoever runs cargo, and this runs as root.
pub(super) fn directory() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("cargo makes it below the target directory");
    let directory = target.join("chaos");
    fs::create_dir_all(&directory).expect("root can make a directory");
    let owner = fs::metadata(target).expect("it is there");
    chown(&directory, Some(owner.uid()), Some(owner.gid())).expect("root may do that");
    directory
}

/// Keeps the journal, an entry a line with the fields that its program has written, and what the
/// engine has logged.
pub(super) fn keep_logs() {
    let kept = directory();
    let lines: Vec<_> = entries(&[]).iter().filter_map(line_of).collect();
    fs::write(kept.join("journal.txt"), lines.join("\n")).expect("root can write a file");
    for log in ["dockerd.log", "containerd.log"] {
        fs::copy(test_dir().join(log), kept.join(log)).expect("the engine has a log");
    }
    println!(
        "the journal and the engine's logs are in {}",
        kept.display()
    );
}

/// Time, program and message of an entry, and its other fields but those that are in every one.
fn line_of(entry: &Value) -> Option<String> {
    const IN_ALL: [&str; 7] = [
        "MESSAGE",
        "MESSAGE_ID",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "TARGET",
        "CODE_FILE",
        "CODE_LINE",
    ];
    let entry = entry.as_object()?;
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let seconds = text("__MONOTONIC_TIMESTAMP").parse::<f64>().ok()? / 1e6;
    let others = entry.iter();
    let others = others.filter(|(key, _)| !key.starts_with('_') && !IN_ALL.contains(&key.as_str()));
    let others: String = others
        .map(|(key, value)| format!(" {key}={value}"))
        .collect();
    let (program, message) = (text("SYSLOG_IDENTIFIER"), text("MESSAGE"));
    Some(format!("{seconds:.3} {program}: {message}{others}"))
}
