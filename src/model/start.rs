//! Which start of a container is meant.

use serde::{Deserialize, Serialize};

/// The first process of a container, in the host's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FirstProcess {
    pub pid: u32,
    /// When it was started, by which a later process with that number is told from it.
    pub started: u64,
}

/// A start of a container. Each has a /dev of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartId {
    /// When the container was started, as the engine writes it. Empty where no engine is asked.
    pub started_at: String,
    /// Whoever tells of the container, this is the same. Records of earlier versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<FirstProcess>,
}

impl StartId {
    pub fn at(started_at: impl Into<String>) -> Self {
        Self {
            started_at: started_at.into(),
            process: None,
        }
    }

    pub fn of(process: FirstProcess) -> Self {
        Self {
            started_at: String::new(),
            process: Some(process),
        }
    }

    /// Whether both are the same start, of containers with the same id.
    pub fn is(&self, other: &Self) -> bool {
        match (self.process, other.process) {
            (Some(own), Some(other)) => own == other,
            _ => self.started_at == other.started_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_known_by_its_first_process_and_else_by_its_time() {
        let process = |started| FirstProcess { pid: 7, started };
        let both = |time: &str, started| StartId {
            process: Some(process(started)),
            ..StartId::at(time)
        };
        assert!(both("monday", 1).is(&StartId::of(process(1))));
        assert!(both("monday", 1).is(&StartId::at("monday")));
        assert!(!both("monday", 1).is(&both("monday", 2)));
        assert!(!both("monday", 1).is(&StartId::at("tuesday")));
        assert!(!StartId::of(process(1)).is(&StartId::of(process(2))));
    }
}
