//! What `check` has to say, and how it is printed. Pure.

use serde_json::{Value, json};

use crate::cli::output::plain;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// A port does not work because of it.
    Error,
    /// A port may not work as it is meant to.
    Warning,
    /// Good to know.
    Note,
}

/// A kind of finding. What is said of one place may be an error there and a warning elsewhere, but
/// its code and its reason are always the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Its name for programs, which never changes.
    pub(super) code: &'static str,
    /// Why it matters; empty where that is plain.
    pub(super) why: &'static str,
}

#[derive(Debug)]
struct Finding {
    level: Level,
    kind: &'static Kind,
    /// What it is about: a file, a port, a container.
    subject: String,
    what: String,
    /// The line that mends it; empty where there is nothing to mend.
    fix: String,
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn error(
        &mut self,
        kind: &'static Kind,
        subject: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Error, kind, subject, what.into(), fix.into());
    }

    pub(super) fn warning(
        &mut self,
        kind: &'static Kind,
        subject: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Warning, kind, subject, what.into(), fix.into());
    }

    pub(super) fn note(
        &mut self,
        kind: &'static Kind,
        subject: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Note, kind, subject, what.into(), fix.into());
    }

    pub(super) fn add(
        &mut self,
        level: Level,
        kind: &'static Kind,
        subject: &str,
        what: String,
        fix: String,
    ) {
        self.findings.push(Finding {
            level,
            kind,
            subject: subject.to_owned(),
            what,
            fix,
        });
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.findings.append(&mut other.findings);
    }

    /// Whether anything says this already.
    pub(super) fn says(&self, words: &str) -> bool {
        self.findings.iter().any(|f| f.what.contains(words))
    }

    /// Puts what is to be mended first at the top: errors before warnings before notes, and each
    /// of them from the ground up, which is the order in which they were found.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.level);
    }

    pub(super) fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|f| f.level == level).count()
    }

    pub(super) fn as_value(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(Finding::as_value).collect();
        json!({
            "schema": 1,
            "ok": self.count(Level::Error) == 0,
            "errors": self.count(Level::Error),
            "warnings": self.count(Level::Warning),
            "findings": findings,
        })
    }

    pub(super) fn as_text(&self) -> String {
        let mut text: String = self.findings.iter().map(Finding::as_text).collect();
        let count = |level, word| match self.count(level) {
            0 => format!("no {word}s"),
            1 => format!("1 {word}"),
            more => format!("{more} {word}s"),
        };
        text += &format!(
            "\n{}, {}\n",
            count(Level::Error, "error"),
            count(Level::Warning, "warning")
        );
        text
    }
}

impl Finding {
    fn as_value(&self) -> Value {
        json!({
            "level": match self.level {
                Level::Error => "error",
                Level::Warning => "warning",
                Level::Note => "note",
            },
            "code": self.kind.code,
            "subject": self.subject,
            "what": self.what,
            "why": self.kind.why,
            "remedy": self.fix,
        })
    }

    /// One line for what is good; what is not has its reason and the line that mends it below.
    fn as_text(&self) -> String {
        let (word, style) = match self.level {
            Level::Error => ("error", anstyle::AnsiColor::Red.on_default().bold()),
            Level::Warning => ("warning", anstyle::AnsiColor::Yellow.on_default()),
            Level::Note if self.fix.is_empty() => ("ok", anstyle::AnsiColor::Green.on_default()),
            Level::Note => ("note", anstyle::AnsiColor::Green.on_default()),
        };
        let (subject, what) = (plain(&self.subject), plain(&self.what));
        let mut text = format!("{style}{word:<7}{style:#} {subject}: {what}\n");
        if self.level != Level::Note && !self.kind.why.is_empty() {
            text += &format!("        why: {}\n", self.kind.why);
        }
        if !self.fix.is_empty() {
            text += &format!("        fix: {}\n", plain(&self.fix));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        code: "a-kind",
        why: "it matters",
    };

    #[test]
    fn what_is_to_be_mended_first_comes_first_and_a_count_ends_it() {
        let mut report = Report::default();
        report.note(&KIND, "engine", "answers", "");
        report.warning(&KIND, "port a", "is weak", "make it strong");
        report.error(&KIND, "udev", "is down", "start it");
        report.error(&KIND, "container \u{1b}[2J", "has no right", "give it");
        report.sort();
        let text = anstream::adapter::strip_str(&report.as_text()).to_string();
        assert_eq!(
            text,
            "error   udev: is down\n        why: it matters\n        fix: start it\n\
             error   container \u{fffd}[2J: has no right\n        why: it matters\n        \
             fix: give it\n\
             warning port a: is weak\n        why: it matters\n        fix: make it strong\n\
             ok      engine: answers\n\
             \n2 errors, 1 warning\n"
        );
        let value = report.as_value();
        assert_eq!(
            (&value["ok"], &value["errors"], &value["warnings"]),
            (&json!(false), &json!(2), &json!(1))
        );
        assert_eq!(
            value["findings"][0],
            json!({
                "level": "error", "code": "a-kind", "subject": "udev", "what": "is down",
                "why": "it matters", "remedy": "start it",
            })
        );
        let nothing = Report::default().as_text();
        assert_eq!(nothing, "\nno errors, no warnings\n");
    }
}
