//! The edit of a container's config.json (OCI runtime-spec) before it is created. Pure.
//!
//! Everything unknown stays as it is.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::model::{DevNum, Holds, Mode, NodePath};
use crate::runtime::seccomp_profile::{Untouched, notify_no_more, notify_of_serial_opens};

/// A node that is to exist before the container's first instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleNode {
    pub path: NodePath,
    pub devnum: DevNum,
    pub mode: Mode,
    pub uid: u32,
    pub gid: u32,
}

/// The root directory of the container's files, as config.json has it: absolute, or relative to
/// the bundle.
pub fn root_path(config: &Value) -> Option<&str> {
    config.get("root")?.get("path")?.as_str()
}

/// In a user namespace the runtime binds nodes of the host instead of making any, and the nodes of
/// ports have other names on the host.
pub fn has_user_namespace(config: &Value) -> bool {
    let namespaces = config
        .get("linux")
        .and_then(|linux| linux.get("namespaces"));
    let namespaces = namespaces.and_then(Value::as_array);
    namespaces.is_some_and(|all| all.iter().any(|n| n.get("type") == Some(&json!("user"))))
}

/// Adds nodes, see [`crate::runtime::placement`].
pub fn add_nodes(config: &mut Value, nodes: &[BundleNode]) -> Option<()> {
    if nodes.is_empty() {
        return Some(());
    }
    let linux = section(config.as_object_mut()?, "linux")?;
    let devices = list(linux, "devices")?;
    for node in nodes {
        devices.push(json!({
            "path": node.path,
            "type": "c",
            "major": node.devnum.major,
            "minor": node.devnum.minor,
            "fileMode": node.mode.0,
            "uid": node.uid,
            "gid": node.gid,
        }));
    }
    Some(())
}

/// Grants access to each of the devices, and to nothing else.
pub fn grant(config: &mut Value, numbers: &[DevNum]) -> Option<()> {
    if numbers.is_empty() {
        return Some(());
    }
    let linux = section(config.as_object_mut()?, "linux")?;
    let rules = list(section(linux, "resources")?, "devices")?;
    for devnum in numbers {
        rules.push(json!({
            "allow": true,
            "type": "c",
            "major": devnum.major,
            "minor": devnum.minor,
            "access": "rw",
        }));
    }
    Some(())
}

/// Makes the container's opens of serial ports notify the supervisor at the socket `listener`.
///
/// # Errors
/// Why nothing was changed.
pub fn supervise(
    config: &mut Value,
    holds: Holds,
    listener: &str,
    machine: &str,
) -> Result<(), Untouched> {
    let linux = config
        .as_object_mut()
        .and_then(|config| section(config, "linux"))
        .ok_or(Untouched::Malformed)?;
    notify_of_serial_opens(linux, holds, listener, machine)
}

/// Takes out what [`supervise`] has put in, if the listener is in the directory `keepers`. Returns
/// whether there was anything.
pub fn forget_supervisor(config: &mut Value, keepers: &Path) -> bool {
    let linux = config.get_mut("linux").and_then(Value::as_object_mut);
    linux.is_some_and(|linux| {
        notify_no_more(linux, |listener| Path::new(listener).starts_with(keepers))
    })
}

fn section<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> Option<&'a mut Map<String, Value>> {
    let section = object.entry(key).or_insert_with(|| json!({}));
    if section.is_null() {
        *section = json!({});
    }
    section.as_object_mut()
}

fn list<'a>(object: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let list = object.entry(key).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str) -> BundleNode {
        BundleNode {
            path: path.parse().unwrap(),
            devnum: DevNum {
                major: 188,
                minor: 1,
            },
            mode: Mode(0o660),
            uid: 0,
            gid: 20,
        }
    }

    #[test]
    fn a_node_is_added_and_access_to_it_alone_is_granted() {
        let mut config = json!({
            "ociVersion": "1.0.2",
            "linux": {
                "devices": [{ "path": "/dev/other", "type": "c", "major": 1, "minor": 1 }],
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            },
        });
        let nodes = [node("/dev/zwave")];
        add_nodes(&mut config, &nodes).unwrap();
        grant(&mut config, &[nodes[0].devnum]).unwrap();
        let devices = config["linux"]["devices"].as_array().unwrap();
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0]["path"], "/dev/other");
        assert_eq!(devices[1]["minor"], 1);
        assert_eq!(devices[1]["fileMode"], 0o660);
        let rules = config["linux"]["resources"]["devices"].as_array().unwrap();
        assert_eq!(rules[0], json!({ "allow": false, "access": "rwm" }));
        assert_eq!(
            rules[1],
            json!({
                "allow": true, "type": "c", "major": 188, "minor": 1, "access": "rw",
            })
        );
    }

    #[test]
    fn a_bundle_without_the_sections_gets_them_and_a_malformed_one_is_refused() {
        let mut config = json!({ "linux": { "devices": null, "resources": null } });
        let nodes = [node("/dev/zwave")];
        add_nodes(&mut config, &nodes).unwrap();
        grant(&mut config, &[nodes[0].devnum]).unwrap();
        assert_eq!(config["linux"]["devices"][0]["path"], "/dev/zwave");
        for mut malformed in [
            json!([]),
            json!({ "linux": 1 }),
            json!({ "linux": { "devices": {} } }),
        ] {
            assert_eq!(add_nodes(&mut malformed, &nodes), None);
        }
        let mut empty = json!({});
        supervise(&mut empty, Holds::Wide, "/run/x", "arm").unwrap();
        assert_eq!(empty["linux"]["seccomp"]["listenerPath"], "/run/x");
        assert!(has_user_namespace(
            &json!({ "linux": { "namespaces": [{ "type": "user" }] } })
        ));
        assert!(!has_user_namespace(
            &json!({ "linux": { "namespaces": [{ "type": "mount" }] } })
        ));
    }
}
