//! `update` leaves a container's devices alone. Podman, and containerd for a pod, send all resources of
//! the definition with what changes, and its devices lack what was granted since. runc ignores them
//! (runc, update.go); crun would take the grants away, or refuse the update (crun,
//! src/libcrun/cgroup-systemd.c, `add_bpf_program`).

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::Value;

use crate::runtime::oci_args::Resources;

/// Standard input, as a file that can be opened (proc(5)).
const STDIN: &str = "/proc/self/fd/0";

/// What the real runtime is to be executed with.
pub(super) struct Update {
    pub(super) arguments: Vec<String>,
    pub(super) stdin: File,
}

impl Update {
    /// The same update without devices. It is read from standard input, wherever it was.
    ///
    /// # Errors
    /// The resources cannot be read, which the runtime says better.
    pub(super) fn new(arguments: &[String], resources: &Resources) -> io::Result<Self> {
        let mut text = Vec::new();
        let file = match resources.file.as_str() {
            "-" => {
                io::stdin().read_to_end(&mut text)?;
                "-"
            }
            file => {
                File::open(file)?.read_to_end(&mut text)?;
                STDIN
            }
        };
        Ok(Self {
            arguments: resources.replaced(arguments, file),
            stdin: in_memory(&without_devices(text))?,
        })
    }
}

/// Text that is no JSON is left to the runtime.
fn without_devices(text: Vec<u8>) -> Vec<u8> {
    match serde_json::from_slice(&text) {
        Ok(Value::Object(mut resources)) => match resources.remove("devices") {
            Some(_) => Value::Object(resources).to_string().into_bytes(),
            None => text,
        },
        _ => text,
    }
}

fn in_memory(text: &[u8]) -> io::Result<File> {
    let file = memfd_create("ttyplug-update", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_devices_stays_as_it_was() {
        for (text, expected) in [
            (
                r#"{"devices":[{"allow":false}],"memory":{"limit":18446744073709551615}}"#,
                r#"{"memory":{"limit":18446744073709551615}}"#,
            ),
            (r#"{ "cpu": {} }"#, r#"{ "cpu": {} }"#),
            ("[1]", "[1]"),
            ("{", "{"),
            ("", ""),
        ] {
            let left = without_devices(text.into());
            assert_eq!(String::from_utf8(left).as_deref(), Ok(expected));
        }
    }
}
