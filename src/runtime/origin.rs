//! Which engine has made a bundle, and in which annotations it names the container. Pure.
//!
//! Engines add what the author of a pod wants to be added, before they set their own annotations
//! (cri-o, internal/factory/container, `SpecAddAnnotations`). So those of another engine are anybody's.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde_json::Value;

/// Set by Podman and CRI-O (podman, pkg/annotations; cri-o, internal/lib/constants).
const MANAGER: &str = "io.container.manager";

/// The name that nerdctl gives a container (nerdctl, pkg/labels).
const NERDCTL: &str = "nerdctl/name";

/// The namespace of containerd in which Docker has its containers (dockerd(8), --containerd-namespace).
const MOBY: &str = "moby";

/// The annotations in which an engine names a container of a pod.
struct PodKeys {
    kind: &'static str,
    /// Its namespace, its pod and its own name.
    names: [&'static str; 3],
}

/// containerd, pkg/cri/annotations.
const OF_CONTAINERD: PodKeys = PodKeys {
    kind: "io.kubernetes.cri.container-type",
    names: [
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.container-name",
    ],
};

/// CRI-O's own, and the labels that the kubelet sets.
const OF_CRI_O: PodKeys = PodKeys {
    kind: "io.kubernetes.cri-o.ContainerType",
    names: [
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.name",
        "io.kubernetes.container.name",
    ],
};

/// The annotations of a bundle.
pub(super) struct Annotations<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Annotations<'a> {
    pub(super) fn of(config: &'a Value) -> Self {
        let all = config.get("annotations").and_then(Value::as_object);
        let all = all.into_iter().flatten();
        let texts = all.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        Self(texts.collect())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().map(|(key, text)| (*key, *text))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }

    fn name(&self, key: &str) -> Option<&'a str> {
        self.get(key).filter(is_name)
    }
}

/// Whether a text can be a name of Kubernetes', or of nerdctl's. Another one is not shown to anybody.
fn is_name(text: &&str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=253).contains(&text.len()) && text.chars().all(is_plain)
}

/// The engine that has made a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin<'a> {
    Docker,
    /// With the namespace, if the bundle is in the directory of one.
    Containerd(Option<&'a str>),
    Podman,
    CriO,
    /// Only the directory of the runtime's containers is known (runc(8), --root).
    Runtime(&'a str),
}

impl<'a> Origin<'a> {
    /// containerd's bundles are in a directory of their namespace (containerd, core/runtime/v2/bundle.go).
    pub(super) fn of(bundle: &'a Path, root: &'a str, annotations: &Annotations) -> Self {
        let mut names = bundle.components().filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        if names.any(|name| name.starts_with("io.containerd.runtime.")) {
            return match names.next() {
                Some(MOBY) => Self::Docker,
                namespace => Self::Containerd(namespace),
            };
        }
        match annotations.get(MANAGER) {
            Some("libpod") => Self::Podman,
            Some("cri-o") => Self::CriO,
            _ => Self::Runtime(root),
        }
    }

    /// The name of the engine. The runtime's root is a part of it if it is not the default one.
    pub(super) fn engine(self) -> String {
        match self {
            Self::Docker => "docker".to_owned(),
            Self::Containerd(Some(namespace)) => format!("containerd/{namespace}"),
            Self::Containerd(None) => "containerd".to_owned(),
            Self::Podman => "podman".to_owned(),
            Self::CriO => "cri-o".to_owned(),
            Self::Runtime(root) => format!("oci{}", root.trim_end_matches('/')),
        }
    }

    /// Whether annotations may be what an image says: Podman takes over those of the image's manifest, and
    /// what makes a bundle of an image the image's labels (OCI image-spec, conversion.md).
    pub(super) fn has_those_of_image(self) -> bool {
        matches!(self, Self::Podman | Self::Runtime(_))
    }

    fn pod_keys(self) -> Option<PodKeys> {
        match self {
            Self::Containerd(_) => Some(OF_CONTAINERD),
            Self::CriO => Some(OF_CRI_O),
            Self::Docker | Self::Podman | Self::Runtime(_) => None,
        }
    }

    /// Whether a container is the sandbox of a pod, in which nothing of the user runs.
    pub(super) fn is_sandbox(self, annotations: &Annotations) -> bool {
        let keys = self.pod_keys();
        keys.is_some_and(|keys| annotations.get(keys.kind) == Some("sandbox"))
    }

    /// The namespace, the pod and the name of a container of a pod.
    pub(super) fn pod<'b>(self, annotations: &Annotations<'b>) -> Option<[&'b str; 3]> {
        let names = self.pod_keys()?.names;
        let [namespace, pod, container] = names.map(|key| annotations.name(key));
        Some([namespace?, pod?, container?])
    }

    /// The name that the user has given to a container of no pod.
    pub(super) fn name<'b>(self, annotations: &Annotations<'b>) -> Option<&'b str> {
        match self {
            Self::Containerd(_) => annotations.name(NERDCTL),
            _ => None,
        }
    }
}
