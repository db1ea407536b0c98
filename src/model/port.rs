//! What a port is, whoever defined it: `[[port]]` in a file and `ttyplugd.port.NAME.*` on a
//! container use the same words, which are checked here once.

use crate::model::device::LINK_DIRECTORIES;
use crate::model::selector::{ContainerMatch, DeviceMatch};
use crate::model::{Account, Hold, Invalid, Mode, NodePath, PortName};

/// A port: a device chosen by what it is, and how it appears in containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: PortName,
    pub device: DeviceMatch,
    /// Who gets it. Empty for a port that containers ask for by label.
    pub containers: Vec<ContainerMatch>,
    pub node: NodeSpec,
    /// For how long an early open() is to be held; `None` is the default.
    pub hold: Option<Hold>,
}

impl Port {
    /// The paths by which the port may be opened while its device is absent: its node, and the
    /// stable names that its match spells out.
    pub fn known_names(&self) -> Vec<String> {
        let node = self.node.path.iter().map(|node| node.as_str().to_owned());
        let links = self.device.pairs().filter_map(|(key, glob)| {
            let directory = match key {
                "by-id" => LINK_DIRECTORIES[0],
                "by-path" => LINK_DIRECTORIES[1],
                _ => return None,
            };
            let plain = !glob.contains(['*', '?', '[']);
            plain.then(|| format!("{directory}/{glob}"))
        });
        node.chain(links).collect()
    }
}

/// The node of a port in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// `None` is the host's own name for the device.
    pub path: Option<NodePath>,
    pub mode: Mode,
    pub owner: Account,
    /// `None` is the group of the host's node.
    pub group: Option<Account>,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            path: None,
            mode: Mode::DEFAULT,
            owner: Account::Number(0),
            group: None,
        }
    }
}

/// The optional words of a port as they were written.
#[derive(Debug, Default)]
pub struct Words<'a> {
    pub node: Option<&'a str>,
    pub mode: Option<&'a str>,
    pub owner: Option<&'a str>,
    pub group: Option<&'a str>,
    pub hold: Option<&'a str>,
}

/// A word that was refused: its key, the word itself, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {word:?} {reason}")]
pub struct BadWord {
    pub key: &'static str,
    pub word: String,
    pub reason: Invalid,
}

impl Words<'_> {
    /// # Errors
    /// The first word that is not valid.
    pub fn check(&self) -> Result<(NodeSpec, Option<Hold>), BadWord> {
        let default = NodeSpec::default();
        let node = NodeSpec {
            path: check("node", self.node)?,
            mode: check("mode", self.mode)?.unwrap_or(default.mode),
            owner: check("owner", self.owner)?.unwrap_or(default.owner),
            group: check("group", self.group)?,
        };
        Ok((node, check("hold", self.hold)?))
    }
}

fn check<T: std::str::FromStr<Err = Invalid>>(
    key: &'static str,
    word: Option<&str>,
) -> Result<Option<T>, BadWord> {
    word.map(|word| {
        word.parse().map_err(|reason| BadWord {
            key,
            word: word.to_owned(),
            reason,
        })
    })
    .transpose()
}
