//! The findings of `check`, and how they are printed. Pure.

use serde_json::{Value, json};

use crate::cli::output::printable;

/// Where the package has the page with a section for each code.
const PAGE: &str = "/usr/share/doc/ttyplugd/docs/troubleshooting.md";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// A port does not work because of it.
    Error,
    /// A port may not work as it is meant to.
    Warning,
    /// Good to know.
    Note,
}

/// A kind of finding. Its level may differ from case to case, but not its name and its reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// The name that programs use. It never changes.
    pub(super) name: &'static str,
    /// Why the finding matters; empty if that is obvious.
    pub(super) why: &'static str,
}

#[derive(Debug)]
struct Finding {
    level: Level,
    code: &'static Code,
    /// A file, a port, a container, …
    subject: String,
    what: String,
    /// How to fix it; empty if nothing needs fixing.
    fix: String,
}

/// All findings, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn error(
        &mut self,
        code: &'static Code,
        subject: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Error, code, subject, what.into(), fix.into());
    }

    pub(super) fn warning(
        &mut self,
        code: &'static Code,
        subject: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Warning, code, subject, what.into(), fix.into());
    }

    pub(super) fn note(
        &mut self,
        code: &'static Code,
        subject: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Note, code, subject, what.into(), fix.into());
    }

    pub(super) fn add(
        &mut self,
        level: Level,
        code: &'static Code,
        subject: &str,
        what: String,
        fix: String,
    ) {
        self.findings.push(Finding {
            level,
            code,
            subject: subject.to_owned(),
            what,
            fix,
        });
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.findings.append(&mut other.findings);
    }

    /// Whether a finding contains this text.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.findings.iter().any(|f| f.what.contains(text))
    }

    /// Puts errors before warnings before notes. Findings of one level stay in the order in which
    /// they were found: the host first, containers last.
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
            "code": self.code.name,
            "subject": self.subject,
            "what": self.what,
            "why": self.code.why,
            "remedy": self.fix,
            "see": self.code.page(),
        })
    }

    /// A line, and for problems the reason, the fix and the page about it below.
    fn as_text(&self) -> String {
        let (word, style) = match self.level {
            Level::Error => ("error", anstyle::AnsiColor::Red.on_default().bold()),
            Level::Warning => ("warning", anstyle::AnsiColor::Yellow.on_default()),
            Level::Note if self.fix.is_empty() => ("ok", anstyle::AnsiColor::Green.on_default()),
            Level::Note => ("note", anstyle::AnsiColor::Green.on_default()),
        };
        let (subject, what) = (printable(&self.subject), printable(&self.what));
        let mut text = format!("{style}{word:<7}{style:#} {subject}: {what}\n");
        if self.level != Level::Note && !self.code.why.is_empty() {
            text += &format!("        why: {}\n", self.code.why);
        }
        if !self.fix.is_empty() {
            text += &format!("        fix: {}\n", printable(&self.fix));
        }
        if self.level != Level::Note || !self.fix.is_empty() {
            text += &format!("        see: {}\n", self.code.page());
        }
        text
    }
}

impl Code {
    /// The section of the documentation about it.
    fn page(&self) -> String {
        format!("{PAGE}#{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: Code = Code {
        name: "a-code",
        why: "it matters",
    };

    const SEE: &str = "/usr/share/doc/ttyplugd/docs/troubleshooting.md#a-code";

    #[test]
    fn errors_come_first_and_a_count_comes_last() {
        let mut report = Report::default();
        report.note(&CODE, "engine", "answers", "");
        report.warning(&CODE, "port a", "is weak", "make it strong");
        report.error(&CODE, "udev", "is down", "start it");
        report.error(&CODE, "container \u{1b}[2J", "has no right", "give it");
        report.sort();
        let text = anstream::adapter::strip_str(&report.as_text()).to_string();
        assert_eq!(
            text,
            format!(
                "error   udev: is down\n        why: it matters\n        fix: start it\n        \
                 see: {SEE}\n\
                 error   container \u{fffd}[2J: has no right\n        why: it matters\n        \
                 fix: give it\n        see: {SEE}\n\
                 warning port a: is weak\n        why: it matters\n        fix: make it strong\n\
                 \u{20}       see: {SEE}\n\
                 ok      engine: answers\n\
                 \n2 errors, 1 warning\n"
            )
        );
        let value = report.as_value();
        assert_eq!(
            (&value["ok"], &value["errors"], &value["warnings"]),
            (&json!(false), &json!(2), &json!(1))
        );
        assert_eq!(
            value["findings"][0],
            json!({
                "level": "error", "code": "a-code", "subject": "udev", "what": "is down",
                "why": "it matters", "remedy": "start it", "see": SEE,
            })
        );
        let nothing = Report::default().as_text();
        assert_eq!(nothing, "\nno errors, no warnings\n");
    }
}
