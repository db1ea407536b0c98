//! A configuration file as it was written: syntax is checked, values are not. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::ops::Range;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use toml::Spanned;

use crate::config::settings::{GrantPolicy, InjectPolicy, LabelPolicy};
use crate::model::Holds;
use crate::model::port::OptionalKey;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileFragment {
    pub(crate) engines: Option<Vec<Spanned<String>>>,
    pub(crate) labels: Option<LabelPolicy>,
    pub(crate) inject: Option<InjectPolicy>,
    pub(crate) grant: Option<GrantPolicy>,
    pub(crate) announce: Option<bool>,
    pub(crate) holds: Option<Holds>,
    #[serde(rename = "held-per-process")]
    pub(crate) held_per_process: Option<NonZeroU16>,
    #[serde(default)]
    pub(crate) port: Vec<PortFragment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortFragment {
    pub(crate) name: Spanned<String>,
    /// The keys are checked by `DeviceMatch`.
    pub(crate) r#match: Spanned<BTreeMap<Spanned<String>, Spanned<String>>>,
    #[serde(default)]
    pub(crate) containers: Vec<Spanned<ContainerFragment>>,
    pub(crate) node: Option<Spanned<String>>,
    pub(crate) mode: Option<Spanned<String>>,
    pub(crate) owner: Option<Spanned<AccountFragment>>,
    pub(crate) group: Option<Spanned<AccountFragment>>,
    pub(crate) hold: Option<Spanned<String>>,
    pub(crate) placeholder: Option<Spanned<TruthFragment>>,
    #[serde(rename = "on-plug")]
    pub(crate) on_plug: Option<Spanned<String>>,
}

/// `"name"`, `"project/service"` or `{ label = "key=value" }`.
pub(crate) enum ContainerFragment {
    Name(String),
    Label(String),
}

impl<'de> Deserialize<'de> for ContainerFragment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            label: String,
        }

        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = ContainerFragment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a container name, \"project/service\" or { label = \"key=value\" }")
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(ContainerFragment::Name(name.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<Self::Value, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ContainerFragment::Label(table.label))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A number or a name, kept as text.
pub(crate) struct AccountFragment(String);

impl AsRef<str> for AccountFragment {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AccountFragment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = AccountFragment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a user or group, as a number or a name")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(AccountFragment(number.to_string()))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(AccountFragment(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A boolean, which is read as the text of a label is.
#[derive(Deserialize)]
pub(crate) struct TruthFragment(bool);

impl AsRef<str> for TruthFragment {
    fn as_ref(&self) -> &str {
        match self.0 {
            true => "true",
            false => "false",
        }
    }
}

impl PortFragment {
    /// What was written for an optional key, and where.
    pub(crate) fn optional(&self, key: OptionalKey) -> Option<(&str, Range<usize>)> {
        match key {
            OptionalKey::Node => written(self.node.as_ref()),
            OptionalKey::Mode => written(self.mode.as_ref()),
            OptionalKey::Owner => written(self.owner.as_ref()),
            OptionalKey::Group => written(self.group.as_ref()),
            OptionalKey::Hold => written(self.hold.as_ref()),
            OptionalKey::Placeholder => written(self.placeholder.as_ref()),
            OptionalKey::OnPlug => written(self.on_plug.as_ref()),
        }
    }
}

fn written<T: AsRef<str>>(value: Option<&Spanned<T>>) -> Option<(&str, Range<usize>)> {
    value.map(|value| (value.get_ref().as_ref(), value.span()))
}
