//! Nodes in a container that lead to no device or to another one. `--device` and scripts leave them
//! behind.

use std::collections::BTreeMap;

use super::codes;
use super::finding::Report;
use super::host::Host;
use super::kernel;
use crate::engine::container::Mapping;
use crate::model::DevNum;
use crate::model::device::Device;

/// A `--device` of a container, and the number that its host path has now.
pub(super) type MappingNow = (Mapping, Option<DevNum>);

impl Report {
    /// `nodes` are those that ttyplugd did not create.
    pub(super) fn stale_nodes<'a>(
        &mut self,
        subject: &str,
        host: &Host,
        devices: &BTreeMap<String, Device>,
        nodes: impl Iterator<Item = &'a (String, DevNum)>,
        mappings: &[MappingNow],
    ) {
        for (path, devnum) in nodes.filter(|(_, number)| host.majors.is_serial(*number)) {
            let device = devices.values().find(|device| device.devnum == *devnum);
            let owner = match device {
                Some(device) => format!("belongs to {} now", device.node),
                None if kernel::exists(&host.root, *devnum) => continue,
                None => "belongs to no device now".to_owned(),
            };
            let mapping = mappings
                .iter()
                .find(|(mapping, _)| mapping.container == *path);
            match mapping {
                Some((_, Some(number))) if number == devnum => {}
                Some((mapping, _)) => {
                    let what = format!(
                        "{path} was created for {} when the container started; its number {devnum} \
                         {owner}",
                        mapping.host
                    );
                    let fix = format!(
                        "remove `devices:` from its service, and define a port with node = {path:?}"
                    );
                    self.warning(codes::STALE_NODE, subject, what, fix);
                }
                None if device.is_some() => {}
                None => {
                    let what = format!("{path} is stale: its number {devnum} {owner}");
                    let name = subject.strip_prefix("container ").unwrap_or(subject);
                    let fix = format!(
                        "remove the node, or define a [[port]] with containers = [{name:?}] and node \
                         = {path:?}"
                    );
                    self.warning(codes::STALE_NODE, subject, what, fix);
                }
            }
        }
    }
}
