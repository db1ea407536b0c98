//! The configuration file as it is written, before anything in it is believed. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use toml::Spanned;

use crate::config::settings::{GrantPolicy, InjectPolicy, LabelPolicy};
use crate::model::port::BadWord;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileFragment {
    pub(crate) labels: Option<LabelPolicy>,
    pub(crate) inject: Option<InjectPolicy>,
    pub(crate) grant: Option<GrantPolicy>,
    pub(crate) announce: Option<bool>,
    #[serde(default)]
    pub(crate) port: Vec<PortFragment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortFragment {
    pub(crate) name: Spanned<String>,
    /// Any keys: which there are says `selector`.
    pub(crate) r#match: Spanned<BTreeMap<Spanned<String>, Spanned<String>>>,
    #[serde(default)]
    pub(crate) containers: Vec<Spanned<ContainerFragment>>,
    pub(crate) node: Option<Spanned<String>>,
    pub(crate) mode: Option<Spanned<String>>,
    pub(crate) owner: Option<Spanned<AccountFragment>>,
    pub(crate) group: Option<Spanned<AccountFragment>>,
    pub(crate) hold: Option<Spanned<String>>,
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
pub(crate) struct AccountFragment(pub(crate) String);

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

impl PortFragment {
    /// Where the word stands that was refused.
    pub(crate) fn span_of(&self, bad: &BadWord) -> Range<usize> {
        let span = match bad.key {
            "node" => self.node.as_ref().map(Spanned::span),
            "mode" => self.mode.as_ref().map(Spanned::span),
            "hold" => self.hold.as_ref().map(Spanned::span),
            "owner" => self.owner.as_ref().map(Spanned::span),
            _ => self.group.as_ref().map(Spanned::span),
        };
        span.unwrap_or_else(|| self.name.span())
    }
}
