//! The compose files of examples/, read by PyYAML.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

/// A service as it is written, with what it merges in.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) keys: Map<String, Value>,
}

/// A YAML file, as PyYAML understands it.
pub(crate) fn yaml(file: &Path) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    // Debian's own, which has python3-yaml.
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(file)
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}: {output:?}", file.display());
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// The services of a compose file.
pub(crate) fn services(file: &Path) -> Vec<Service> {
    let document = yaml(file);
    let services = document["services"].as_object().expect("it has services");
    let services = services.iter().map(|(name, keys)| Service {
        name: name.clone(),
        keys: keys.as_object().expect("a service is a table").clone(),
    });
    services.collect()
}

impl Service {
    pub(crate) fn text(&self, key: &str) -> &str {
        let value = self.keys.get(key).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no {key} in {self:#?}"))
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let list = self.keys.get(key).and_then(Value::as_array);
        let texts = list.into_iter().flatten().map(|value| {
            let text = value.as_str();
            text.unwrap_or_else(|| panic!("{value} of {key} needs quotes"))
        });
        texts.map(String::from).collect()
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.table("labels")
    }

    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        self.table("environment")
    }

    /// Compose takes numbers and truths for text here, and YAML has its own way with them
    /// (`0660` is 432), so only text is accepted.
    fn table(&self, key: &str) -> BTreeMap<String, String> {
        let table = self.keys.get(key).and_then(Value::as_object);
        let pairs = table.into_iter().flatten().map(|(name, value)| {
            let text = value.as_str();
            let text = text.unwrap_or_else(|| panic!("{name}: {value} needs quotes"));
            (name.clone(), text.to_owned())
        });
        pairs.collect()
    }
}
