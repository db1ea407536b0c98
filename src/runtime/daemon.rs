//! What a container is to be created with: by the daemon's word, or without it.

use std::time::Duration;

use crate::config;
use crate::config::settings::LabelPolicy;
use crate::hold::protocol::{Created, Creating, VERSION};
use crate::hold::run_dir::wrapper_socket;
use crate::hold::{ContainerPort, ContainerPorts, DEFAULT_HOLD};
use crate::model::inventory::ContainerId;
use crate::runtime::exchange::{exchange, is_timeout};
use crate::runtime::options::Options;
use crate::store::Store;
use crate::sys::logging::{kind, short_lived};

/// How long the daemon may take to answer. A container waits for it only where it runs and hangs;
/// but while a machine boots, everything starts at once and nothing is quick.
const LIMIT: Duration = Duration::from_secs(5);

/// What the daemon says, or else what is on record of the container, or else what the configuration
/// says, and whether that is a guess.
pub(super) fn created(options: &Options, id: &ContainerId) -> (Created, bool) {
    let question = Creating {
        ttyplugd: VERSION,
        container: id.0.clone(),
    };
    let error = match exchange(&wrapper_socket(&options.run_dir), &question, LIMIT) {
        Ok(created) => return (created, false),
        Err(error) => error,
    };
    if is_timeout(&error) {
        short_lived(&options.run_dir);
        tracing::warn!(
            message_id = kind::DAEMON_SILENT,
            container_id = id.0,
            "ttyplugd did not answer within {} s; the container gets its ports once it runs",
            LIMIT.as_secs()
        );
    }
    // At boot the engine may be first. Whatever is configured may be a new container's.
    let ports = Store::read(&options.state_dir).ports(id);
    let created = Created {
        ports: ports.unwrap_or_else(|| of_configuration(options)),
        ..Created::default()
    };
    (created, true)
}

/// Every name that any configured port could have.
fn of_configuration(options: &Options) -> ContainerPorts {
    let settings = config::load(&options.config).unwrap_or_default();
    let ports = settings.ports.iter().map(|port| {
        let hold = port.hold.unwrap_or(DEFAULT_HOLD);
        ContainerPort::waiting(port.name.as_str(), &port.known_paths(), hold)
    });
    ContainerPorts {
        ports: ports.collect(),
        every: settings.labels != LabelPolicy::Off,
    }
}
