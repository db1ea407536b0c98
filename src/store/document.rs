//! The files: small JSON documents, replaced whole by rename(2).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys::logging::kind;
use crate::sys::replacement::{is_left_over, replace};

/// The version of all documents. A reader ignores a document of another version.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

/// A document as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Document<T> {
    Missing,
    /// It cannot be read, which is logged.
    Unusable,
    Read(T),
}

impl<T: Default> Document<T> {
    pub(super) fn content(self) -> T {
        match self {
            Self::Read(content) => content,
            Self::Missing | Self::Unusable => T::default(),
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Document<T> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Document::Missing,
        text => text.map_err(|error| format!("cannot be read: {error}")),
    };
    match text.and_then(|text| parse(&text)) {
        Ok(content) => Document::Read(content),
        Err(error) => {
            tracing::warn!(
                message_id = kind::STATE_LOST,
                file = %path.display(),
                error,
                "a state file cannot be used; starting without it"
            );
            Document::Unusable
        }
    }
}

pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    match serde_json::from_slice::<Versioned<T>>(text) {
        Ok(document) if document.schema == SCHEMA => Ok(document.content),
        Ok(document) => Err(format!("has the unknown version {}", document.schema)),
        Err(error) => Err(format!("is damaged: {error}")),
    }
}

/// Replaces a document: readers see the old one or the new one, whole.
pub(super) fn write<T: Serialize>(path: &Path, content: &T) -> anyhow::Result<()> {
    let document = Versioned {
        schema: SCHEMA,
        content,
    };
    let text = serde_json::to_vec_pretty(&document)?;
    replace(path, &text).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what a daemon that was killed while it wrote has left.
pub(super) fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if is_left_over(&entry.file_name()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
