//! The files in the state directory: small JSON documents, replaced whole.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys::logging::kind;

/// The version of all three documents. A reader that meets another one starts afresh.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

/// What a document says; nothing where it is missing or cannot be understood, which is logged.
pub(super) fn read<T: DeserializeOwned + Default>(directory: &Path, name: &str) -> T {
    let path = directory.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return T::default(),
        Err(error) => {
            tracing::warn!(
                message_id = kind::STATE_LOST,
                file = %path.display(),
                %error,
                "a state file cannot be read; starting without it"
            );
            return T::default();
        }
    };
    match serde_json::from_slice::<Document<T>>(&text) {
        Ok(document) if document.schema == SCHEMA => document.content,
        Ok(document) => {
            let schema = document.schema;
            tracing::warn!(
                message_id = kind::STATE_LOST,
                file = %path.display(),
                schema,
                "a state file is of another version; starting without it"
            );
            T::default()
        }
        Err(error) => {
            tracing::warn!(
                message_id = kind::STATE_LOST,
                file = %path.display(),
                %error,
                "a state file is damaged; starting without it"
            );
            T::default()
        }
    }
}

/// Replaces a document: readers see the old one or the new one, whole.
pub(super) fn write<T: Serialize>(directory: &Path, name: &str, content: &T) -> anyhow::Result<()> {
    let document = Document {
        schema: SCHEMA,
        content,
    };
    let path = directory.join(name);
    let new = directory.join(format!("{name}.new"));
    let text = serde_json::to_vec_pretty(&document)?;
    let written = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&text)?;
        fs::rename(&new, &path)
    };
    written().with_context(|| {
        format!(
            "{} cannot be written; nothing is changed in any container until it can, so that \
             nothing of ours is ever forgotten",
            path.display()
        )
    })
}
