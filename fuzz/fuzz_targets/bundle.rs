//! The edit of a container's config.json: a node is added only where the runtime will put it into a
//! tmpfs of the container's own, in nobody's way, and nothing else changes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, from_str, json};
use ttyplugd::model::{DevNum, Mode};
use ttyplugd::runtime::oci_config::{BundleNode, add_nodes, grant};
use ttyplugd::runtime::placement::place;
use ttyplugd_fuzz::bounded;

const NODES: [&str; 4] = ["/dev/a", "/dev/b/c", "/dev/b/c/d", "/dev/serial/e"];

fuzz_target!(|text: &str| {
    let Ok(before @ Value::Object(_)) = from_str::<Value>(text) else {
        return;
    };
    let devnum = DevNum {
        major: 188,
        minor: 0,
    };
    let node = |path: &str| BundleNode {
        path: path.parse().expect("a port may be there"),
        devnum,
        mode: Mode::DEFAULT,
        uid: 0,
        gid: 20,
    };
    let wanted: Vec<BundleNode> = NODES.map(node).into();
    // The image has no links.
    let (placed, left_out) = bounded(|| place(&before, &|_| Ok(None), wanted));
    assert_eq!(placed.len() + left_out.len(), NODES.len());
    for node in &placed {
        is_in_an_own_tmpfs(&before, node.path.as_str());
        is_in_nobodys_way(&before, node.path.as_str());
    }
    let mut after = before.clone();
    let edited = add_nodes(&mut after, &placed).and_then(|()| grant(&mut after, &[devnum]));
    if edited.is_some() {
        assert_eq!(
            without_ours(after, placed.len(), 1),
            without_ours(before, 0, 0)
        );
    }
});

/// A path in an image without links.
fn plain(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.iter().map(|name| format!("/{name}")).collect()
}

fn is_below(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn list<'a>(config: &'a Value, pointer: &str) -> impl DoubleEndedIterator<Item = &'a Value> {
    let list = config.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn mounts(config: &Value) -> impl DoubleEndedIterator<Item = (String, &Value)> {
    list(config, "/mounts").map(|mount| {
        let destination = mount["destination"].as_str().expect("it leads somewhere");
        (plain(destination), mount)
    })
}

/// The last mount at or above a directory is what is there.
fn is_in_an_own_tmpfs(config: &Value, node: &str) {
    let there = mounts(config).rfind(|(point, _)| is_below(node, point));
    let (_, mount) = there.expect("the image's own files are no tmpfs");
    assert_eq!(mount["type"], "tmpfs", "{node}");
    for option in list(mount, "/options") {
        let foreign = [
            "bind",
            "rbind",
            "ro",
            "nodev",
            "tmpcopyup",
            "shared",
            "rshared",
            "slave",
        ];
        assert!(
            !foreign.contains(&option.as_str().unwrap_or("bind")),
            "{node}: {mount}"
        );
    }
}

fn is_in_nobodys_way(config: &Value, node: &str) {
    for (point, _) in mounts(config) {
        assert!(point != node && !is_below(&point, node), "{node}: {point}");
    }
    let devices = list(config, "/linux/devices").filter_map(|device| device["path"].as_str());
    let masked = list(config, "/linux/maskedPaths").chain(list(config, "/linux/readonlyPaths"));
    for path in devices.chain(masked.filter_map(Value::as_str)).map(plain) {
        let apart = path != node && !is_below(&path, node) && !is_below(node, &path);
        assert!(apart, "{node}: {path}");
    }
}

/// The file without so many nodes and rules at the ends of their lists, and without empty lists.
fn without_ours(mut config: Value, nodes: usize, rules: usize) -> Value {
    let linux = &mut config["linux"];
    for (pointer, ours) in [("/devices", nodes), ("/resources/devices", rules)] {
        if let Some(Value::Array(list)) = linux.pointer_mut(pointer) {
            list.truncate(list.len().saturating_sub(ours));
        }
    }
    prune(&mut linux["resources"], "devices");
    prune(linux, "resources");
    prune(linux, "devices");
    config
}

fn prune(value: &mut Value, key: &str) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let empty = [json!(null), json!([]), json!({})];
    if object.get(key).is_some_and(|value| empty.contains(value)) {
        object.remove(key);
    }
}
