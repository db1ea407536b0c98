//! The holds that have ended in vain. Pure.
//!
//! An application that tries again would wait again each time, and do nothing else where it has one
//! thread. So a hold that nothing has come of is not repeated until its port has been there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hold::{ContainerPort, ContainerPorts};
use crate::model::Hold;

/// How many are remembered, and how many bytes their names have. In a container that asked for every
/// port any of many names may be held; further ones are held each time.
const MOST: usize = 16;
const MOST_BYTES: usize = 1024;

/// By the names of ports, or by their paths where no port is known; and how long they were held. A
/// hold that is set to another time is another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InVain(BTreeMap<String, Hold>);

impl InVain {
    /// The time of a hold of `path` is over.
    pub fn add(&mut self, ports: &ContainerPorts, path: &str) {
        let name = ports.port_or_path(path);
        let bytes: usize = self.0.keys().map(String::len).sum();
        let has_room = self.0.len() < MOST && bytes + name.len() <= MOST_BYTES;
        if let Some(hold) = ports.hold(path).filter(|_| has_room) {
            self.0.insert(name.to_owned(), hold);
        }
    }

    /// Whether a hold of `path` has ended in vain.
    pub fn has(&self, ports: &ContainerPorts, path: &str) -> bool {
        let hold = self.0.get(ports.port_or_path(path)).copied();
        hold.is_some() && hold == ports.hold(path)
    }

    /// Forgets those of ports that are there now. Returns whether there were any.
    pub fn forget_ready(&mut self, ports: &ContainerPorts) -> bool {
        let before = self.0.len();
        let is_of =
            |port: &ContainerPort, name: &String| port.port == *name || port.names.contains(name);
        let is_ready = |name: &String| ports.ports.iter().any(|p| p.ready && is_of(p, name));
        self.0.retain(|name, _| !is_ready(name));
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::protocol::line;
    use crate::hold::{DEFAULT_HOLD, LONGEST_PATH};

    const NODE: &str = "/dev/zwave";
    const LINK: &str = "/dev/serial/by-id/x";

    fn ports(ready: bool, hold: Hold) -> ContainerPorts {
        let paths = [NODE, LINK].map(|name| name.parse().unwrap());
        let port = ContainerPort {
            ready,
            ..ContainerPort::waiting("zwave", &paths, hold)
        };
        ContainerPorts {
            ports: vec![port],
            every: true,
            ..ContainerPorts::default()
        }
    }

    #[test]
    fn a_hold_in_vain_counts_for_all_names_of_its_port_until_that_is_there() {
        let (mut in_vain, absent) = (InVain::default(), ports(false, DEFAULT_HOLD));
        in_vain.add(&absent, LINK);
        assert!(in_vain.has(&absent, NODE) && in_vain.has(&absent, LINK));
        in_vain.forget_ready(&absent);
        assert!(in_vain.has(&absent, NODE));
        assert!(!in_vain.has(&absent, "/dev/ttyUSB0"));
        // With another time it is another hold.
        assert!(!in_vain.has(&ports(false, Hold::Forever), NODE));
        in_vain.forget_ready(&ports(true, DEFAULT_HOLD));
        assert_eq!(in_vain, InVain::default());
    }

    #[test]
    fn a_name_without_a_port_is_forgotten_once_a_port_has_it() {
        let mut in_vain = InVain::default();
        let unknown = ContainerPorts {
            ports: Vec::new(),
            ..ports(false, DEFAULT_HOLD)
        };
        in_vain.add(&unknown, LINK);
        assert!(in_vain.has(&unknown, LINK));
        in_vain.forget_ready(&ports(true, DEFAULT_HOLD));
        assert!(!in_vain.has(&unknown, LINK));
    }

    #[test]
    fn what_is_remembered_is_little() {
        let ports = ports(false, Hold::Seconds(u64::MAX));
        for length in [1, LONGEST_PATH] {
            let mut in_vain = InVain::default();
            for number in 0..1000 {
                let name = format!("/dev/serial/by-id/{number}{:\"<length$}", "");
                in_vain.add(&ports, &name[..name.len().min(LONGEST_PATH)]);
            }
            assert!((4..=MOST).contains(&in_vain.0.len()));
            // It is kept in a page.
            assert!(line(&in_vain).len() < 4096);
        }
    }
}
