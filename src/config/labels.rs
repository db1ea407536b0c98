//! Container labels that ask for ports: `ttyplugd.enable`, `ttyplugd.hold`,
//! `ttyplugd.holds` and `ttyplugd.port.NAME.KEY`. Pure.

use std::collections::BTreeMap;

use crate::config::settings::LabelPolicy;
use crate::model::label::{
    COMPOSE_HASH, COMPOSE_PROJECT, COMPOSE_SERVICE, NeededLabels, PREFIX, excess,
};
use crate::model::nearest::did_you_mean;
use crate::model::port::{OptionalKey, Port, Truth, parse_optional};
use crate::model::written::plain;
use crate::model::{Hold, Holds, PortName};

/// The ports that a container's labels ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortRequests {
    /// `ttyplugd.enable=true`: every USB serial device, under its host name.
    pub every_port: bool,
    /// `ttyplugd.hold`: the hold of the container's ports, whatever the configuration file says.
    /// That of a port's own label is in `own`.
    pub hold: Option<Hold>,
    /// `ttyplugd.holds`: which of its opens are held.
    pub holds: Option<Holds>,
    /// Ports that the labels define.
    pub own: Vec<Port>,
    /// Ports of the configuration file, by `use=true`.
    pub used: Vec<PortName>,
}

/// A label that is not valid. It disables all ports of its container: half of what was meant could
/// be more than was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label {label:?}: {reason}")]
pub struct LabelError {
    pub label: String,
    pub reason: String,
}

const ENABLE: &str = "enable";
const HOLD: &str = "hold";
const HOLDS: &str = "holds";
const PORT: &str = "port";
const KEYS: [&str; 4] = [ENABLE, HOLD, HOLDS, PORT];
/// The device of a port; required without `use`.
const MATCH: &str = "match";
const USE: &str = "use";

/// The labels that were set when the container was created. One that its image has with the same
/// value is counted as the image's.
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

/// The `ttyplugd.` labels that are ignored because they are the image's.
pub fn ignored_labels<'a>(
    container: &'a BTreeMap<String, String>,
    image: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a str> {
    container
        .iter()
        .filter(|(key, value)| key.starts_with(PREFIX) && image.get(*key) == Some(value))
        .map(|(key, _)| key.as_str())
}

/// The labels of a container that has annotations in their place. Those of a pod are for all its
/// containers; `ttyplugd.CONTAINER.KEY` is for that one alone, and comes first.
pub fn of_annotations<'a>(
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    container: Option<&str>,
) -> BTreeMap<String, String> {
    let (mut labels, mut named) = (BTreeMap::new(), BTreeMap::new());
    let own = annotations
        .into_iter()
        .filter(|(key, _)| key.starts_with(PREFIX));
    for (key, value) in own {
        match named_one(key).filter(|_| container.is_some()) {
            None => drop(labels.insert(key.to_owned(), value.to_owned())),
            Some((name, key)) if container == Some(name) => {
                named.insert(format!("{PREFIX}{key}"), value.to_owned());
            }
            Some(_) => {}
        }
    }
    labels.extend(named);
    NeededLabels::default().of(labels)
}

/// The name and the key of an annotation for one container. What cannot be one is left to
/// [`port_requests`], which says what is wrong with it.
fn named_one(annotation: &str) -> Option<(&str, &str)> {
    let (name, key) = annotation.strip_prefix(PREFIX)?.split_once('.')?;
    let first = key.split('.').next()?;
    (!KEYS.contains(&name) && KEYS.contains(&first)).then_some((name, key))
}

/// The compose project and service of a container. `docker compose build` writes both labels into
/// the image too (compose-spec, build.md, "labels"), which makes them the image's; they count where
/// compose created the container, as its `config-hash` shows.
pub fn compose_service(
    all: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> Option<(String, String)> {
    let by_compose = own.contains_key(COMPOSE_HASH);
    let labels = if by_compose { all } else { own };
    let project = labels.get(COMPOSE_PROJECT)?;
    let service = labels.get(COMPOSE_SERVICE)?;
    Some((project.clone(), service.clone()))
}

/// Reads the labels that count.
///
/// # Errors
/// The first label under `ttyplugd.` that is not valid.
pub fn port_requests(
    labels: &BTreeMap<String, String>,
    policy: LabelPolicy,
    defined: &[Port],
) -> Result<PortRequests, LabelError> {
    let mut requests = PortRequests::default();
    if policy == LabelPolicy::Off {
        return Ok(requests);
    }
    if let Some((label, reason)) = excess(labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))) {
        let label = label.to_owned();
        return Err(LabelError { label, reason });
    }
    let mut ports: BTreeMap<PortName, PortLabels> = BTreeMap::new();
    for (label, value) in labels {
        let Some(key) = label.strip_prefix(PREFIX) else {
            continue;
        };
        let error = |reason| LabelError {
            label: label.clone(),
            reason,
        };
        if key == ENABLE {
            requests.every_port = truth(value).map_err(error)?;
        } else if key == HOLD {
            let hold = plain(value).parse();
            requests.hold = Some(hold.map_err(|reason| error(format!("{value:?} {reason}")))?);
        } else if key == HOLDS {
            let holds = plain(value).parse();
            requests.holds = Some(holds.map_err(|reason| error(format!("{value:?} {reason}")))?);
        } else if let Some((PORT, rest)) = key.split_once('.') {
            let (name, key) = port_key(rest).map_err(error)?;
            ports.entry(name).or_default().insert(key, value);
        } else {
            return Err(error(unknown(key, &KEYS)));
        }
    }
    for (name, labels) in ports {
        let error = |(key, reason): (&str, String)| LabelError {
            label: format!("{PREFIX}port.{name}.{key}"),
            reason,
        };
        if let Some(value) = labels.get(USE) {
            if used(value, &name, &labels, defined).map_err(error)? {
                requests.used.push(name);
            }
        } else {
            let mut port = own_port(&name, &labels).map_err(error)?;
            port.hold = port.hold.or(requests.hold);
            requests.own.push(port);
        }
    }
    Ok(requests)
}

/// The labels of one port, by their keys.
type PortLabels<'a> = BTreeMap<&'a str, &'a str>;

/// Why the label with this key is not valid.
type InvalidKey = (&'static str, String);

/// `NAME.KEY`.
fn port_key(text: &str) -> Result<(PortName, &str), String> {
    let Some((name, key)) = text.split_once('.') else {
        return Err("is not ttyplugd.port.NAME.KEY".to_owned());
    };
    let name = name
        .parse()
        .map_err(|reason| format!("{name:?} {reason}"))?;
    let keys = [&[MATCH, USE], OptionalKey::NAMES].concat();
    match keys.contains(&key) {
        true => Ok((name, key)),
        false => Err(unknown(key, &keys)),
    }
}

/// Whether a port of the configuration file is used.
fn used(
    value: &str,
    name: &PortName,
    labels: &PortLabels,
    defined: &[Port],
) -> Result<bool, InvalidKey> {
    let error = |reason| (USE, reason);
    if labels.len() > 1 {
        let reason = "cannot be combined with other labels of the port: it takes the port as the \
                      configuration file defines it";
        return Err(error(reason.to_owned()));
    }
    let is_used = truth(value).map_err(error)?;
    if is_used && defined.iter().all(|port| port.name != *name) {
        let reason = format!("the configuration file defines no port {:?}", name.as_str());
        return Err(error(reason));
    }
    Ok(is_used)
}

/// A port that the labels define.
fn own_port(name: &PortName, labels: &PortLabels) -> Result<Port, InvalidKey> {
    let Some(device) = labels.get(MATCH) else {
        let reason = "is missing; it says which device the port is, e.g. vendor=0658";
        return Err((MATCH, reason.to_owned()));
    };
    let device = device
        .parse()
        .map_err(|reason| (MATCH, format!("{device:?} {reason}")))?;
    let optional = parse_optional(|key| labels.get(key.name()).copied()).map_err(|error| {
        (
            error.key.name(),
            format!("{:?} {}", error.value, error.reason),
        )
    })?;
    Ok(Port {
        name: name.clone(),
        device,
        containers: Vec::new(),
        node: optional.node,
        hold: optional.hold,
        on_plug: optional.on_plug,
    })
}

fn truth(value: &str) -> Result<bool, String> {
    let Truth(truth) = value
        .parse()
        .map_err(|reason| format!("{value:?} {reason}"))?;
    Ok(truth)
}

fn unknown(key: &str, known: &[&str]) -> String {
    format!("unknown key {key:?}; {}", did_you_mean(key, known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::on_plug::OnPlug;

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
        let requests = read(&[
            ("ttyplugd.enable", "true"),
            ("ttyplugd.port.zwave.match", "vendor=0658,product=0200"),
            ("ttyplugd.port.zwave.node", "/dev/zwave"),
            ("ttyplugd.port.zwave.hold", "60s"),
            ("ttyplugd.port.zwave.on-plug", "restart"),
            ("ttyplugd.port.meter.use", "true"),
            ("ttyplugd.port.modem.match", "vendor=12d1"),
            ("ttyplugd.hold", "off"),
            ("other", "x"),
        ])
        .unwrap();
        assert!(requests.every_port);
        assert_eq!(
            requests.own[1].node.path.as_ref().unwrap().as_str(),
            "/dev/zwave"
        );
        assert_eq!(requests.used[0].as_str(), "meter");
        assert_eq!(requests.hold, Some(Hold::Off));
        let holds: Vec<_> = requests.own.iter().map(|port| port.hold).collect();
        assert_eq!(holds, [Some(Hold::Off), Some(Hold::Seconds(60))]);
        assert_eq!(requests.own[1].on_plug, OnPlug::Restart);
    }

    /// What Docker Compose 1.29 makes of labels without quotation marks, and what compose keeps of
    /// those in `- label="value"`.
    #[test]
    fn labels_are_read_as_yaml_writes_them() {
        let requests = read(&[
            ("ttyplugd.enable", "True"),
            ("ttyplugd.hold", "False"),
            ("ttyplugd.port.zwave.match", "\"vendor=0658, product=0200\""),
            ("ttyplugd.port.zwave.node", "'/dev/zwave'"),
            ("ttyplugd.port.zwave.mode", "\"0660\" "),
            ("ttyplugd.port.meter.use", "YES"),
        ])
        .unwrap();
        assert!(requests.every_port);
        assert_eq!(requests.hold, Some(Hold::Off));
        let node = &requests.own[0].node;
        assert_eq!(node.path.as_ref().unwrap().as_str(), "/dev/zwave");
        assert_eq!(
            requests.own[0].device.to_string(),
            "vendor=0658,product=0200"
        );
        assert_eq!(requests.used.len(), 1);
    }

    #[test]
    fn an_invalid_label_is_named() {
        for (pairs, expected) in [
            (
                &[("ttyplugd.enable", "maybe")][..],
                "\"ttyplugd.enable\": \"maybe\" is neither",
            ),
            (&[("ttyplugd.enable", "")], "\"\" is neither"),
            (&[("ttyplugd.enabel", "true")], "did you mean \"enable\"?"),
            (
                &[("ttyplugd.hold", "yes")],
                "\"ttyplugd.hold\": \"yes\" is not \"off\"",
            ),
            (
                &[("ttyplugd.holds", "all")],
                "\"ttyplugd.holds\": \"all\" is neither",
            ),
            (&[("ttyplugd.port.x", "1")], "is not ttyplugd.port.NAME.KEY"),
            (&[("ttyplugd.port.x.nodes", "1")], "did you mean \"node\"?"),
            (
                &[("ttyplugd.port.x.node", "/dev/x")],
                "\"ttyplugd.port.x.match\": is missing",
            ),
            (
                &[("ttyplugd.port.x.match", "vender=1")],
                "vender is an unknown key",
            ),
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
                    ("ttyplugd.port.x.mode", "432"),
                ],
                "\"ttyplugd.port.x.mode\": \"432\" has no leading zero: it is what YAML makes of 0660",
            ),
            (
                &[("ttyplugd.port.x.match", "vendor=1a86:7523")],
                "vendor \"1a86:7523\" is two ids",
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
                "cannot be combined",
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
    fn annotations_of_a_pod_are_for_all_its_containers_or_for_one() {
        let annotations = [
            ("ttyplugd.enable", "false"),
            ("ttyplugd.port.zwave.match", "vendor=0658"),
            ("ttyplugd.app.enable", "true"),
            ("ttyplugd.app.port.zwave.node", "/dev/zwave"),
            ("ttyplugd.other.hold", "off"),
            ("ttyplugd.prot.x.match", "vendor=1"),
            ("ttyplugd.hlod", "off"),
            ("kubernetes.io/x", "y"),
        ];
        let of_all = ("ttyplugd.port.zwave.match", "vendor=0658");
        let wrong = [
            ("ttyplugd.hlod", "off"),
            ("ttyplugd.prot.x.match", "vendor=1"),
        ];
        let node = ("ttyplugd.port.zwave.node", "/dev/zwave");
        let of = |container| of_annotations(annotations, container);
        let [enabled, disabled] = ["true", "false"].map(|value| ("ttyplugd.enable", value));
        assert_eq!(
            of(Some("app")),
            map(&[enabled, of_all, node, wrong[0], wrong[1]])
        );
        assert_eq!(
            of(Some("third")),
            map(&[disabled, of_all, wrong[0], wrong[1]])
        );
        // Outside of a pod no annotation is another container's.
        assert_eq!(of(None).len(), annotations.len() - 1);
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
