//! Logs every node and link that was made or removed.

use std::time::Duration;

use crate::daemon::reconcile::handle::Handle;
use crate::daemon::reconcile::look::Seen;
use crate::model::DevNum;
use crate::model::device_access::DeviceRules;
use crate::plan::Op;
use crate::sys::logging::kind;

impl Handle<'_> {
    /// Logs the operations that were planned and are not left. `latency` is the time since the event
    /// that caused them.
    pub fn log_done(&self, before: &Seen, after: &Seen, latency: Duration) {
        let rules = self.rules();
        let done = before.plan.ops.iter().filter(|op| !after.is_left(op));
        for op in done {
            self.log(op, &rules, latency);
        }
    }

    fn log(&self, op: &Op, rules: &DeviceRules, latency: Duration) {
        let (id, name) = (&self.id().id, self.name());
        let engine = self.engine_name();
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        match op {
            Op::MakeNode { path, devnum, .. } => {
                let want = self.nodes().find(|want| want.node == *path);
                let (port, device) = want.map_or(("", ""), |want| (&*want.port, &*want.device));
                tracing::info!(
                    message_id = kind::MADE, action = "make", port, serial_device = device,
                    device_number = %devnum, container_name = name, container_id = id, engine,
                    container_path = %path, latency_ms, operation = %op,
                    "node made"
                );
                if *devnum != DevNum::NONE && !rules.allow(*devnum) {
                    tracing::warn!(
                        message_id = kind::NO_RIGHT, serial_device = device, container_name = name,
                        container_id = id, engine, container_path = %path,
                        remedy = DeviceRules::compose_line(*devnum),
                        "node made, but the container has no access to the device"
                    );
                }
            }
            Op::MakeLink { path, target, .. } => tracing::info!(
                message_id = kind::MADE, action = "link", link_target = target,
                container_name = name, container_id = id, engine,
                container_path = %path, latency_ms,
                operation = %op,
                "link made"
            ),
            Op::RemoveNode { path, devnum, .. } => tracing::info!(
                message_id = kind::REMOVED, action = "remove", device_number = %devnum,
                container_name = name, container_id = id, engine,
                container_path = %path, latency_ms,
                "node removed"
            ),
            Op::RemoveLink { path, target } => tracing::info!(
                message_id = kind::REMOVED, action = "unlink", link_target = target,
                container_name = name, container_id = id, engine,
                container_path = %path, latency_ms,
                "link removed"
            ),
            Op::Sweep { path } => tracing::info!(
                action = "sweep",
                container_name = name,
                container_id = id,
                engine,
                container_path = path,
                "temporary file of an earlier run removed"
            ),
        }
    }
}
