//! Containers for tests, as a look into them would show them.

use std::collections::BTreeMap;

use super::{Actual, Found};
use crate::model::{DevNum, NodePath};

/// A container with these entries, in which nothing keeps a node from being opened.
pub(super) fn actual(entries: BTreeMap<NodePath, Found>) -> Actual {
    let device = |path: &NodePath| Some((path.clone(), device(&entries, path)?));
    Actual {
        devices: entries.keys().filter_map(device).collect(),
        entries,
        ..Actual::default()
    }
}

/// The device that a path leads to, through one link at most.
fn device(entries: &BTreeMap<NodePath, Found>, path: &NodePath) -> Option<DevNum> {
    let number = |found: &Found| match found {
        Found::Node { devnum, .. } | Found::Mount(Some(devnum)) => Some(*devnum),
        _ => None,
    };
    let Found::Link { target } = entries.get(path)? else {
        return number(&entries[path]);
    };
    let mut others = entries.iter();
    let (_, found) = others.find(|(other, _)| path.relative_target(other) == *target)?;
    number(found)
}
