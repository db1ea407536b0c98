//! What is done in a container when a port has come back to it. Pure.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, refuse};

/// What is done in a container that has lost a port since its start, when the port is ready again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnPlug {
    #[default]
    None,
    /// Its first process gets the signal.
    Signal(Signal),
    /// The engine restarts it.
    Restart,
}

/// A signal that a process may be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    name: &'static str,
    /// The kernel's, the same on x86 and ARM (signal(7), "Signal numbering").
    pub number: i32,
}

impl Signal {
    const ALL: [Self; 10] = [
        Self::new("HUP", 1),
        Self::new("INT", 2),
        Self::new("QUIT", 3),
        Self::new("KILL", 9),
        Self::new("USR1", 10),
        Self::new("USR2", 12),
        Self::new("ALRM", 14),
        Self::new("TERM", 15),
        Self::new("CONT", 18),
        Self::new("WINCH", 28),
    ];

    const fn new(name: &'static str, number: i32) -> Self {
        Self { name, number }
    }

    fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        Self::ALL.into_iter().find(|signal| signal.name == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIG{}", self.name)
    }
}

impl FromStr for OnPlug {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "none" => Ok(Self::None),
            "restart" => Ok(Self::Restart),
            _ => match text.strip_prefix("signal ").and_then(Signal::named) {
                Some(signal) => Ok(Self::Signal(signal)),
                None => refuse("is not \"none\", \"restart\" or a signal such as \"signal HUP\""),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_none_a_restart_or_a_signal() {
        for (text, expected) in [
            ("none", Some(OnPlug::None)),
            ("restart", Some(OnPlug::Restart)),
            ("signal HUP", Some(OnPlug::Signal(Signal::new("HUP", 1)))),
            (
                "signal SIGUSR1",
                Some(OnPlug::Signal(Signal::new("USR1", 10))),
            ),
            ("signal hup", None),
            ("signal NO", None),
            ("signal STOP", None),
            ("signal 1", None),
            ("signal", None),
            ("Restart", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
