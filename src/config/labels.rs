//! Container labels that ask for ports: `ttyplugd.enable` and `ttyplugd.port.NAME.*`. Pure.

use std::collections::BTreeMap;

use crate::config::settings::LabelPolicy;
use crate::model::PortName;
use crate::model::nearest::nearest;
use crate::model::port::{Port, Words};

/// What a container's labels ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortRequests {
    /// `ttyplugd.enable=true`: every USB serial device, under its host name.
    pub every_port: bool,
    /// Ports that the labels define themselves.
    pub own: Vec<Port>,
    /// Ports of the configuration file, asked for by `use=true`.
    pub used: Vec<PortName>,
}

/// A label that cannot be understood. The container that carries it gets no port at all, so that
/// a half-understood wish never becomes a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label {label:?}: {reason}")]
pub struct LabelError {
    pub label: String,
    pub reason: String,
}

const PREFIX: &str = "ttyplugd.";
const WORDS: [&str; 7] = ["group", "hold", "match", "mode", "node", "owner", "use"];

/// The labels that count: those set when the container was created. A label that the image
/// carries with the same value came from whoever made the image.
pub fn own_labels(
    container: &BTreeMap<String, String>,
    image: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    container
        .iter()
        .filter(|(key, value)| image.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The labels of ours that the image carries and that are therefore ignored.
pub fn ignored_labels<'a>(
    container: &'a BTreeMap<String, String>,
    image: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a str> {
    container
        .iter()
        .filter(|(key, value)| key.starts_with(PREFIX) && image.get(*key) == Some(value))
        .map(|(key, _)| key.as_str())
}

/// The compose project and service of a container. `docker compose build` writes both labels
/// into the image too (compose-spec, build.md, "labels"), and then they do not count as the
/// container's own; where compose itself created the container, which its `config-hash` shows,
/// they count all the same.
pub fn compose_service(
    all: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> Option<(String, String)> {
    let by_compose = own.contains_key("com.docker.compose.config-hash");
    let labels = if by_compose { all } else { own };
    let project = labels.get("com.docker.compose.project")?;
    let service = labels.get("com.docker.compose.service")?;
    Some((project.clone(), service.clone()))
}

/// Reads the wishes from the labels that count.
///
/// # Errors
/// The first label under `ttyplugd.` that is not understood.
pub fn port_requests(
    labels: &BTreeMap<String, String>,
    policy: LabelPolicy,
    defined: &[Port],
) -> Result<PortRequests, LabelError> {
    let mut wishes = PortRequests::default();
    if policy == LabelPolicy::Off {
        return Ok(wishes);
    }
    let mut by_port: BTreeMap<PortName, BTreeMap<&str, &str>> = BTreeMap::new();
    for (label, value) in labels {
        let Some(key) = label.strip_prefix(PREFIX) else {
            continue;
        };
        let fail = |reason: String| LabelError {
            label: label.clone(),
            reason,
        };
        if key == "enable" {
            wishes.every_port = truth(value).map_err(fail)?;
        } else if let Some(key) = key.strip_prefix("port.") {
            let Some((name, word)) = key.split_once('.') else {
                let reason = "is not ttyplugd.port.NAME.WORD".to_owned();
                return Err(fail(reason));
            };
            let name = name
                .parse()
                .map_err(|reason| fail(format!("{name:?} {reason}")))?;
            if !WORDS.contains(&word) {
                return Err(fail(unknown(word, &WORDS)));
            }
            by_port.entry(name).or_default().insert(word, value);
        } else {
            return Err(fail(unknown(key, &["enable", "port"])));
        }
    }
    for (name, words) in by_port {
        let fail = |word: &str, reason: String| LabelError {
            label: format!("{PREFIX}port.{name}.{word}"),
            reason,
        };
        if let Some(value) = words.get("use") {
            if words.len() > 1 {
                let reason = "stands beside other words of the same port; `use` takes the port \
                              as the configuration file defines it";
                return Err(fail("use", reason.to_owned()));
            }
            if !truth(value).map_err(|reason| fail("use", reason))? {
                continue;
            }
            if defined.iter().all(|port| port.name != name) {
                let reason = format!("the configuration file defines no port {:?}", name.as_str());
                return Err(fail("use", reason));
            }
            wishes.used.push(name);
            continue;
        }
        let word = |key| words.get(key).copied();
        let Some(device) = word("match") else {
            let reason = "is missing; it says which device the port is, e.g. vendor=0658";
            return Err(fail("match", reason.to_owned()));
        };
        let device = device
            .parse()
            .map_err(|reason| fail("match", format!("{device:?} {reason}")))?;
        let (node, hold) = Words {
            node: word("node"),
            mode: word("mode"),
            owner: word("owner"),
            group: word("group"),
            hold: word("hold"),
        }
        .check()
        .map_err(|bad| fail(bad.key, format!("{:?} {}", bad.word, bad.reason)))?;
        wishes.own.push(Port {
            name,
            device,
            containers: Vec::new(),
            node,
            hold,
        });
    }
    Ok(wishes)
}

fn truth(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{value:?} is neither \"true\" nor \"false\"")),
    }
}

fn unknown(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(known) => format!("unknown word {word:?}; did you mean {known:?}?"),
        None => format!("unknown word {word:?}; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        owned.collect()
    }

    fn read(pairs: &[(&str, &str)]) -> Result<PortRequests, LabelError> {
        let file = (
            "config.toml".into(),
            "[[port]]\nname = \"meter\"\nmatch = { vendor = \"0403\" }".to_owned(),
        );
        let settings = crate::config::parse(&[file]).unwrap();
        port_requests(&map(pairs), LabelPolicy::Container, &settings.ports)
    }

    #[test]
    fn labels_define_ports_and_use_those_of_the_file() {
        let wishes = read(&[
            ("ttyplugd.enable", "true"),
            ("ttyplugd.port.zwave.match", "vendor=0658,product=0200"),
            ("ttyplugd.port.zwave.node", "/dev/zwave"),
            ("ttyplugd.port.zwave.hold", "60s"),
            ("ttyplugd.port.meter.use", "true"),
            ("other", "x"),
        ])
        .unwrap();
        assert!(wishes.every_port);
        assert_eq!(
            wishes.own[0].node.path.as_ref().unwrap().as_str(),
            "/dev/zwave"
        );
        assert_eq!(wishes.used[0].as_str(), "meter");
    }

    #[test]
    fn a_label_that_is_not_understood_is_named() {
        for (pairs, expected) in [
            (
                &[("ttyplugd.enable", "yes")][..],
                "\"ttyplugd.enable\": \"yes\" is neither",
            ),
            (&[("ttyplugd.enabel", "true")], "did you mean \"enable\"?"),
            (
                &[("ttyplugd.port.x", "1")],
                "is not ttyplugd.port.NAME.WORD",
            ),
            (&[("ttyplugd.port.x.nodes", "1")], "did you mean \"node\"?"),
            (
                &[("ttyplugd.port.x.node", "/dev/x")],
                "\"ttyplugd.port.x.match\": is missing",
            ),
            (&[("ttyplugd.port.x.match", "vender=1")], "bad key vender"),
            (
                &[
                    ("ttyplugd.port.x.match", "vendor=1"),
                    ("ttyplugd.port.x.mode", "0999"),
                ],
                "\"ttyplugd.port.x.mode\": \"0999\" is not an octal mode",
            ),
            (
                &[
                    ("ttyplugd.port.x.match", "vendor=1"),
                    ("ttyplugd.port.x.node", "/etc/x"),
                ],
                "outside /dev",
            ),
            (
                &[("ttyplugd.port.zwave.use", "true")],
                "defines no port \"zwave\"",
            ),
            (
                &[
                    ("ttyplugd.port.meter.use", "true"),
                    ("ttyplugd.port.meter.mode", "0660"),
                ],
                "beside other words",
            ),
            (
                &[("ttyplugd.port.a b.match", "vendor=1")],
                "not a port name",
            ),
        ] {
            let error = read(pairs).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} is not {expected}");
        }
    }

    #[test]
    fn labels_that_are_off_ask_for_nothing() {
        let labels = map(&[("ttyplugd.enable", "true")]);
        assert_eq!(
            port_requests(&labels, LabelPolicy::Off, &[]),
            Ok(PortRequests::default())
        );
    }

    #[test]
    fn a_label_of_the_image_does_not_count_unless_the_container_says_otherwise() {
        let image = map(&[("ttyplugd.enable", "true"), ("x", "1")]);
        let same = map(&[("ttyplugd.enable", "true"), ("x", "1"), ("y", "2")]);
        assert_eq!(own_labels(&same, &image), map(&[("y", "2")]));
        let ignored: Vec<_> = ignored_labels(&same, &image).collect();
        assert_eq!(ignored, ["ttyplugd.enable"]);
        let other = map(&[("ttyplugd.enable", "false")]);
        assert_eq!(own_labels(&other, &image), other);
    }

    #[test]
    fn compose_names_count_only_where_compose_made_the_container() {
        let image = map(&[
            ("com.docker.compose.project", "home"),
            ("com.docker.compose.service", "zwave"),
        ]);
        assert_eq!(compose_service(&image, &own_labels(&image, &image)), None);
        let mut made = image.clone();
        made.insert("com.docker.compose.config-hash".into(), "abc".into());
        let service = compose_service(&made, &own_labels(&made, &image));
        assert_eq!(service, Some(("home".into(), "zwave".into())));
    }
}
