//! What a port is, whoever defined it: `[[port]]` tables and `ttyplugd.port.NAME.*` labels have the
//! same keys, and their values are checked here.

use std::str::FromStr;

use crate::model::match_key::MatchKey;
use crate::model::on_plug::OnPlug;
use crate::model::selector::{ContainerMatch, DeviceMatch};
use crate::model::written::{boolean, plain};
use crate::model::{Account, Hold, Invalid, Mode, NodePath, PortName};

/// A port: a device chosen by what it is, and its node in containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: PortName,
    pub device: DeviceMatch,
    /// The containers that get it. Empty for a port that containers ask for by label.
    pub containers: Vec<ContainerMatch>,
    pub node: NodeSpec,
    /// For how long an early open() is held; `None` is the default.
    pub hold: Option<Hold>,
    pub on_plug: OnPlug,
}

impl Port {
    /// The paths that are known before its device is: its node and links.
    pub fn known_paths(&self) -> impl Iterator<Item = NodePath> {
        self.known_node().into_iter().chain(self.known_links())
    }

    /// Its node, where that has a name of its own, or where its match spells out the kernel's.
    pub fn known_node(&self) -> Option<NodePath> {
        let of_match = || self.spelt_out(MatchKey::Sysname, "/dev");
        self.node.path.clone().or_else(of_match)
    }

    /// The links that its match spells out.
    pub fn known_links(&self) -> impl Iterator<Item = NodePath> {
        let keys = MatchKey::ALL.iter();
        let in_theirs = keys.filter_map(|key| self.spelt_out(*key, key.link_directory()?));
        in_theirs.chain(self.spelt_out(MatchKey::Link, "/dev"))
    }

    /// The path in `directory` that has the name of a key of its match.
    fn spelt_out(&self, key: MatchKey, directory: &str) -> Option<NodePath> {
        let mut globs = self.device.globs();
        let (_, name) = globs.find(|(of, _)| *of == key)?;
        let is_plain = !name.contains(['*', '?', '[']);
        is_plain.then(|| format!("{directory}/{name}").parse().ok())?
    }
}

/// The node of a port in its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// `None` is the host's own name for the device.
    pub path: Option<NodePath>,
    /// `None` is the mode of the host's node.
    pub mode: Option<Mode>,
    pub owner: Account,
    /// `None` is the group of the host's node.
    pub group: Option<Account>,
    /// While the device is absent, a node of no device stands at the path.
    pub placeholder: bool,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            path: None,
            mode: None,
            owner: Account::Number(0),
            group: None,
            placeholder: false,
        }
    }
}

keys! {
    /// An optional key of a port.
    OptionalKey {
        Node = "node",
        Mode = "mode",
        Owner = "owner",
        Group = "group",
        Hold = "hold",
        Placeholder = "placeholder",
        OnPlug = "on-plug",
    }
}

/// A value that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {value:?} {reason}", .key.name())]
pub struct InvalidValue {
    pub key: OptionalKey,
    pub value: String,
    pub reason: Invalid,
}

/// The values of the optional keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optional {
    pub node: NodeSpec,
    pub hold: Option<Hold>,
    pub on_plug: OnPlug,
}

/// Checks the values of the optional keys, as `value` has them.
///
/// # Errors
/// The first value that is not valid.
pub fn parse_optional<'a>(
    value: impl Fn(OptionalKey) -> Option<&'a str>,
) -> Result<Optional, InvalidValue> {
    let default = NodeSpec::default();
    let node = NodeSpec {
        path: parse(OptionalKey::Node, &value)?,
        mode: parse(OptionalKey::Mode, &value)?,
        owner: parse(OptionalKey::Owner, &value)?.unwrap_or(default.owner),
        group: parse(OptionalKey::Group, &value)?,
        placeholder: parse(OptionalKey::Placeholder, &value)?.is_some_and(|Truth(is)| is),
    };
    let optional = Optional {
        node,
        hold: parse(OptionalKey::Hold, &value)?,
        on_plug: parse(OptionalKey::OnPlug, &value)?.unwrap_or_default(),
    };
    let refused = |reason: &str| InvalidValue {
        key: OptionalKey::Placeholder,
        value: "true".to_owned(),
        reason: Invalid(reason.to_owned()),
    };
    match optional {
        Optional { ref node, .. } if !node.placeholder => Ok(optional),
        Optional { ref node, .. } if node.path.is_none() => {
            Err(refused("needs a `node`, which says where it stands"))
        }
        Optional {
            hold: Some(Hold::Off),
            ..
        } => Err(refused("needs a hold: an open of a placeholder fails")),
        _ => Ok(optional),
    }
}

/// A truth value, as people and YAML write it.
#[derive(Debug, Clone, Copy)]
pub struct Truth(pub bool);

impl FromStr for Truth {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let truth = boolean(text).map(Self);
        truth.ok_or_else(|| Invalid("is neither \"true\" nor \"false\"".to_owned()))
    }
}

fn parse<'a, T: FromStr<Err = Invalid>>(
    key: OptionalKey,
    value: impl Fn(OptionalKey) -> Option<&'a str>,
) -> Result<Option<T>, InvalidValue> {
    let parsed = value(key).map(|value| {
        plain(value).parse().map_err(|reason| InvalidValue {
            key,
            value: value.to_owned(),
            reason,
        })
    });
    parsed.transpose()
}
