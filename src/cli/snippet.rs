//! A `[[port]]` as text: what `ports` prints, and `add` writes. Pure.

use std::fmt;

use serde_json::json;

use crate::model::selector::DeviceMatch;

/// A `[[port]]` for one container.
pub(super) struct Snippet<'a> {
    pub(super) name: &'a str,
    pub(super) device: &'a DeviceMatch,
    pub(super) container: &'a str,
    pub(super) node: &'a str,
}

impl fmt::Display for Snippet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let globs = self.device.globs();
        let globs = globs.map(|(key, glob)| format!("{} = {}", key.name(), quote(glob)));
        let globs = globs.collect::<Vec<_>>().join(", ");
        writeln!(f, "[[port]]")?;
        writeln!(f, "name = {}", quote(self.name))?;
        writeln!(f, "match = {{ {globs} }}")?;
        writeln!(f, "containers = [{}]", quote(self.container))?;
        writeln!(f, "node = {}", quote(self.node))
    }
}

/// A TOML basic string. It has the same escapes as JSON (TOML 1.0, "String"). All control characters
/// are escaped, because the terminal would carry them out.
fn quote(text: &str) -> String {
    let quoted = json!(text).to_string();
    let escaped = quoted.chars().map(|c| match c {
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    escaped.collect()
}
