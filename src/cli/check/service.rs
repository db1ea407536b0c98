//! Whether the daemon runs, is the same version as this program, and comes back after a boot.

use std::fs;
use std::path::Path;

use super::codes;
use super::finding::Report;
use crate::daemon::status::document::{PortState, Status};

const UNIT: &str = "ttyplugd.service";

/// Where units are, from the strongest to the weakest place (systemd.unit(5), "UNIT FILE LOAD
/// PATH"). Those that are turned on have a link in a directory `*.wants` or `*.requires` of the
/// first two.
const DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// What the service manager's files say of the daemon's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// There is none: the daemon is started in some other way.
    Absent,
    Disabled,
    Enabled,
}

impl Unit {
    pub(super) fn read(root: &Path) -> Self {
        let places = DIRECTORIES.map(|directory| root.join(directory));
        let exists = |directory: &Path| fs::symlink_metadata(directory.join(UNIT)).is_ok();
        let is_wanted = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).any(|wanting| {
                let kind = wanting.extension().unwrap_or_default();
                (kind == "wants" || kind == "requires") && exists(&wanting)
            })
        };
        match places.iter().any(|place| exists(place)) {
            false => Self::Absent,
            true if places[..2].iter().any(|place| is_wanted(place)) => Self::Enabled,
            true => Self::Disabled,
        }
    }
}

impl Report {
    /// `status` is the daemon's answer.
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
                "systemctl enable --now ttyplugd; if it does not stay up: journalctl -u ttyplugd",
            ),
            (Ok(status), _) => self.answers(subject, status),
        }
        if status.is_ok() && unit == Unit::Disabled {
            self.warning(
                codes::SERVICE_DISABLED,
                subject,
                "it runs, and is not started at boot",
                "systemctl enable ttyplugd",
            );
        }
    }

    fn answers(&mut self, subject: &str, status: &Status) {
        let own = env!("CARGO_PKG_VERSION");
        if status.version == own {
            self.note(codes::SERVICE, subject, format!("ttyplugd {own} runs"), "");
        } else {
            self.warning(
                codes::SERVICE_VERSION,
                subject,
                format!(
                    "ttyplugd {} runs, and this program is {own}",
                    status.version
                ),
                "systemctl restart ttyplugd (containers keep their ports, and held opens wait)",
            );
        }
        if !status.engine {
            self.error(
                codes::SERVICE_WAITS,
                subject,
                "it waits for the engine",
                "compare DOCKER_HOST of the service with docker context show; \
                 journalctl -u ttyplugd",
            );
        }
    }

    /// What the daemon has found out by trying.
    pub(super) fn failures(&mut self, status: &Status) {
        for port in status
            .ports
            .iter()
            .filter(|port| port.state == PortState::Failed)
        {
            let Some(cause) = port.cause.as_deref().filter(|cause| !self.says(cause)) else {
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
