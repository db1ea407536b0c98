//! What is wrong with the syntax of a configuration file, in words that help. Pure.

use std::ops::Range;

use crate::model::nearest::nearest;
use crate::model::written::boolean;

/// The message of an error that the parser found in `file`, with what was probably meant.
pub(super) fn explained(message: &str, span: Option<Range<usize>>, file: &str) -> String {
    let bare = span.and_then(|span| BareValue::at(span, file));
    match bare.filter(|bare| bare.lacks_quotation_marks(message)) {
        Some(bare) => bare.message(),
        None => with_nearest_key(message),
    }
}

/// A value without quotation marks, and its key.
struct BareValue<'a> {
    key: &'a str,
    text: &'a str,
}

impl<'a> BareValue<'a> {
    /// The one that `span` is a part of.
    fn at(span: Range<usize>, file: &'a str) -> Option<Self> {
        let begin = file.get(..span.start)?.rfind(['=', ',', '[', '\n'])?;
        let (before, after) = (&file[..begin], file[begin..].strip_prefix('=')?);
        let end = after.find([',', ']', '}', '#', '\n']);
        let text = after[..end.unwrap_or(after.len())].trim();
        let mut keys = before.rsplit([' ', '\t', '\n', '{', ',']);
        let key = keys.find(|key| !key.is_empty())?;
        let is_bare = !text.is_empty() && !text.contains(['"', '\'', '{', '[', '=']);
        is_bare.then_some(Self { key, text })
    }

    /// Whether the error is that a string has none: the value is of another type (serde,
    /// `de::Error::invalid_type`), or of none, such as `0658` and `1a86`.
    fn lacks_quotation_marks(&self, message: &str) -> bool {
        let parsed = toml::from_str::<toml::Table>(&format!("x = {}", self.text));
        match parsed {
            Ok(_) => message.ends_with("expected a string"),
            // Such as `True`, for a key that is no string.
            Err(_) => boolean(self.text).is_none() || !message.contains("boolean"),
        }
    }

    fn message(&self) -> String {
        let Self { key, text } = self;
        format!("{text} needs quotation marks: {key} = \"{text}\"")
    }
}

/// Adds "did you mean" to serde's message about an unknown key, which lists the known ones
/// (serde, `de::Error::unknown_field`: "unknown field `a`, expected one of `b`, `c`").
fn with_nearest_key(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted
        .next()
        .filter(|_| message.starts_with("unknown field"));
    let Some(unknown) = unknown else {
        return message.to_owned();
    };
    match nearest(unknown, quoted) {
        Some(known) => format!("unknown key {unknown:?}; did you mean {known:?}?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::parse;

    fn error(text: &str) -> String {
        let errors = parse(&[(PathBuf::from("x"), text.to_owned())]).unwrap_err();
        errors[0].to_string()
    }

    #[test]
    fn a_value_that_needs_quotation_marks_is_shown_with_them() {
        let port = "[[port]]\nname = \"a\"\n";
        for (text, expected) in [
            (
                "match = { vendor = 0658, product = \"0200\" }",
                r#"vendor = "0658""#,
            ),
            ("match = {vendor=0658,product=0200}", r#"vendor = "0658""#),
            (
                "match = { vendor = \"0658\", product = 0200 }",
                r#"product = "0200""#,
            ),
            ("match = { vendor = 1a86 }", r#"vendor = "1a86""#),
            ("match = { vendor = feed }", r#"vendor = "feed""#),
            ("match = { vendor = 1e86 }", r#"vendor = "1e86""#),
            ("match = { vendor = 0x1a86 }", r#"vendor = "0x1a86""#),
            ("match = { vendor = 7523 }", r#"vendor = "7523""#),
            ("match = { serial = A B }", r#"serial = "A B""#),
            ("match.vendor = 0658", r#"match.vendor = "0658""#),
            (
                "match = {}\nmode = 0660 # rw",
                r#":4: 0660 needs quotation marks: mode = "0660""#,
            ),
            ("match = {}\nnode = /dev/x", r#"node = "/dev/x""#),
            ("match = {}\nhold = 60s", r#"hold = "60s""#),
            ("match = {}\nhold = 60", r#"hold = "60""#),
            ("match = {}\nhold = false", r#"hold = "false""#),
        ] {
            let error = error(&format!("{port}{text}"));
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(error("[[port]]\nname = 1").contains("name = \"1\""));
        assert!(error("inject = exec").contains("inject = \"exec\""));
    }

    #[test]
    fn no_other_error_asks_for_quotation_marks() {
        for text in [
            "announce = True",
            "announce = 1",
            "announce = \"true\"",
            "[[port]]\nname = \"a\"\nmatch = \"vendor=0658\"",
            "[[port]]\nname = \"a\"\nmatch = { vendor = 'x }",
            "[[port]]\nname = \"a\"\nmatch = {}\nowner = 1.5",
            "[[port]]\nname = \"a\"\nmatch = { vendor = \"0658\", product }",
            "[[port]]\nname = \"a\"\nmatch = {}\ncontainers = [zwave]",
            "[[port",
            "x =",
            "x = \n",
            "= 1",
            "x",
            "1 = 1",
        ] {
            let error = error(text);
            assert!(!error.contains("quotation marks"), "{text}: {error}");
        }
    }
}
