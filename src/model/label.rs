//! Which labels of containers and images are kept, and how much of them. Pure.
//!
//! The maker of a container or an image chooses its labels, and the engine bounds neither their
//! number nor their length.

use std::collections::{BTreeMap, BTreeSet};

/// The beginning of every label that is addressed to us.
pub const PREFIX: &str = "ttyplugd.";

/// How long a label may be, in bytes, and its value too. A longer one is cut some bytes later, so
/// it is still known to be longer.
pub const LONGEST: usize = 4096;

/// How many labels with our prefix a container may have. One more is kept, by which it is known
/// that there are too many.
pub const MOST: usize = 256;

/// How long they may be together, in bytes. What exceeds it is kept as far as that is known by it.
pub const TOTAL: usize = 64 << 10;

pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";
pub const COMPOSE_SERVICE: &str = "com.docker.compose.service";
pub const COMPOSE_HASH: &str = "com.docker.compose.config-hash";

/// The labels by which anything is decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeededLabels {
    /// Those by which the configuration chooses containers.
    selectors: BTreeSet<String>,
}

impl NeededLabels {
    pub fn new<'a>(selectors: impl IntoIterator<Item = &'a str>) -> Self {
        let selectors = selectors.into_iter().map(str::to_owned).collect();
        Self { selectors }
    }

    /// What is kept of all labels of a container or an image.
    pub fn of(&self, all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
        let all = all.into_iter().filter(|(label, _)| self.has(label));
        let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|(label, _)| label.starts_with(PREFIX));
        let cut = |(label, value)| (cut(label), cut(value));
        let mut total = 0;
        let own = own.into_iter().take(MOST + 1).map(cut);
        let own = own.take_while(|(label, value)| {
            let before = total;
            total += label.len() + value.len();
            before <= TOTAL
        });
        let own: Vec<_> = own.collect();
        own.into_iter().chain(others.into_iter().map(cut)).collect()
    }

    fn has(&self, label: &str) -> bool {
        label.starts_with(PREFIX)
            || [COMPOSE_PROJECT, COMPOSE_SERVICE, COMPOSE_HASH].contains(&label)
            || self.selectors.contains(label)
    }
}

/// Finds a label that is too long, or one too many, with the reason as the second half of a
/// sentence.
pub fn excess<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Option<(&'a str, String)> {
    let own = labels.filter(|(label, _)| label.starts_with(PREFIX));
    let mut total = 0;
    for (number, (label, value)) in own.enumerate() {
        total += label.len() + value.len();
        if number == MOST {
            return Some((label, format!("is one of more than {MOST} ttyplugd labels")));
        }
        if label.len() > LONGEST || value.len() > LONGEST {
            let begin = label
                .char_indices()
                .nth(100)
                .map_or(label.len(), |(at, _)| at);
            return Some((&label[..begin], format!("is longer than {LONGEST} bytes")));
        }
        if total > TOTAL {
            let reason = format!("is one of ttyplugd labels with more than {TOTAL} bytes");
            return Some((label, reason));
        }
    }
    None
}

fn cut(text: String) -> String {
    match text.char_indices().find(|(at, _)| *at > LONGEST) {
        // A copy: the text itself stays as large as it was.
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        owned.collect()
    }

    fn excess_of(labels: &BTreeMap<String, String>) -> Option<(&str, String)> {
        excess(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }

    #[test]
    fn only_labels_that_decide_something_are_kept() {
        let needed = NeededLabels::new(["role"]);
        let kept = needed.of(labels(&[
            ("role", "zwave"),
            ("other", "x"),
            ("ttyplugd.enable", "true"),
            ("ttyplug", "x"),
            (COMPOSE_SERVICE, "app"),
            ("com.docker.compose.image", "x"),
        ]));
        let kept: Vec<_> = kept.keys().map(String::as_str).collect();
        assert_eq!(kept, [COMPOSE_SERVICE, "role", "ttyplugd.enable"]);
    }

    #[test]
    fn what_is_too_long_or_too_much_is_cut_and_known() {
        let needed = NeededLabels::new(["role"]);
        let at_most = "é".repeat(LONGEST / 2);
        let kept = needed.of(labels(&[("ttyplugd.enable", &at_most), ("role", &at_most)]));
        assert_eq!(kept["ttyplugd.enable"], at_most);
        assert_eq!(excess_of(&kept), None);

        let long = "é".repeat(1 << 20);
        let (value, key) = (format!("ttyplugd.{long}"), format!("ttyplugd.x{long}"));
        for label in [
            ("ttyplugd.enable", &*long),
            (&*value, "x"),
            (&*key, "x"),
            ("role", &long),
        ] {
            let kept = needed.of(labels(&[label]));
            let size = |text: &String| text.capacity();
            assert!(kept.iter().all(|(k, v)| size(k) + size(v) < 2 * LONGEST));
            assert_eq!(
                excess_of(&kept).is_some(),
                label.0 != "role",
                "{}",
                label.0.len()
            );
        }

        let large = "x".repeat(LONGEST - 100);
        let large: Vec<_> = (0..200)
            .map(|n| (format!("ttyplugd.{n:04}"), large.clone()))
            .collect();
        let kept = needed.of(large);
        assert!(
            kept.len() < 20 && excess_of(&kept).is_some(),
            "{}",
            kept.len()
        );

        let many: Vec<_> = (0..5000)
            .map(|n| (format!("ttyplugd.{n:04}"), String::new()))
            .collect();
        assert_eq!(excess_of(&needed.of(many[..MOST].to_vec())), None);
        let kept = needed.of(many);
        assert_eq!(kept.len(), MOST + 1);
        assert_eq!(excess_of(&kept).unwrap().0, "ttyplugd.0256");
    }
}
