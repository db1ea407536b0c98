//! examples/kubernetes: what the files say of the runtime, of the pods and of the ports is one thing.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use toml::Table;
use ttyplugd::config::labels::{PortRequests, port_requests};
use ttyplugd::config::settings::LabelPolicy;

use crate::compose::yaml;
use crate::papers::{blocks, read};

fn example(name: &str) -> String {
    read(&format!("examples/kubernetes/{name}"))
}

fn manifest(name: &str) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes");
    yaml(&directory.join(name))
}

/// The runtimes of the drop-in for containerd.
fn runtimes() -> Table {
    let drop_in: Table = example("ttyplug.toml").parse().unwrap();
    assert_eq!(drop_in["version"].as_integer(), Some(3));
    let cri = &drop_in["plugins"]["io.containerd.cri.v1.runtime"];
    cri["containerd"]["runtimes"].as_table().unwrap().clone()
}

/// The annotations of a pod, as text: Kubernetes takes nothing else.
fn annotations(metadata: &Value) -> BTreeMap<String, String> {
    let annotations = metadata["annotations"].as_object().unwrap().iter();
    let text = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap().to_owned());
    annotations.map(text).collect()
}

/// A name without a prefix, as a key of an annotation has to be (Kubernetes, "Annotations", "Syntax
/// and character set").
fn is_a_key(key: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    key.len() <= 63 && key.chars().all(inner) && end(key.chars().next()) && end(key.chars().last())
}

#[test]
fn the_runtime_class_the_pod_and_the_runtime_of_containerd_have_the_same_name() {
    let class = manifest("runtimeclass.yaml");
    let pod = &manifest("zigbee2mqtt.yaml")["spec"]["template"]["spec"];
    assert_eq!(pod["runtimeClassName"], class["metadata"]["name"]);
    let runtimes = runtimes();
    assert_eq!(runtimes.len(), 1, "{runtimes:?}");
    let runtime = &runtimes[class["handler"].as_str().unwrap()];
    let program = runtime["options"]["BinaryName"].as_str().unwrap();
    let package = read("Cargo.toml");
    let asset = format!(
        "[\"target/release/ttyplug-runtime\", \"{}/\"",
        &program[1..program.rfind('/').unwrap()]
    );
    assert!(package.contains(&asset), "{program}: {asset}");
}

#[test]
fn k3s_makes_the_drop_in_of_its_template() {
    let template = example("config-v3.toml.tmpl");
    let made = template
        .replace("{{ template \"base\" . }}", "version = 3")
        .replace("{{ .SystemdCgroup }}", "true");
    assert!(!made.contains("{{"), "{made}");
    let drop_in: Table = example("ttyplug.toml").parse().unwrap();
    assert_eq!(made.parse::<Table>().unwrap(), drop_in);
}

#[test]
fn the_pod_has_a_port_that_its_application_is_told_of_and_no_wider_right() {
    let template = &manifest("zigbee2mqtt.yaml")["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let requests = port_requests(
        &annotations(&template["metadata"]),
        LabelPolicy::Container,
        &[],
    );
    let ports = requests.unwrap().own;
    assert_eq!(ports.len(), 1, "{ports:?}");
    let node = ports[0].node.path.as_ref().unwrap().as_str();
    let told = container["env"].as_array().unwrap();
    assert!(
        told.iter().any(|variable| variable["value"] == node),
        "{told:?}"
    );
    let whole = template.to_string();
    for wider in [
        "privileged",
        "securityContext",
        "\"/dev",
        "devices",
        "resources",
    ] {
        let node = format!("\"{node}\"");
        assert!(
            !whole.replace(&node, "").contains(wider),
            "{wider} in {whole}"
        );
    }
}

#[test]
fn the_pod_runs_where_the_page_has_its_reader_label_the_node() {
    let selector = &manifest("zigbee2mqtt.yaml")["spec"]["template"]["spec"]["nodeSelector"];
    for (key, value) in selector.as_object().unwrap() {
        let label = format!("kubectl label node NODE {key}={}", value.as_str().unwrap());
        for place in ["README.md", "zigbee2mqtt.yaml"] {
            assert!(example(place).contains(&label), "{place}: {label}");
        }
    }
}

/// containerd matches them with Go's path.Match, for which a final `*` is everything without a slash.
#[test]
fn containerd_hands_on_every_annotation_that_a_page_shows_and_they_are_understood() {
    let runtimes = runtimes();
    let handed_on = runtimes["ttyplug"]["pod_annotations"].as_array().unwrap();
    let begins = |key: &str| {
        let patterns = handed_on.iter().map(|pattern| pattern.as_str().unwrap());
        let mut prefixes = patterns.map(|pattern| pattern.strip_suffix('*').unwrap());
        prefixes.any(|prefix| key.starts_with(prefix))
    };
    let shown = TempDir::new().unwrap();
    let file = shown.path().join("pod.yaml");
    let page = read("docs/kubernetes.md");
    let mut pods = vec![manifest("zigbee2mqtt.yaml")["spec"]["template"].clone()];
    for block in blocks(&page, "yaml") {
        std::fs::write(&file, block).unwrap();
        pods.push(yaml(&file));
    }
    assert!(pods.len() >= 2);
    for pod in pods {
        let annotations = annotations(&pod["metadata"]);
        assert!(
            annotations.keys().all(|key| begins(key) && is_a_key(key)),
            "{annotations:?}"
        );
        let requests = port_requests(&annotations, LabelPolicy::Container, &[]);
        assert_ne!(
            requests.unwrap(),
            PortRequests::default(),
            "{annotations:?}"
        );
    }
}
