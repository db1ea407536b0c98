//! Describes a container by its config.json (OCI runtime-spec) and by where the engine has put it. Pure.
//!
//! All of it but the place is what the maker of the container says, who may be hostile.

use std::path::Path;

use serde_json::Value;

use crate::config::labels::of_annotations;
use crate::hold::description::Description;
use crate::runtime::oci_args::Container;
use crate::runtime::origin::{Annotations, Origin};

/// What is known of a container. `None` for the sandbox of a pod, in which nothing of the user runs.
pub fn describe(config: &Value, bundle: &Path, container: &Container) -> Option<Description> {
    let annotations = Annotations::of(config);
    let Container { id, root } = container;
    let origin = Origin::of(bundle, root, &annotations);
    if origin.is_sandbox(&annotations) {
        return None;
    }
    let pod = origin.pod(&annotations);
    let name = match pod {
        Some(names) => names.join("/"),
        None => origin.name(&annotations).unwrap_or(id).to_owned(),
    };
    let (everything, rules) = rules(config);
    Some(Description {
        container: id.clone(),
        root: root.clone(),
        engine: origin.engine(),
        name,
        labels: of_annotations(annotations.all(), pod.map(|[_, _, name]| name)),
        has_those_of_image: origin.has_those_of_image(),
        foreign: foreign(config).collect(),
        everything,
        rules,
        nodes: texts(config, "/linux/devices", "path").collect(),
        groups: groups(config).collect(),
    })
}

/// The mount points of all that is bound into it: only such a tmpfs can be another's as well. The type of
/// a bind mount is none (OCI runtime-spec, config.md, "Mounts").
fn foreign(config: &Value) -> impl Iterator<Item = String> {
    let foreign = list(config, "/mounts").filter(|mount| {
        let mut options = list(mount, "/options").filter_map(Value::as_str);
        let kind = mount.get("type").and_then(Value::as_str);
        kind.is_none_or(|kind| kind == "bind" || kind == "none")
            || options.any(|option| option == "bind" || option == "rbind")
    });
    foreign.filter_map(|mount| Some(plain(mount.get("destination")?.as_str()?)))
}

/// A path without `.`, `..` and further slashes.
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

/// Whether the device cgroup allows everything, and the rules by which it allows more than nothing:
/// each entry comes after those before it (OCI runtime-spec, config-linux.md, "Allowed Device List").
fn rules(config: &Value) -> (bool, Vec<String>) {
    let (mut everything, mut rules) = (false, Vec::new());
    for entry in list(config, "/linux/resources/devices") {
        let text = |key| entry.get(key).and_then(Value::as_str);
        let number = |key| entry.get(key).and_then(Value::as_u64);
        let (kind, access) = (text("type").unwrap_or("a"), text("access").unwrap_or("rwm"));
        let numbers = (number("major"), number("minor"));
        let is_all = kind == "a" && numbers == (None, None);
        let of_number = |number: Option<u64>| number.map_or("*".to_owned(), |n| n.to_string());
        let rule = format!(
            "c {}:{} {access}",
            of_number(numbers.0),
            of_number(numbers.1)
        );
        match entry.get("allow").and_then(Value::as_bool) {
            Some(true) if is_all => everything = access.contains('r') && access.contains('w'),
            Some(true) if kind == "a" || kind == "c" => rules.push(rule),
            Some(true) => {}
            _ if is_all => (everything, rules) = (false, Vec::new()),
            _ => rules.retain(|allowed| *allowed != rule),
        }
    }
    (everything, rules)
}

fn groups(config: &Value) -> impl Iterator<Item = String> {
    let groups = list(config, "/process/user/additionalGids");
    groups.filter_map(|group| Some(group.as_u64()?.to_string()))
}

fn list<'a>(config: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = config.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn texts(config: &Value, pointer: &str, key: &str) -> impl Iterator<Item = String> {
    list(config, pointer).filter_map(move |entry| Some(entry.get(key)?.as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";

    fn described(config: &Value, bundle: &str) -> Option<Description> {
        let container = Container {
            id: "c0ffee".into(),
            root: "/run/x".into(),
        };
        describe(config, Path::new(bundle), &container)
    }

    fn annotated(annotations: Value) -> Option<Description> {
        described(&json!({ "annotations": annotations }), "/b")
    }

    fn of_containerd(annotations: Value) -> Option<Description> {
        let bundle = format!("{TASKS}/k8s.io/c0ffee");
        described(&json!({ "annotations": annotations }), &bundle)
    }

    #[test]
    fn the_engine_is_known_by_the_place_of_the_bundle() {
        let config = json!({ "annotations": { "io.container.manager": "cri-o" } });
        for (bundle, engine) in [
            (format!("{TASKS}/moby/c0ffee"), "docker"),
            (format!("{TASKS}/k8s.io/c0ffee"), "containerd/k8s.io"),
            (TASKS.to_owned(), "containerd"),
            ("/var/lib/containers/c0ffee/userdata".to_owned(), "cri-o"),
        ] {
            let described = described(&config, &bundle).unwrap();
            assert_eq!(described.engine, engine, "{bundle}");
            assert_eq!(described.name, "c0ffee");
        }
        let by_hand = described(&json!({}), "/b").unwrap();
        assert_eq!(by_hand.engine, "oci/run/x");
        assert!(by_hand.has_those_of_image);
    }

    #[test]
    fn a_container_of_a_pod_is_called_after_it_and_a_sandbox_is_none() {
        let containerd = json!({
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-namespace": "home",
            "io.kubernetes.cri.sandbox-name": "zigbee-0",
            "io.kubernetes.cri.container-name": "zigbee2mqtt",
            "ttyplugd.enable": "false",
            "ttyplugd.zigbee2mqtt.enable": "true",
            "ttyplugd.other.hold": "off",
        });
        let described = of_containerd(containerd).unwrap();
        assert!(!described.has_those_of_image);
        assert_eq!(described.name, "home/zigbee-0/zigbee2mqtt");
        let labels = BTreeMap::from([("ttyplugd.enable".to_owned(), "true".to_owned())]);
        assert_eq!(described.labels, labels);

        let crio = json!({
            "io.container.manager": "cri-o",
            "io.kubernetes.cri-o.ContainerType": "container",
            "io.kubernetes.pod.namespace": "home",
            "io.kubernetes.pod.name": "zigbee-0",
            "io.kubernetes.container.name": "zigbee2mqtt",
        });
        assert_eq!(annotated(crio).unwrap().name, "home/zigbee-0/zigbee2mqtt");
        let sandbox = json!({ "io.kubernetes.cri.container-type": "sandbox" });
        assert_eq!(of_containerd(sandbox), None);
        let sandbox = json!({
            "io.container.manager": "cri-o",
            "io.kubernetes.cri-o.ContainerType": "sandbox",
        });
        assert_eq!(annotated(sandbox), None);
        // Podman has called every container a sandbox (podman before 4.0).
        let podman = json!({
            "io.container.manager": "libpod",
            "io.kubernetes.cri-o.ContainerType": "sandbox",
        });
        assert!(annotated(podman).unwrap().has_those_of_image);
        let nerdctl = of_containerd(json!({ "nerdctl/name": "zigbee" })).unwrap();
        assert_eq!(nerdctl.name, "zigbee");
    }

    /// CRI-O copies the annotations of a pod, of which anybody can be the author, before it sets its own.
    #[test]
    fn the_annotations_of_another_engine_name_nobody() {
        let of_another = json!({
            "io.container.manager": "cri-o",
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri.sandbox-namespace": "home",
            "io.kubernetes.cri.sandbox-name": "zigbee-0",
            "io.kubernetes.cri.container-name": "zigbee2mqtt",
            "nerdctl/name": "zigbee2mqtt",
            "ttyplugd.enable": "true",
            "ttyplugd.zigbee2mqtt.enable": "false",
            "ttyplugd.own.enable": "false",
            "io.kubernetes.cri-o.ContainerType": "container",
            "io.kubernetes.pod.namespace": "evil",
            "io.kubernetes.pod.name": "x",
            "io.kubernetes.container.name": "own",
        });
        let with_manager = |manager: &str| {
            let mut annotations = of_another.clone();
            annotations["io.container.manager"] = manager.into();
            annotated(annotations).unwrap()
        };
        let of_crio = with_manager("cri-o");
        assert_eq!(of_crio.name, "evil/x/own");
        assert_eq!(of_crio.labels["ttyplugd.enable"], "false");
        for manager in ["libpod", "", "containerd"] {
            assert_eq!(with_manager(manager).name, "c0ffee", "{manager}");
        }
        let bundle = format!("{TASKS}/moby/c0ffee");
        let config = json!({ "annotations": of_another });
        assert_eq!(described(&config, &bundle).unwrap().name, "c0ffee");
    }

    #[test]
    fn a_name_that_cannot_be_one_is_not_taken() {
        for wrong in ["", "a/b", "a b", "\u{1b}[2J", "é", &"a".repeat(254)] {
            let described = of_containerd(json!({
                "io.kubernetes.cri.sandbox-namespace": "home",
                "io.kubernetes.cri.sandbox-name": wrong,
                "io.kubernetes.cri.container-name": "zigbee2mqtt",
                "nerdctl/name": wrong,
            }));
            assert_eq!(described.unwrap().name, "c0ffee", "{wrong:?}");
        }
    }

    #[test]
    fn what_is_bound_into_it_is_foreign() {
        let config = json!({ "mounts": [
            { "destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/dev/./serial//", "type": "bind", "options": ["rbind"] },
            { "destination": "/x/../dev/shm", "type": "tmpfs", "options": ["bind"] },
            { "destination": "/data", "type": "none", "options": [] },
            { "destination": "/files" },
            { "destination": "/proc", "type": "proc" },
            { "type": "bind" },
        ] });
        let foreign = described(&config, "/b").unwrap().foreign;
        let foreign: Vec<_> = foreign.iter().map(String::as_str).collect();
        assert_eq!(foreign, ["/data", "/dev/serial", "/dev/shm", "/files"]);
    }

    #[test]
    fn what_it_may_open_is_what_its_rules_allow_one_after_the_other() {
        let rules = |devices: Value| {
            let config = json!({ "linux": { "resources": { "devices": devices } } });
            let described = described(&config, "/b").unwrap();
            (described.everything, described.rules)
        };
        let none = json!({ "allow": false, "access": "rwm" });
        let acm = json!({ "allow": true, "type": "c", "major": 166, "access": "rw" });
        let usb = json!({ "allow": true, "type": "c", "major": 188, "minor": 0, "access": "rwm" });
        let disk = json!({ "allow": true, "type": "b", "major": 8, "access": "rw" });
        let all = json!({ "allow": true, "access": "rwm" });
        assert_eq!(
            rules(json!([none, acm, usb, disk])),
            (
                false,
                vec!["c 166:* rw".to_owned(), "c 188:0 rwm".to_owned()]
            )
        );
        assert_eq!(rules(json!([acm, none])), (false, vec![]));
        assert_eq!(rules(json!([none, all])), (true, vec![]));
        assert_eq!(rules(json!([all, none])), (false, vec![]));
        let not = json!({ "allow": false, "type": "c", "major": 166, "access": "rw" });
        assert_eq!(rules(json!([acm, not, 7, {}])), (false, vec![]));
        assert_eq!(rules(json!(7)), (false, vec![]));
    }
}
