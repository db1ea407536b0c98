//! The ports that a container is created with: from the daemon, or else from its files.

use std::time::Duration;

use crate::config;
use crate::config::settings::LabelPolicy;
use crate::hold::description::Description;
use crate::hold::protocol::{Created, Creating, VERSION};
use crate::hold::run_dir::wrapper_socket;
use crate::hold::{ContainerPort, ContainerPorts, DEFAULT_HOLD};
use crate::runtime::exchange::{exchange, is_timeout};
use crate::runtime::options::Options;
use crate::store::Known;
use crate::sys::logging::{kind, short_lived};

/// How long the daemon may take to answer. Only a daemon that hangs takes as long; but while a
/// machine boots, everything is slow.
const LIMIT: Duration = Duration::from_secs(5);

/// The daemon's answer; without one, the ports that are on record for the container or, for a new
/// container, those of the configuration. The latter two are provisional.
pub(super) fn created(
    options: &Options,
    id: &str,
    description: Option<Description>,
) -> (Created, bool) {
    let question = Creating {
        ttyplugd: VERSION,
        container: id.to_owned(),
        description,
    };
    let error = match exchange(&wrapper_socket(&options.run_dir), &question, LIMIT) {
        Ok(created) => return (created, false),
        Err(error) => error,
    };
    if is_timeout(&error) {
        short_lived(&options.run_dir);
        tracing::warn!(
            message_id = kind::DAEMON_SILENT,
            container_id = id,
            "ttyplugd did not answer within {} s; the container gets its ports once it runs",
            LIMIT.as_secs()
        );
    }
    // At boot the engine may start before the daemon. Every configured port may be one of a new
    // container.
    let known = Known::read(&options.state_dir);
    let ports = known.ports(id);
    let created = Created {
        ports: ports.unwrap_or_else(|| of_configuration(options, &known)),
        ..Created::default()
    };
    (created, true)
}

/// Every name that any configured port could have.
fn of_configuration(options: &Options, known: &Known) -> ContainerPorts {
    let settings = config::load(&options.config).unwrap_or_default();
    let ports = settings.ports.iter().map(|port| {
        let hold = port.hold.unwrap_or(DEFAULT_HOLD);
        let names = known.last_devices().names(port.name.as_str(), port);
        ContainerPort::waiting(port.name.as_str(), &names, hold)
    });
    ContainerPorts {
        ports: ports.collect(),
        every: settings.labels != LabelPolicy::Off,
        every_hold: None,
        every_names: known.every_names(),
        holds: settings.holds,
        per_process: settings.held_per_process,
    }
}
