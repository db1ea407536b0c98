//! What a wrapper tells of a container, by its config.json: whatever annotations and mounts are in it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, from_str};
use ttyplugd::hold::protocol::{Creating, VERSION, line, take};
use ttyplugd::model::label::{LONGEST, MOST, TOTAL};
use ttyplugd::runtime::description::describe;
use ttyplugd::runtime::oci_args::Container;
use ttyplugd_fuzz::bounded;

const BUNDLE: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c0ffee";

fuzz_target!(|text: &str| {
    let Ok(config) = from_str::<Value>(text) else {
        return;
    };
    let container = Container {
        id: "c0ffee".into(),
        root: "/run/containerd/runc/k8s.io".into(),
    };
    let Some(described) = bounded(|| describe(&config, Path::new(BUNDLE), &container)) else {
        return;
    };
    // No annotation makes it another engine's container.
    assert_eq!(described.id().key(), "containerd/k8s.io/c0ffee");
    let names: Vec<&str> = described.name.split('/').collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    assert!(names.len() == 1 || names.len() == 3, "{names:?}");
    assert!(
        names
            .iter()
            .all(|name| !name.is_empty() && name.chars().all(plain))
    );

    let labels = &described.labels;
    assert!(labels.len() <= MOST + 1);
    let longest = LONGEST + 8;
    assert!(
        labels
            .iter()
            .all(|(key, value)| key.len() <= longest && value.len() <= longest)
    );
    assert!(labels.keys().all(|key| key.starts_with("ttyplugd.")));
    let total: usize = labels
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert!(total <= TOTAL + 2 * longest);
    assert!(
        described
            .foreign
            .iter()
            .all(|path| !path.contains("/../") && !path.contains("//"))
    );

    let creating = Creating {
        ttyplugd: VERSION,
        container: container.id,
        description: Some(described),
    };
    let told = take::<Creating>(&mut line(&creating)).expect("it was written by us");
    assert_eq!(told, Some(creating));
});
