//! Whether the daemon is running, has the version of this program, and starts at boot.

use std::fs;
use std::path::Path;

use super::codes;
use super::finding::Report;
use crate::daemon::status::document::{PortState, Status};

const UNIT: &str = "ttyplugd.service";

/// The directories of units, in decreasing priority (systemd.unit(5), "UNIT FILE LOAD PATH"). An
/// enabled unit has a link in a `*.wants` or `*.requires` directory of the first two.
const DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The state of the daemon's unit in systemd's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// There is no unit: the daemon is started in another way.
    Absent,
    Disabled,
    Enabled,
}

impl Unit {
    pub(super) fn read(root: &Path) -> Self {
        let directories = DIRECTORIES.map(|directory| root.join(directory));
        let exists = |directory: &Path| fs::symlink_metadata(directory.join(UNIT)).is_ok();
        let is_wanted = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).any(|wanting| {
                let kind = wanting.extension().unwrap_or_default();
                (kind == "wants" || kind == "requires") && exists(&wanting)
            })
        };
        match directories.iter().any(|directory| exists(directory)) {
            false => Self::Absent,
            true if directories[..2]
                .iter()
                .any(|directory| is_wanted(directory)) =>
            {
                Self::Enabled
            }
            true => Self::Disabled,
        }
    }
}

impl Report {
    /// `status` is the response of the daemon.
    pub(super) fn service(&mut self, status: &anyhow::Result<Status>, unit: Unit) {
        let subject = "service";
        match (status, unit) {
            (Err(error), Unit::Absent) => self.error(
                codes::SERVICE_DOWN,
                subject,
                format!("{error:#}"),
                "start it: ttyplugd run",
            ),
            (Err(error), _) => self.error(
                codes::SERVICE_DOWN,
                subject,
                format!("{error:#}"),
                "systemctl enable --now ttyplugd; if it fails: journalctl -u ttyplugd",
            ),
            (Ok(status), _) => self.running_daemon(subject, status),
        }
        if status.is_ok() && unit == Unit::Disabled {
            self.warning(
                codes::SERVICE_DISABLED,
                subject,
                "is running, but does not start at boot",
                "systemctl enable ttyplugd",
            );
        }
    }

    fn running_daemon(&mut self, subject: &str, status: &Status) {
        let own = env!("CARGO_PKG_VERSION");
        if status.version == own {
            self.note(
                codes::SERVICE,
                subject,
                format!("ttyplugd {own} is running"),
                "",
            );
        } else {
            self.warning(
                codes::SERVICE_VERSION,
                subject,
                format!(
                    "version {} is running, but this program is version {own}",
                    status.version
                ),
                "systemctl restart ttyplugd (containers keep their ports, and held opens keep waiting)",
            );
        }
        self.unwritten_state(subject, status);
        if !status.engine {
            self.error(
                codes::SERVICE_WAITS,
                subject,
                "is waiting for the engine",
                "compare DOCKER_HOST of the service with docker context ls, and see journalctl -u \
                 ttyplugd",
            );
        }
    }

    fn unwritten_state(&mut self, subject: &str, status: &Status) {
        if let Some(error) = &status.state_error {
            self.warning(
                codes::STATE_UNWRITTEN,
                subject,
                error,
                "make room on that disk, and mount it read-write",
            );
        }
    }

    /// Adds the failures that the daemon reports and no other check has found.
    pub(super) fn failed_ports(&mut self, status: &Status) {
        for port in status
            .ports
            .iter()
            .filter(|port| port.state == PortState::Failed)
        {
            let Some(cause) = port.cause.as_deref().filter(|cause| !self.contains(cause)) else {
                continue;
            };
            let what = match port.port.as_str() {
                "" => cause.to_owned(),
                name => format!("port {name}: {cause}"),
            };
            self.error(
                codes::CONTAINER_NOT_SERVED,
                &format!("container {}", port.container),
                what,
                port.fix.clone().unwrap_or_default(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_unit_is_enabled_when_something_wants_it() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            symlink("/usr/lib/systemd/system/ttyplugd.service", file).unwrap();
        };
        assert_eq!(Unit::read(root.path()), Unit::Absent);
        make("usr/lib/systemd/system/ttyplugd.service");
        make("usr/lib/systemd/system/multi-user.target.wants/other.service");
        assert_eq!(Unit::read(root.path()), Unit::Disabled);
        make("etc/systemd/system/multi-user.target.wants/ttyplugd.service");
        assert_eq!(Unit::read(root.path()), Unit::Enabled);
    }
}
