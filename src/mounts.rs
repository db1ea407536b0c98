//! Mount tables as /proc has them (proc(5), /proc/PID/mountinfo).

use std::collections::BTreeSet;
use std::io;

/// One line of a mountinfo file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Unique in the whole system, across mount namespaces.
    pub id: u64,
    /// `major:minor` of the file system; two mounts with the same one show the same files.
    pub device: String,
    /// Which part of the file system is mounted; `/` is all of it.
    pub root: String,
    /// Where, below the root of the process.
    pub point: String,
    /// The file system's type, e.g. `tmpfs`.
    pub kind: String,
    /// The file system's own options, e.g. `rw,devices`.
    pub options: String,
}

impl Mount {
    /// Whether the file system has this option; every one has none.
    pub fn has_option(&self, option: &str) -> bool {
        option.is_empty() || self.options.split(',').any(|own| own == option)
    }
}

/// Reads a mountinfo file; lines that are not understood are passed over.
pub fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    // id parent major:minor root point options [optional…] - type source options
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let mut fields = before.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?.to_owned();
    Some(Mount {
        id,
        device,
        root: unescape(fields.next()?),
        point: unescape(fields.next()?),
        kind: after.next()?.to_owned(),
        options: after.nth(1).unwrap_or_default().to_owned(),
    })
}

/// Space, tab, newline and backslash appear as `\ooo` (proc(5)).
fn unescape(field: &str) -> String {
    let mut text = field.to_owned();
    for (escape, plain) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        text = text.replace(escape, plain);
    }
    text
}

/// The `major:minor` of every file system that is mounted on the host: in the first process's
/// namespace, and in ours, which a service manager may have set apart.
///
/// # Errors
/// Neither table can be read.
pub fn host_filesystems() -> io::Result<BTreeSet<String>> {
    let mut devices = BTreeSet::new();
    for process in ["1", "self"] {
        let text = std::fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
        devices.extend(parse_mountinfo(&text).into_iter().map(|mount| mount.device));
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_escapes() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n\
                    37 35 0:45 / /dev rw - tmpfs tmpfs rw,size=65536k\nnonsense\n";
        let mounts = parse_mountinfo(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, "/mnt 2");
        assert_eq!(mounts[0].root, "/mnt1");
        assert_eq!((mounts[1].id, mounts[1].device.as_str()), (37, "0:45"));
        assert_eq!(mounts[1].kind, "tmpfs");
    }

    proptest::proptest! {
        #[test]
        fn no_table_makes_the_parser_panic(text in ".*") {
            let _ = parse_mountinfo(&text);
        }
    }
}
