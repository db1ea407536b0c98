//! What is done in a container when a port has come back to it. Pure.

use std::str::FromStr;

use nix::sys::signal::Signal;

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

impl FromStr for OnPlug {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let signal = |name: &str| {
            let name = name.strip_prefix("SIG").unwrap_or(name);
            format!("SIG{name}").parse().ok()
        };
        match text {
            "none" => Ok(Self::None),
            "restart" => Ok(Self::Restart),
            _ => match text.strip_prefix("signal ").and_then(signal) {
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
            ("signal HUP", Some(OnPlug::Signal(Signal::SIGHUP))),
            ("signal SIGUSR1", Some(OnPlug::Signal(Signal::SIGUSR1))),
            ("signal hup", None),
            ("signal NO", None),
            ("signal 1", None),
            ("signal", None),
            ("Restart", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
