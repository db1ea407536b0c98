//! What was measured: rows with their statistics and goals, as a table and as a file.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use serde_json::{Value, json};

/// What was measured of one case.
pub(crate) struct Row {
    case: String,
    unit: &'static str,
    /// In the order of the rounds.
    pub(crate) rounds: Vec<f64>,
    sorted: Vec<f64>,
    goal: Option<(f64, Statistic)>,
}

/// What a goal is set for.
#[derive(Clone, Copy)]
pub(crate) enum Statistic {
    Median,
    P99,
}

/// How many rounds are measured: as many as the caller says, else as usual.
pub(crate) fn rounds(usual: usize) -> usize {
    // cargo passes --bench before what the caller has to say.
    let said = std::env::args().find_map(|word| word.parse().ok());
    said.unwrap_or(usual).max(1)
}

impl Row {
    pub(crate) fn new(case: &str, unit: &'static str, rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            case: case.into(),
            unit,
            rounds,
            sorted,
            goal: None,
        }
    }

    pub(crate) fn goal(mut self, most: f64, of: Statistic) -> Self {
        self.goal = Some((most, of));
        self
    }

    pub(crate) fn n(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn best(&self) -> f64 {
        self.sorted[0]
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.n() / 2;
        match self.n() % 2 {
            0 => f64::midpoint(self.sorted[middle - 1], self.sorted[middle]),
            _ => self.sorted[middle],
        }
    }

    /// By nearest rank: the smallest value that so many per cent did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        self.sorted[(self.n() * percent).div_ceil(100) - 1]
    }

    /// What the goal is set for, the goal, and what there is instead.
    fn judged(&self) -> Option<(&'static str, f64, f64)> {
        let (most, of) = self.goal?;
        Some(match of {
            Statistic::Median => ("median", most, self.median()),
            Statistic::P99 => ("p99", most, self.percentile(99)),
        })
    }

    pub(crate) fn json(&self) -> Value {
        let mut row = json!({
            "case": self.case,
            "n": self.n(),
            "best": rounded(self.best()),
            "median": rounded(self.median()),
            "p95": rounded(self.percentile(95)),
            "p99": rounded(self.percentile(99)),
            "unit": self.unit,
        });
        if let Some((of, most, is)) = self.judged() {
            row["goal"] = json!({ "of": of, "most": most, "met": is <= most });
        }
        row
    }
}

pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

pub(crate) fn median(values: &[f64]) -> f64 {
    Row::new("", "", values.to_vec()).median()
}

pub(crate) fn verdict(of: &str, most: f64, is: f64) -> String {
    let met = if is <= most { "met" } else { "missed" };
    format!("{of} ≤ {most}: {met}")
}

/// A table in Markdown.
pub(crate) fn print_rows(rows: &[Row]) {
    println!("\n| case | n | best | median | p95 | p99 | unit | goal |");
    println!("|---|--:|--:|--:|--:|--:|---|---|");
    for row in rows {
        let goal = row
            .judged()
            .map(|(of, most, is)| verdict(of, most, is))
            .unwrap_or_default();
        println!(
            "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {goal} |",
            row.case,
            row.n(),
            row.best(),
            row.median(),
            row.percentile(95),
            row.percentile(99),
            row.unit,
        );
    }
}

/// Writes bench/NAME in cargo's target directory.
pub(crate) fn write(name: &str, result: &Value) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("cargo makes it below the target directory");
    let directory = target.join("bench");
    let file = directory.join(name);
    fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    fs::write(&file, format!("{result:#}\n")).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    // This runs as root, and the directory belongs to whoever runs cargo.
    let owner = fs::metadata(target).expect("it is there");
    for path in [&directory, &file] {
        chown(path, Some(owner.uid()), Some(owner.gid())).expect("root may do that");
    }
    println!("\nwritten to {}", file.display());
}
